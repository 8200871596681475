"""Whether the connections of a connector end where their addresses lead."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from lab import supervisor_control
from lab.jsonlines import Message, RefusedError
from lab.routed import settled
from lab.rundir import RunDir
from runtime.admin import JSON, AdminServer

LEADS = {"198.18.1.1": "LHR", "198.18.1.2": "FRA"}


def serving(address: str, location: str, state: str = "serving") -> dict[str, str]:
    return {"state": state, "location": location, "address": f"{address}:7844"}


async def ask(run: RunDir, status: int, document: dict[str, Any]) -> bool:
    async def lands(message: Message) -> Message:
        if message["address"] not in LEADS:
            raise RefusedError("no anycast address")
        assert message["node"] == "dublin"
        return {"lands": LEADS[message["address"]]}

    admin = AdminServer(
        str(run.node("dublin") / "app.sock"),
        {("GET", "/status"): lambda _: (status, JSON, json.dumps(document).encode())},
    )
    await admin.start()
    wan = await supervisor_control.serve(run.wan_socket, {"lands": lands})
    try:
        return await settled(run, "dublin", "app")
    finally:
        wan.close()
        admin.close()


@pytest.mark.parametrize(
    ("status", "connections", "expected"),
    [
        (200, [serving("198.18.1.1", "LHR"), serving("198.18.1.2", "FRA")], True),
        # London came up, and draws the address that Tokyo had answered at.
        (200, [serving("198.18.1.1", "NRT"), serving("198.18.1.2", "FRA")], False),
        (200, [serving("198.18.1.1", "", "waiting"), serving("198.18.1.2", "FRA")], True),
        (200, [serving("192.0.2.1", "NRT")], True),
        # cloudflared knows no such page.
        (404, [], True),
    ],
)
def test_connections_end_where_their_addresses_lead(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    connections: list[dict[str, str]],
    expected: bool,
) -> None:
    # A test's directory may be longer than the path of a socket.
    monkeypatch.chdir(tmp_path)
    run = RunDir(Path("run"))
    run.node("dublin").mkdir(parents=True)
    assert asyncio.run(ask(run, status, {"connections": connections})) is expected


def test_who_cannot_be_asked_is_not_settled(tmp_path: Path) -> None:
    assert asyncio.run(settled(RunDir(tmp_path), "dublin", "app")) is False

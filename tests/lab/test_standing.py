"""How the nodes of a lab are: one word each, counted and listed alike by the page and by `popnet status`."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from lab.cli import status as command
from lab.cli.app import app
from lab.standing import node_state, standing, with_states


def node(name: str, kind: str = "pop", program: str = "ready", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "address": "100.64.0.1",
        "pid": 7,
        "ended": None,
        "ready": True,
        "attached": True,
        "programs": [{"name": "pop", "state": program, "ended": None}],
        **more,
    }


STATUS = {
    "name": "t",
    "phase": "ready",
    "wan": {"ready": True},
    "summary": {"pop": {"ready": 3, "all": 3}},
    "nodes": [node("LHR"), node("SIN"), node("FRA", program="paused"), node("tokyo", "visitor")],
}
WAN = {
    "nodes": [
        {"node": "LHR", "vanished": False},
        {"node": "SIN", "vanished": True},
        {"node": "FRA", "vanished": False},
        {"node": "tokyo", "vanished": False},
    ]
}


def test_who_has_vanished_or_stands_still_is_not_ready() -> None:
    told = with_states(STATUS, WAN)
    assert {one["name"]: one["state"] for one in told["nodes"]} == {
        "LHR": "ready",
        "SIN": "vanished",
        "FRA": "paused",
        "tokyo": "ready",
    }
    assert [one["name"] for one in told["nodes"] if one["ready"]] == ["LHR", "tokyo"]
    assert told["summary"] == {"pop": {"ready": 1, "all": 3}, "visitor": {"ready": 1, "all": 1}}


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({"ended": "SIGKILL", "pid": None, "attached": False}, "gone"),
        ({"attached": False}, "detached"),
        # An agent in a container has no pid that is known outside.
        ({"pid": None}, "ready"),
        ({"program": "dead"}, "dead"),
        ({"program": "stopping"}, "stopping"),
    ],
)
def test_the_worst_that_is_true(more: dict[str, Any], state: str) -> None:
    assert node_state(node("LHR", **more), {"vanished": False}) == state
    assert node_state(None, None) == "unknown"


class FakeLab:
    """A lab of which one PoP has vanished and one is paused."""

    class dir:  # noqa: N801
        path = None

    def status(self) -> dict[str, Any]:
        return STATUS

    def wan(self, operation: str) -> dict[str, Any]:
        assert operation == "status"
        return WAN


def test_the_command_counts_and_lists_them(monkeypatch: pytest.MonkeyPatch) -> None:
    lab: Any = FakeLab()
    monkeypatch.setattr(command, "open_lab", lambda name: lab)
    monkeypatch.setattr(command, "connectors", lambda lab: [])
    monkeypatch.setattr(command.ports, "read", lambda path: None)
    head, _, *rows = CliRunner().invoke(app, ["status"]).stdout.splitlines()
    assert head == "t  ready  1/3 PoPs"
    assert [row.split()[0::3][:2] for row in rows] == [["SIN", "vanished"], ["FRA", "paused"]]
    assert standing(lab)["summary"]["pop"]["ready"] == 1

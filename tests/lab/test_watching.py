"""`popnet events` and `popnet logs`: as much as one wants to read, and what was left out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from lab.cli import watching
from lab.cli.app import app
from lab.driver import LabError


class FakeLab:
    plan = None

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self._events = events

    def events(self, *, follow: bool = False, since: int = 0) -> Iterator[dict[str, Any]]:
        yield from self._events

    def node(self, name: str) -> str:
        return name


@pytest.fixture
def thirty(monkeypatch: pytest.MonkeyPatch) -> None:
    """One event a second, the last one now, and the wan process' word on each, which says nothing new."""
    now = time.time()
    events = []
    for number in range(30):
        events.append({"t": now - 29 + number, "node": "LHR", "event": "happens", "n": number})
        events.append({"t": now - 29 + number, "node": "LHR", "event": "node_attached"})
    monkeypatch.setattr(watching, "open_lab", lambda name: FakeLab(events))


def run(*arguments: str) -> tuple[list[str], str]:
    told = CliRunner().invoke(app, ["events", *arguments])
    if told.exception is not None:
        raise told.exception
    return [line.rpartition("  ")[2] for line in told.stdout.splitlines()], told.stderr


@pytest.mark.usefixtures("thirty")
def test_the_last_events_and_how_many_more_there_are() -> None:
    lines, said = run()
    assert lines == [f"n={number}" for number in range(10, 30)]
    assert said == "popnet: 10 earlier ones; --tail all shows them, --since 30s the latest\n"
    assert run("--tail", "3") == (["n=27", "n=28", "n=29"], said.replace("10", "27"))
    lines, said = run("--tail", "all")
    assert (len(lines), said) == (30, "")
    assert len(run("-o", "json")[0]) == 60


@pytest.mark.usefixtures("thirty")
def test_events_of_the_last_seconds() -> None:
    assert run("--since", "5500ms")[0][-5:] == [f"n={number}" for number in range(25, 30)]
    assert len(run("--since", "5500ms")[0]) <= 6
    assert run("--since", "10s", "--tail", "1")[0] == ["n=29"]
    assert run("--node", "FRA") == ([], "popnet: nothing of that has happened\n")


@pytest.mark.usefixtures("thirty")
@pytest.mark.parametrize("wrong", [("--tail", "some"), ("--tail", "-1"), ("--since", "5")])
def test_what_is_no_amount(wrong: tuple[str, str]) -> None:
    with pytest.raises(LabError, match=wrong[0]):
        run(*wrong)


def test_empty_logs_are_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    lab: Any = FakeLab([])
    monkeypatch.setattr(watching, "open_lab", lambda name: lab)
    monkeypatch.setattr(watching, "_log_lines", lambda lab, node, positions: iter(()))
    told = CliRunner().invoke(app, ["logs", "NRT"])
    assert (told.stdout, told.stderr) == ("", "popnet: the programs of NRT wrote nothing\n")

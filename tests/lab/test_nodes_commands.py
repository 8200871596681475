"""`popnet start` and `vanish`: what each does to a node in each state, and what it says when there is nothing to do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from lab.cli import nodes
from lab.cli.app import app


class FakeLab:
    """One PoP, SIN; what it was asked to do is kept."""

    plan = SimpleNamespace(nodes={"SIN": SimpleNamespace(kind="pop")})

    def __init__(self, program: str = "ready", *, vanished: bool = False) -> None:
        self.program, self.vanished, self.asked = program, vanished, list[str]()

    def node(self, name: str) -> str:
        return name

    def status(self) -> dict[str, Any]:
        program = {"name": "pop", "state": self.program, "starts": 1, "ended": None}
        node = {"name": "SIN", "kind": "pop", "ready": self.program == "ready", "pid": 1}
        node |= {"ended": None, "attached": True, "programs": [program]}
        return {"nodes": [node]}

    def wan(self, operation: str, *, node: str = "", on: bool = False) -> dict[str, Any]:
        if operation == "vanish":
            self.vanished = on
        return {"nodes": [{"node": "SIN", "vanished": self.vanished}]}

    def supervisor(
        self, operation: str, *, node: str, do: str, program: str | None
    ) -> dict[str, Any]:
        changed = {"start": "dead", "resume": "paused"}.get(do) == self.program
        if changed:
            self.asked.append(do)
            self.program = "ready"
        return {"changed": changed}


def run(monkeypatch: pytest.MonkeyPatch, lab: FakeLab, *arguments: str) -> tuple[str, str]:
    monkeypatch.setattr(nodes, "Lab", SimpleNamespace(open=lambda name: lab))
    monkeypatch.setattr(nodes, "connectors", lambda lab: [])
    told = CliRunner().invoke(app, [*arguments])
    assert told.exit_code == 0, told.exception
    return told.stdout, told.stderr


@pytest.mark.parametrize(
    ("lab", "asked"),
    [
        (FakeLab("dead"), ["start"]),
        (FakeLab("paused"), ["resume"]),
        (FakeLab("paused", vanished=True), ["resume"]),
        (FakeLab(vanished=True), []),
    ],
)
def test_whatever_befell_it_a_node_comes_back(
    monkeypatch: pytest.MonkeyPatch, lab: FakeLab, asked: list[str]
) -> None:
    said, _ = run(monkeypatch, lab, "start", "SIN")
    assert said.startswith("SIN ready in ")
    assert (lab.asked, lab.program, lab.vanished) == (asked, "ready", False)


def test_a_node_that_runs_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    said = run(monkeypatch, FakeLab(), "start", "SIN")
    assert said == ("", "popnet: nothing to do: SIN is ready\n")


def test_who_has_vanished_does_not_vanish_again(monkeypatch: pytest.MonkeyPatch) -> None:
    said = run(monkeypatch, FakeLab(vanished=True), "vanish", "SIN")
    assert said == ("", "popnet: nothing to do: SIN has vanished already\n")

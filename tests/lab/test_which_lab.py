"""Which lab a command works on when none is named: never one that the user may not have meant, if it changes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lab import driver
from lab.cli import elsewhere
from lab.cli.app import COMMANDS, app, main
from lab.driver import Lab, NoLabError
from lab.jsonlines import UnreachableError
from lab.rundir import BASE_VARIABLE, LAB_VARIABLE, RUN_VARIABLE, RunDir

for module in COMMANDS:
    importlib.import_module(f"lab.cli.{module}")


class Machine:
    """Labs of which only names are known."""

    def __init__(self, base: Path) -> None:
        self.base = base

    def runs(self, *names: str) -> None:
        for name in names:
            (self.base / name).mkdir()
            (self.base / name / "lab.sock").touch()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    def ask(path: Path, message: object, timeout: float) -> dict[str, Any]:
        if not path.exists():
            raise UnreachableError("nobody there")
        return {"ok": True}

    monkeypatch.setenv(BASE_VARIABLE, str(tmp_path))
    monkeypatch.delenv(RUN_VARIABLE, raising=False)
    monkeypatch.delenv(LAB_VARIABLE, raising=False)
    monkeypatch.setattr(driver.jsonlines, "ask", ask)
    monkeypatch.setattr(RunDir, "serves", lambda run: run.lab_socket.exists())
    return Machine(tmp_path)


def test_the_default_lab_is_meant_whatever_else_runs(machine: Machine) -> None:
    machine.runs("default", "other")
    told: list[str] = []
    assert Lab.open().name == Lab.open(tell=told.append).name == "default"
    assert told == []


def test_who_only_looks_takes_the_only_one_and_says_so(machine: Machine) -> None:
    machine.runs("other")
    told: list[str] = []
    assert Lab.open(tell=told.append).name == "other"
    assert told == ["lab other, the only one that runs"]
    assert Lab.open("other").name == "other"


def test_who_changes_something_must_name_it(machine: Machine) -> None:
    machine.runs("other")
    with pytest.raises(
        NoLabError, match=r"no lab named default .*running: other; choose by -n"
    ) as no:
        Lab.open()
    # In containers neither.
    assert no.value.only == "default"


def test_of_several_none_is_taken(machine: Machine) -> None:
    machine.runs("one", "other")
    with pytest.raises(NoLabError, match="running: one, other"):
        Lab.open(tell=print)


def test_what_a_crash_left_is_no_lab_that_runs(machine: Machine) -> None:
    (machine.base / "left").mkdir()
    machine.runs("other")
    told: list[str] = []
    assert Lab.open(tell=told.append).name == "other"
    with pytest.raises(NoLabError, match=r"a crash left its files: `popnet down -n left` clears"):
        Lab.open("left")


def test_a_command_inside_a_lab_means_that_lab(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.runs("default", "other")
    monkeypatch.setenv(RUN_VARIABLE, str(machine.base / "other"))
    assert Lab.open().name == "other"


CHANGING = [
    "kill LHR",
    "vanish LHR",
    "start LHR",
    "pause LHR",
    "resume LHR",
    "drain LHR",
    "link set LHR FRA --down",
    "link reset",
    "chaos",
    "recovery kill --driver lab",
    "parity --driver lab",
    "dns remove app.example.com",
]


@pytest.mark.parametrize("line", CHANGING)
def test_commands_that_change_something(machine: Machine, line: str) -> None:
    machine.runs("other")
    error = CliRunner().invoke(app, line.split()).exception
    assert isinstance(error, NoLabError), line
    assert error.only == "default"


@pytest.mark.parametrize("line", ["status", "events", "link show", "catchment", "routes"])
def test_commands_that_look(machine: Machine, line: str) -> None:
    """The world of this lab cannot be read; what counts is that it was chosen, and said."""
    machine.runs("other")
    assert "popnet: lab other, the only one" in CliRunner().invoke(app, line.split()).stderr


def test_a_variable_names_it_too(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.runs("other")
    monkeypatch.setenv(LAB_VARIABLE, "other")
    assert not isinstance(CliRunner().invoke(app, ["link", "reset"]).exception, NoLabError)


def test_in_containers_it_is_the_same(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes something goes there with the name it must have, what looks with none."""
    went: list[list[str]] = []
    monkeypatch.setattr("lab.cli.elsewhere.run", lambda line, _: went.append(line))
    for line in ("link reset", "link show"):
        monkeypatch.setattr("sys.argv", ["popnet", *line.split()])
        with pytest.raises(SystemExit):
            main()
    assert went == [["-n", "default", "link", "reset"], ["link", "show"]]


def test_which_lab_of_containers_was_taken_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(RUN_VARIABLE, raising=False)
    monkeypatch.delenv(LAB_VARIABLE, raising=False)
    called: list[list[str]] = []
    monkeypatch.setattr(elsewhere, "_found", lambda name: ("4f", name or "theirs"))
    monkeypatch.setattr(elsewhere, "_call", lambda container, rest: called.append(rest))
    monkeypatch.setattr("sys.exit", lambda code: None)
    told: list[str] = []
    elsewhere.run(["link", "show"], told.append)
    assert told == ["lab theirs, the only one of containers"]
    elsewhere.run(["link", "show", "-n", "theirs"], told.append)
    assert len(told) == 1
    assert called == [["link", "show"]] * 2


def test_down_ends_no_other_lab(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.runs("other")
    monkeypatch.setattr("lab.cli.elsewhere.driver", lambda: None)
    told = CliRunner().invoke(app, ["down"])
    assert told.exit_code == 3
    assert "no lab named default; there are: other" in told.stderr
    assert (machine.base / "other").exists()

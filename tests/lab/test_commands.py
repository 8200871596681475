"""Small things of the command line: quantities, links, names."""

from __future__ import annotations

import importlib

import pytest
from typer.testing import CliRunner

from lab import quantities
from lab.cli.app import COMMANDS, Code, app
from lab.driver import LabError, known
from lab.launch import UpError


@pytest.mark.parametrize(
    ("text", "seconds"), [("400ms", 0.4), ("1.5s", 1.5), ("20 us", 2e-5), ("2m", 120.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert quantities.duration("--rtt", text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["400", "ms", "-1ms", "1h2m", "4 00ms"])
def test_durations_without_a_sense_are_refused_by_name(text: str) -> None:
    with pytest.raises(LabError, match="--rtt"):
        quantities.duration("--rtt", text)


def test_less_than_nothing_is_said_to_be() -> None:
    with pytest.raises(LabError, match="found '-5ms', allowed: 0 or more"):
        quantities.duration("--rtt", "-5ms")


def test_shares() -> None:
    assert quantities.share("--loss", "2%") == pytest.approx(0.02)
    assert quantities.share("--loss", "0.5") == pytest.approx(0.005)
    with pytest.raises(LabError, match="0% to 100%"):
        quantities.share("--loss", "101%")


def test_names_are_found_in_any_case_and_near_misses_are_told() -> None:
    names = ["NRT", "tokyo", "sao-paulo"]
    assert known("nrt", names, "node") == "NRT"
    with pytest.raises(LabError, match="did you mean sao-paulo"):
        known("sau-paulo", names, "node")
    for far in ("quito", "foo"):
        with pytest.raises(LabError, match="known: NRT, tokyo, sao-paulo"):
            known(far, names, "node")


def test_every_command_is_found_in_its_module() -> None:
    """Only the module that is named for a command is imported: a wrong name would hide the command."""
    for module in COMMANDS:
        importlib.import_module(f"lab.cli.{module}")
    found: dict[str, set[str]] = {}
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__.rstrip("_").replace("_", "-")
        found.setdefault(command.callback.__module__.rpartition(".")[2], set()).add(name)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        callback = group.typer_instance.registered_commands[0].callback
        assert callback is not None
        found.setdefault(callback.__module__.rpartition(".")[2], set()).add(str(group.name))
    assert found == {module: set(names) for module, names in COMMANDS.items()}


@pytest.mark.parametrize("command", ["up", "run"])
def test_a_machine_that_cannot_is_told_what_it_can(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UpError("no user namespaces here", Code.MACHINE_CANNOT, ["clone: not permitted"])

    monkeypatch.setattr("lab.drivers.local.LocalDriver.up", refuse)
    told = CliRunner().invoke(app, [command, "--driver", "local"])
    assert told.exit_code == Code.MACHINE_CANNOT
    assert "no user namespaces here" in told.stderr
    assert "clone: not permitted" in told.stderr
    assert "popnet run FILE" in told.stderr

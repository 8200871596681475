"""`popnet --help`: every command is in a section, and every line is whole."""

from __future__ import annotations

import importlib

from typer.main import get_command
from typer.testing import CliRunner

from lab.cli.app import COMMANDS, app
from lab.cli.help import SECTIONS

for module in COMMANDS:
    importlib.import_module(f"lab.cli.{module}")


def test_every_command_has_its_line_in_a_section() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    shown = {name for name, command in commands.items() if not command.hidden}
    assert shown == {name for section in SECTIONS.values() for name in section}


def test_lines_are_whole_and_in_sections() -> None:
    lines = CliRunner().invoke(app, ["--help"], terminal_width=80).stdout.splitlines()
    for title, section in SECTIONS.items():
        begin = lines.index(f"{title}:") + 1
        told = dict(line.split(maxsplit=1) for line in lines[begin : begin + len(section)])
        assert told == section


def test_a_group_of_commands_cuts_nothing() -> None:
    told = CliRunner().invoke(app, ["link", "--help"], terminal_width=80).stdout
    assert "what they carried and\n" in told
    assert "..." not in told.partition("Commands:")[2]


def test_examples_stand_in_lines_of_their_own() -> None:
    told = CliRunner().invoke(app, ["replay", "--help"], terminal_width=80).stdout
    assert len([line for line in told.splitlines() if "popnet replay rtts." in line]) == 2

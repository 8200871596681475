"""`popnet exec` and `popnet curl`: run any program inside a node, with its network and its names."""

from __future__ import annotations

import os
import shutil
from typing import Annotated

import typer

from lab.cli.app import Code, NameOption, NodeArgument, app, open_lab, say
from lab.driver import Lab, enter

_PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def _after_dashes(command: list[str]) -> list[str]:
    """The parser leaves the `--` that stands between our arguments and the program's."""
    program = command[1:] if command[0] == "--" else command
    if not program:
        raise typer.BadParameter("a program to run is missing")
    return program


def _become(lab: Lab, node: str, arguments: list[str]) -> None:
    """This process turns into the program: its exit code, its terminal and its signals are the program's."""
    node = lab.node(node)
    if lab.in_containers:
        # Nothing of ours can be that program; the helper can, with our standard streams.
        command = lab.by_agent(node, arguments, {})
        os.execv(command[0], command)  # noqa: S606 no shell on purpose
    pid = lab.node_pid(node)
    environ = lab.environment(node)
    try:
        enter(pid)
    except OSError as error:
        say(f"popnet: cannot enter {node}: {error.strerror} (is it another user's lab?)")
        raise typer.Exit(Code.MACHINE_CANNOT) from None
    try:
        os.execvpe(arguments[0], arguments, environ)  # noqa: S606 no shell on purpose
    except OSError as error:
        say(f"popnet: {arguments[0]}: {error.strerror}")
        # As shells say it: found but not executable, or not found.
        raise typer.Exit(127 if isinstance(error, FileNotFoundError) else 126) from None


@app.command(name="exec", context_settings=_PASS_ON)
def execute(
    node: NodeArgument,
    command: Annotated[list[str], typer.Argument(help="Program and arguments, after --.")],
    name: NameOption = None,
) -> None:
    """Run a program inside a node: its network, its resolver, its trusted authorities.

    \b
    popnet exec tokyo -- ping -c3 NRT
    popnet exec dublin -- ss -tn
    popnet exec tokyo -- bash

    Options of ours stand before the node: popnet exec -n mylab tokyo -- bash. The exit code is the program's.
    """
    _become(open_lab(name), node, _after_dashes(command))


@app.command(context_settings=_PASS_ON)
def curl(
    arguments: Annotated[list[str], typer.Argument(metavar="URL [CURL ARGUMENTS]")],
    visitor: Annotated[str, typer.Option("--from", help="The visitor that asks.")],
    name: NameOption = None,
) -> None:
    """Run curl as a visitor, with any of curl's own arguments after the URL.

    \b
    popnet curl --from sao-paulo https://app.example.com/ -v --http1.1
    """
    if shutil.which("curl") is None:
        say("popnet: curl is not installed; `popnet doctor` lists what else is missing")
        raise typer.Exit(Code.MACHINE_CANNOT)
    _become(open_lab(name), visitor, ["curl", *arguments])

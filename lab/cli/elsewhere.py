"""A command on a lab of containers: it runs again in the container `lab`, where that lab's sockets are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from lab.cli.app import Code
from lab.drivers.base import Driver
from lab.launch import UpError

_NAME = ("-n", "--name")
_WRITE = ("-w", "--write")


def run(arguments: list[str]) -> None:
    """Does not return if there is such a lab: its command's exit code is ours."""
    if os.environ.get("POPNET_RUN"):
        # Inside a container already: there is no engine here.
        return
    try:
        from lab.drivers import docker
    except ImportError:
        return
    name, rest = _take(arguments, _NAME)
    target, rest = _take(rest, _WRITE) if rest[:1] == ["capture"] else (None, rest)
    if target not in (None, "-"):
        rest += ["-w", "-"]
    elif target is not None:
        rest += ["-w", target]
    command = docker.command(name, rest)
    if command is None:
        return
    if target in (None, "-"):
        os.execv(command[0], command)  # noqa: S606 no shell on purpose
    with open(str(target), "wb") as file:
        try:
            sys.exit(subprocess.run(command, stdout=file, check=False).returncode)
        except KeyboardInterrupt:
            sys.exit(Code.INTERRUPTED)


def driver() -> Driver | None:
    """The docker driver, where an engine answers."""
    try:
        from lab.drivers import docker
    except ImportError:
        return None
    if shutil.which("docker") is None and not os.environ.get("DOCKER_HOST"):
        return None
    found = docker.DockerDriver()
    try:
        found.names()
    except UpError:
        return None
    return found


def after_up(name: str, first_request: str | None) -> None:
    """What `popnet up` shows in the end, said by the lab itself."""
    from lab.drivers import docker

    asked = [["status"]]
    if first_request is not None:
        asked.append(["first-request", "--from", first_request])
    for arguments in asked:
        command = docker.command(name, arguments)
        if command is not None:
            subprocess.run(command, check=False)


def _take(arguments: list[str], names: tuple[str, ...]) -> tuple[str | None, list[str]]:
    """An option with its value, and the rest. What follows a program's first argument is the program's own."""
    end = _ours(arguments)
    value, rest = None, []
    words = iter(arguments[:end])
    for word in words:
        name, equals, given = word.partition("=")
        if word in names:
            value = next(words, None)
        elif name in names and equals:
            value = given
        else:
            rest.append(word)
    return value, [*rest, *arguments[end:]]


def _ours(arguments: list[str]) -> int:
    """How many of the arguments are popnet's."""
    if arguments[:1] not in (["exec"], ["curl"]):
        return len(arguments)
    index = 1
    while index < len(arguments) and arguments[index].startswith("-") and arguments[index] != "--":
        index += 1 if "=" in arguments[index] else 2
    return min(index, len(arguments))

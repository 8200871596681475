"""A command on a lab of containers: it runs again in the container `lab`, where that lab's sockets are."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import IO, Any

from lab.cli import asked, pcap
from lab.driver import DEFAULT_NAME, LabError
from lab.drivers.base import Driver
from lab.endings import ENDINGS
from lab.hangup import CALL_VARIABLE
from lab.launch import UpError
from lab.rundir import LAB_VARIABLE, RUN_VARIABLE

_NAME = ("-n", "--name")
_WRITE = ("-w", "--write")


def driver() -> Driver | None:
    """The docker driver, where an engine answers."""
    if shutil.which("docker") is None and not os.environ.get("DOCKER_HOST"):
        return None
    try:
        from lab.drivers import docker
    except ImportError:
        return None
    found = docker.DockerDriver()
    try:
        found.names()
    except UpError:
        return None
    return found


def run(arguments: list[str], tell: Callable[[str], None]) -> None:
    """Does not return if there is such a lab: its command's exit code is ours."""
    if os.environ.get(RUN_VARIABLE):
        # Inside a lab already: whatever it is made of, there is no engine here.
        return
    name, rest = _take(arguments, _NAME)
    name = name or os.environ.get(LAB_VARIABLE)
    found = _found(name)
    if found is None:
        return
    container, called = found
    if name is None and called != DEFAULT_NAME:
        tell(f"lab {called}, the only one of containers")
    if rest[:1] == ["capture"]:
        target, rest = _take(rest, _WRITE)
        if target is not None:
            rest += ["-w", pcap.STDOUT]
        if target not in (None, pcap.STDOUT):
            with pcap.opened(target) as file:
                sys.exit(_call(container, rest, file))
    if rest[:2] == ["policy", "set"]:
        sys.exit(_with_files(container, rest))
    if rest[:1] in (["trace"], ["get"]):
        rest = asked.opened(rest)
    if os.isatty(0) and os.isatty(1):
        # The terminal takes Ctrl-C along, and the engine's own command knows best how.
        command = ["docker", "exec", "-it", container, "popnet", *rest]
        os.execvp(command[0], command)  # noqa: S606 no shell on purpose
    sys.exit(_call(container, rest))


def after_up(name: str, first_request: str | None) -> None:
    """What `popnet up` shows in the end, said by the lab itself."""
    container = _control(name)
    if container is None:
        return
    _call(container, ["status"])
    if first_request is not None:
        _call(container, ["first-request", "--from", first_request])


def command(name: str, arguments: list[str]) -> int:
    """Run a command of popnet in a lab of containers that is running; its exit code. It needs no -n."""
    container = _control(name)
    if container is None:
        raise LabError(f"the lab {name} has ended")
    return _call(container, arguments)


def _control(name: str) -> str | None:
    found = _found(name)
    return found[0] if found is not None else None


def _found(name: str | None) -> tuple[str, str] | None:
    """The container that commands run in, and the name of its lab."""
    try:
        from lab.drivers import docker
    except ImportError:
        return None
    found = docker.control(name)
    return (found.control, found.name) if found is not None and found.control is not None else None


def _with_files(container: str, arguments: list[str]) -> int:
    """A policy of ours, and the key sets it names: copies go there before, and away after."""
    place = next((n for n, word in enumerate(arguments) if os.path.isfile(word)), None)
    if place is None:
        return _call(container, arguments)
    from lab.policy_file import key_files

    ours = Path(arguments[place])
    directory = f"/tmp/popnet-{secrets.token_hex(8)}"  # noqa: S108 in a container, and its name is a secret
    unpack = ["sh", "-c", 'mkdir "$1" && tar -x --no-same-owner -C "$1"', "sh", directory]
    with tempfile.TemporaryFile() as bundle:
        with tarfile.open(fileobj=bundle, mode="w", dereference=True) as tar:
            for name in (ours.name, *key_files(ours)):
                tar.add(ours.parent / name, name)
        bundle.seek(0)
        subprocess.run(["docker", "exec", "-i", container, *unpack], stdin=bundle, check=True)
    try:
        there = [*arguments[:place], ours.name, *arguments[place + 1 :]]
        return _call(container, there, directory=directory)
    finally:
        subprocess.run(["docker", "exec", container, "rm", "-r", directory], check=False)


def _call(
    container: str,
    arguments: list[str],
    output: IO[Any] | None = None,
    directory: str | None = None,
) -> int:
    """Run it there and pass on what we are told meanwhile; its exit code."""
    mark = secrets.token_hex(8)
    told: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        told.append(number)
        subprocess.run(
            ["docker", "exec", container, "python", "-m", "lab.hangup", mark, str(number)],
            check=False,
            start_new_session=True,
        )

    before = {number: signal.signal(number, pass_on) for number in ENDINGS}
    try:
        marked = ["-e", f"{CALL_VARIABLE}={mark}"]
        if directory is not None:
            marked += ["-w", directory]
        command = ["docker", "exec", "-i", *marked, container, "popnet", *arguments]
        with subprocess.Popen(command, stdout=output) as process:
            code = process.wait()
    finally:
        for number, handler in before.items():
            with contextlib.suppress(TypeError):
                signal.signal(number, handler)
    return 128 + told[-1] if told and code < 0 else code


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

"""Labs that a command brings up for itself and ends after it."""

from __future__ import annotations

import enum
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from lab import launch
from lab.cli import elsewhere
from lab.cli.app import Code, say
from lab.driver import Lab
from lab.drivers.base import Driver
from lab.drivers.local import LocalDriver
from lab.endings import ENDINGS


class By(enum.StrEnum):
    virtual = "virtual"
    local = "local"
    docker = "docker"


def in_a_lab(
    file: Path,
    by: By,
    work: Callable[[Lab], int],
    arguments: list[str],
    *,
    idle: bool = False,
    algorithm: str | None = None,
) -> int:
    """Bring a world up, work in it, end it. A lab of containers is out of reach from here: there, the command
    `arguments` does the work. `idle`: the timeline does not begin by itself."""
    name = f"{arguments[0]}-{os.getpid()}"
    for number in ENDINGS[1:]:
        signal.signal(number, _interrupt)
    try:
        running = _driver(by).up(
            file, name, detach=False, progress=_progress, idle=idle, algorithm=algorithm
        )
    except launch.UpError as error:
        say(f"popnet: {error.why}")
        tell_the_rest(error)
        raise typer.Exit(error.code) from None
    try:
        if isinstance(running, launch.Launch):
            return work(Lab(running.run))
        return elsewhere.command(running.name, arguments)
    finally:
        # A second Ctrl-C shall not interrupt the clearing up.
        before = [(number, signal.signal(number, signal.SIG_IGN)) for number in ENDINGS]
        running.end()
        for number, handler in before:
            signal.signal(number, handler)


def tell_the_rest(error: launch.UpError) -> None:
    """Behind the reason why a lab is not up: what its programs said, and what can be had instead."""
    for line in error.log:
        say(f"    {line}")
    if error.code == Code.MACHINE_CANNOT:
        say("`popnet doctor` says what this machine lacks, and how to mend it.")
        say(
            "Virtual time needs nothing of it: popnet run FILE, popnet compare,"
            " popnet trace --from CITY URL --driver virtual."
        )


def _driver(by: By) -> Driver:
    # No way in: nobody knows of this lab, and ports are few.
    gateway = {"web": "off", "socks": "off", "city": None}
    if by is By.docker:
        from lab.drivers.docker import DockerDriver

        return DockerDriver(gateway)
    return LocalDriver(gateway)


def _progress(text: str) -> None:
    # On a terminal only: a log has no use for it.
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text} ...\r")
        sys.stderr.flush()


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt

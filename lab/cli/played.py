"""Whether a command asks the running lab, or a world that it plays by itself: --driver and --world."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lab import seen
from lab.driver import LabError
from lab.worlds import DEFAULT_WORLD, load_world
from topology.plan import Plan

if TYPE_CHECKING:
    from lab.drivers.virtual import VirtualWorld


class By(enum.StrEnum):
    lab = "lab"
    virtual = "virtual"


DriverOption = Annotated[
    By, typer.Option("--driver", help="lab: the running one. virtual: none, a world is played.")
]
WorldOption = Annotated[
    Path | None,
    typer.Option("--world", help="World file of the virtual driver.", metavar="FILE"),
]


def file_of(driver: By, world: Path | None) -> Path | None:
    """The world to play; None: the running lab is asked. Raises LabError for a file that nobody would read."""
    if driver is By.virtual:
        return world or DEFAULT_WORLD
    if world is not None:
        raise LabError("--world: the running lab has a world; allowed with --driver virtual")
    return None


@contextlib.contextmanager
def looking(driver: By, name: str | None, world: Path | None) -> Iterator[seen.Seen]:
    """What the PoPs of the one or of the other know."""
    file = file_of(driver, world)
    if file is None:
        yield seen.in_lab(name)
        return
    with seen.in_virtual_time(file) as found:
        yield found


@contextlib.contextmanager
def in_virtual_time(file: Path) -> Iterator[VirtualWorld]:
    """A world that is up, for who asks it for something."""
    # Half a second of imports, which a running lab does without.
    from lab.drivers.virtual import VirtualWorld

    with VirtualWorld(Plan.of(load_world(file))) as world:
        world.start()
        yield world

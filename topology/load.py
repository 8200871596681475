"""Reads a world file. Everything that is wrong with it is said at once, each with its place."""

from __future__ import annotations

from pathlib import Path

import msgspec

from topology.document import parse
from topology.model import World
from topology.problems import Problem, WorldError
from topology.shape import shaped

__all__ = ["Problem", "WorldError", "load_world", "parse_world"]


def load_world(path: Path | str) -> World:
    """The world in a file. Raises WorldError, whose `problems` say what to mend."""
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        found = error.strerror if isinstance(error, OSError) else "bytes that are not UTF-8"
        raise WorldError([_unreadable(str(path), str(found))]) from error
    return parse_world(text, file=str(path), directory=path.parent)


def parse_world(text: str, *, file: str = "world", directory: Path | None = None) -> World:
    """The world that a text describes; files that it names are looked for in `directory`."""
    document = parse(text, file)
    cleaned = shaped(document, World)
    if document.problems:
        raise WorldError(document.problems)
    return msgspec.convert(cleaned, World)


def _unreadable(file: str, found: str) -> Problem:
    return Problem(
        file=file, line=1, column=1, key="", found=found, allowed="a readable world file in UTF-8"
    )

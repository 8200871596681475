"""What is wrong with a world file: where, what was found, what is allowed, and the near miss."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from msgspec import Struct


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


class Problem(Struct, frozen=True, kw_only=True):
    """One thing to mend. `str` is one line that editors and terminals can follow to the place.

    Line 0: it is the file itself, which cannot be read.
    """

    file: str
    line: int
    column: int
    key: str
    found: str
    allowed: str
    hint: str = ""

    def __str__(self) -> str:
        if not self.line:
            return f"{self.file}: {self.found}"
        where = f"{self.file}:{self.line}:{self.column}: "
        key = f"{self.key}: " if self.key else ""
        hint = f" ({self.hint})" if self.hint else ""
        line = f"{where}{key}found {self.found}; allowed: {self.allowed}{hint}"
        # A key in quotes may hold anything, also what would make two lines of one or move a terminal's cursor.
        return line if line.isprintable() else "".join(map(_visible, line))


class WorldError(Exception):
    """A world file that cannot be used, with everything that is wrong with it, in file order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def near_miss(wrong: str, names: Iterable[str]) -> str:
    """`did you mean 'visitors'?`, or nothing."""
    by_folded: dict[str, str] = {}
    for name in names:
        by_folded.setdefault(name.casefold(), name)
    close = difflib.get_close_matches(wrong.casefold(), list(by_folded), n=1, cutoff=0.6)
    return f"did you mean '{by_folded[close[0]]}'?" if close else ""


def shown(value: object, limit: int = 60) -> str:
    """A value as a person wrote it, short enough for one line."""
    if isinstance(value, str):
        text = repr(value)
    elif isinstance(value, bool):
        text = str(value).lower()
    elif value is None:
        text = "nothing"
    elif isinstance(value, dict):
        text = "a mapping"
    elif isinstance(value, list):
        text = "a list"
    else:
        text = str(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def either(names: Iterable[str], limit: int = 12) -> str:
    """`a, b or c`; long lists are cut."""
    every = [name or "''" for name in names]
    if len(every) > limit:
        return ", ".join(every[:limit]) + f" ... ({len(every)} in all)"
    return " or ".join(filter(None, [", ".join(every[:-1]), every[-1]])) if every else "none"

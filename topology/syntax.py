"""What is wrong with a text that is no YAML, in the words of who writes world files.

The parser says which of its rules it was in; people have mostly indented a line otherwise than its neighbours, used a
tab, or forgotten a colon, a bracket or a quote.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ruamel.yaml.error import MarkedYAMLError

from topology.problems import shown

_YAML = "YAML 1.2"
_CLOSING = {"flow sequence": ("[", "]"), "flow mapping": ("{", "}")}


class Fault(NamedTuple):
    """Lines and columns count from 1."""

    line: int
    column: int
    found: str
    allowed: str


def fault(error: MarkedYAMLError, text: str) -> Fault:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    began = error.context_mark.line + 1 if error.context_mark else line
    lines = _Lines(text)
    context, problem = str(error.context or ""), str(error.problem or "")
    if "'\\t'" in problem:
        return Fault(line, column, "a tab", "spaces")
    if match := re.search(r"character '(.)' that cannot start", problem):
        found = f"{match[1]!r} at the beginning of a value"
        return Fault(line, column, found, "the value in quotes")
    if "simple key" in context:
        return lines.no_key(began)
    if "quoted scalar" in context and "end of stream" in problem:
        found = f"the end of the file in a quoted text that begins in line {began}"
        return Fault(line, column, found, "a closing quote")
    for kind, (opening, closing) in _CLOSING.items():
        if kind in context and began != line:
            found = f"no {closing!r} for the {opening!r} in line {began}"
            return Fault(line, column, found, f"{closing!r} before this")
    if match := re.search(r"but found '([\]}])'", problem):
        return Fault(line, column, f"{match[1]!r} that closes nothing", "one for each opened")
    if "mapping values are not allowed" in problem and ":" in lines.text(line)[: column - 1]:
        return Fault(line, column, "a second colon", "text with a colon in quotes")
    neighbour = lines.neighbour(line)
    if neighbour and ("expected" in problem or "mapping values are not allowed" in problem):
        column = lines.indent(line) + 1
        if lines.indent(line) != lines.indent(neighbour):
            found = f"a line indented otherwise than line {neighbour}"
            return Fault(line, column, found, "as many spaces, or those of a line above it")
        if lines.is_member(line):
            found = f"a member of a list among keys, such as in line {neighbour}"
            return Fault(line, column, found, "keys only, or members only")
        if "mapping values" in problem:
            return lines.no_key(neighbour)
    since = f"(since line {began})" if began != line else ""
    return Fault(line, column, " ".join(filter(None, [context, since, problem])), _YAML)


class _Lines:
    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()

    def text(self, number: int) -> str:
        return self._lines[number - 1] if 0 < number <= len(self._lines) else ""

    def indent(self, number: int) -> int:
        line = self.text(number)
        return len(line) - len(line.lstrip(" "))

    def is_member(self, number: int) -> bool:
        return self.text(number).lstrip().startswith("- ")

    def no_key(self, number: int) -> Fault:
        found = f"{shown(self.text(number).strip())} without a colon and a space"
        return Fault(number, self.indent(number) + 1, found, "KEY: VALUE")

    def neighbour(self, number: int) -> int | None:
        """The line above that this one should be in line with: the last member for a member, else the last line."""
        above = [one for one in range(number - 1, 0, -1) if self._says(one)]
        members = [one for one in above if self.is_member(one)]
        if self.is_member(number) and members:
            return members[0]
        return above[0] if above else None

    def _says(self, number: int) -> bool:
        words = self.text(number).strip()
        return bool(words) and not words.startswith("#")

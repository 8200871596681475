"""Transcripts in documents: the commands of every ```console block, and what they should print.

A line that begins with `$ popnet` is a command. The lines below it must stand in its output in this order, with
others between them as may be. In them `...` is any text, `~12` a figure of about that size, any space any space.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# Runs `popnet ARGUMENTS` and returns what it printed, both streams.
Runner = Callable[[list[str]], str]

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"\.\.\.|~(\d+(?:\.\d+)?)(?!\d)|~\.\.\.|\s+")


@dataclass(slots=True)
class Step:
    document: str
    line: int
    arguments: list[str]
    expected: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.document}:{self.line}: popnet {shlex.join(self.arguments)}"


def steps(document: Path) -> list[Step]:
    """Every command of a document, in order."""
    text = document.read_text()
    found: list[Step] = []
    for block in _BLOCK.finditer(text):
        number = text.count("\n", 0, block.start(1))
        for line in block[1].splitlines():
            number += 1
            if line.startswith("$ popnet "):
                found.append(Step(document.name, number, shlex.split(line)[2:]))
            elif line.startswith("$"):
                raise ValueError(f"{document.name}:{number}: only popnet is known here: {line}")
            elif line.strip():
                found[-1].expected.append(line.rstrip())
    return found


def is_like(expected: str, line: str) -> bool:
    pattern, figures, position = "", [], 0
    for mark in _MARK.finditer(expected):
        pattern += re.escape(expected[position : mark.start()])
        position = mark.end()
        if mark[1] is not None:
            figures.append(float(mark[1]))
            pattern += r"(\d+(?:\.\d+)?)"
        else:
            pattern += r"\s+" if mark[0].isspace() else ".*?"
    pattern += re.escape(expected[position:])
    # An end that is left open is open; otherwise the line ends where it is said to.
    found = re.fullmatch(pattern + r"\s*", line)
    return found is not None and all(
        _is_about(float(text), figure) for text, figure in zip(found.groups(), figures, strict=True)
    )


def _is_about(value: float, figure: float) -> bool:
    """Never much less, for the emulated Internet allows none; more on a machine that has much to do."""
    return 0.6 * figure - 1 <= value <= 1.5 * figure + 100


def missing(expected: list[str], output: str) -> str | None:
    """The first expected line that is not there."""
    lines = iter(output.splitlines())
    for wanted in expected:
        if not any(is_like(wanted, line) for line in lines):
            return wanted
    return None


def follow(step: Step, run: Runner) -> None:
    output = run(step.arguments)
    lacking = missing(step.expected, output)
    assert lacking is None, f"{step}\nnot there: {lacking}\n{output}"

"""Reads an RTT matrix from a CSV file: a header row of names, then a row of milliseconds a name.

Rows may begin with their name (the header then begins with an empty or any other cell). Half of the
cell in row A, column B is the delay from A to B. Empty cells and the diagonal say nothing; where only one
of the two cells of a pair is filled, it counts for both directions.
"""

from __future__ import annotations

from collections.abc import Collection
from math import isfinite
from pathlib import Path

from msgspec import Struct, field

from topology.files import read
from topology.problems import Problem, near_miss, shown

# A wrong matrix is wrong in many cells; nobody reads a hundred thousand lines.
MOST_PROBLEMS = 20


class _Cell(Struct, frozen=True):
    text: str
    line: int
    column: int


class Matrix(Struct):
    """One-way delays in ms by source and destination, and what was wrong with the file."""

    file: str
    one_way_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, cell: _Cell, key: str, found: str, allowed: str, hint: str = "") -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(
                Problem(
                    file=self.file,
                    line=cell.line,
                    column=cell.column,
                    key=key,
                    found=found,
                    allowed=allowed,
                    hint=hint,
                )
            )


def read_matrix(path: Path, nodes: Collection[str]) -> Matrix:
    """Raises OSError or ValueError when there is no such text."""
    return parse_matrix(read(path, "utf-8-sig"), str(path), nodes)


def parse_matrix(text: str, file: str, nodes: Collection[str]) -> Matrix:
    """The matrix that a text holds."""
    matrix = Matrix(file=file)
    rows = [
        _cells(line, number) for number, line in enumerate(text.splitlines(), 1) if line.strip()
    ]
    if len(rows) < 2:
        matrix.problem(
            _Cell("", 1, 1), "", f"{len(rows)} rows", "a header row of names, then numbers"
        )
        return matrix
    header, *body = rows
    # Rows have labels when their first cell is no number; the header has a corner cell then.
    labelled = all(_number(row[0].text) is None and row[0].text for row in body)
    if labelled:
        header = header[1:]
    names = [cell.text for cell in header]
    _check_header(matrix, header, nodes)
    if len(body) != len(names):
        found = f"{len(body)} rows of numbers below {len(names)} names"
        matrix.problem(body[-1][0], "", found, "as many rows as names: a square")
    rtt: dict[tuple[str, str], float] = {}
    for name, row in zip(names, body, strict=False):
        label, cells = (row[0], row[1:]) if labelled else (None, row)
        if label is not None and label.text != name:
            matrix.problem(
                label, "", shown(label.text), f"{shown(name)}: rows in the header's order"
            )
        if len(cells) != len(names):
            found = f"{len(cells)} numbers in the row of {name}"
            matrix.problem(row[0], "", found, f"{len(names)}: a square")
        for other, cell in zip(names, cells, strict=False):
            if other != name and cell.text:
                number = _number(cell.text)
                if number is None or not isfinite(number) or number < 0:
                    allowed = "milliseconds of at least 0, or nothing for not known"
                    matrix.problem(cell, f"{name},{other}", shown(cell.text), allowed)
                else:
                    rtt[name, other] = number
    for (a, b), there in rtt.items():
        matrix.one_way_ms.setdefault(a, {})[b] = there / 2
        if (b, a) not in rtt:
            matrix.one_way_ms.setdefault(b, {})[a] = there / 2
    return matrix


def _check_header(matrix: Matrix, header: list[_Cell], nodes: Collection[str]) -> None:
    known, seen = frozenset(nodes), set[str]()
    for cell in header:
        if cell.text in seen:
            matrix.problem(cell, cell.text, f"{shown(cell.text)} a second time", "each name once")
        elif cell.text not in known:
            found = f"{shown(cell.text)}, which is no node"
            hint = near_miss(cell.text, nodes)
            matrix.problem(cell, cell.text, found, "names of PoPs, visitors and sites", hint)
        seen.add(cell.text)


def _cells(line: str, number: int) -> list[_Cell]:
    """Names and numbers need no quotes inside, so that a comma is always a separator."""
    cells, start = [], 0
    for raw in line.split(","):
        text = raw.strip()
        indent = len(raw) - len(raw.lstrip()) if text else 0
        cells.append(_Cell(text.strip('"'), number, start + indent + 1))
        start += len(raw) + 1
    return cells


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None

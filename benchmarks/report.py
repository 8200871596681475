"""One measured figure, and the table of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """A figure: what was measured, its value and unit, and the bound it should keep (an upper one), if any."""

    name: str
    value: float
    unit: str
    bound: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.bound is None:
            return ""
        return "ok" if self.value <= self.bound else "OVER"


def show(rows: Iterable[Row], *, as_json: bool = False) -> None:
    """Print `rows` to stdout as a table, or as JSON."""
    listed = list(rows)
    if as_json:
        json.dump([{**asdict(row), "verdict": row.verdict} for row in listed], sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    width = max((len(row.name) for row in listed), default=0)
    for row in listed:
        bound = "" if row.bound is None else f"<= {row.bound:g}"
        print(
            f"{row.name:<{width}}  {row.value:>10.3f} {row.unit:<8} {bound:>10}  {row.verdict:<4}  {row.note}".rstrip(),
            flush=True,
        )

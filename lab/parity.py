"""Does virtual time tell what real packets tell? The same world by two drivers, figure by figure.

For every visitor: the path of a trace and the part of its time that the links declare; equal paths, and times within
the larger of 1 ms and 2 %. Pure but for what it is handed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lab.journey import Journey

LEAST_S, SHARE = 0.001, 0.02

Trace = Callable[[str], Journey | str]


@dataclass(frozen=True, slots=True)
class Row:
    visitor: str
    virtual_s: float | None
    real_s: float | None
    virtual_path: str
    real_path: str

    @property
    def agree(self) -> bool:
        if self.virtual_s is None or self.real_s is None or self.virtual_path != self.real_path:
            return False
        return abs(self.virtual_s - self.real_s) <= max(LEAST_S, SHARE * self.real_s)


def compare(visitors: Iterable[str], virtual: Trace, real: Trace) -> list[Row]:
    rows = []
    for visitor in visitors:
        ours, theirs = virtual(visitor), real(visitor)
        rows.append(Row(visitor, _time(ours), _time(theirs), _path(ours), _path(theirs)))
    return rows


def _time(told: Journey | str) -> float | None:
    return None if isinstance(told, str) else told.emulated_s


def _path(told: Journey | str) -> str:
    return told if isinstance(told, str) else ">".join(told.path)

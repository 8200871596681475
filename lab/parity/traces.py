"""The trace of every visitor: equal paths, and times within the larger of 1 ms and 2 %."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

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

    def to_dict(self) -> dict[str, Any]:
        return {
            "visitor": self.visitor,
            "virtual_ms": None if self.virtual_s is None else round(self.virtual_s * 1e3, 3),
            "real_ms": None if self.real_s is None else round(self.real_s * 1e3, 3),
            "virtual_path": self.virtual_path,
            "real_path": self.real_path,
            "agree": self.agree,
        }


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

"""Two measurements of one thing, and how far apart they may be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Pair:
    """Medians of many, in seconds. `share` and `least_s`: the larger of the two is allowed between them."""

    what: str
    virtual_s: float
    real_s: float
    counts: tuple[int, int]
    share: float
    least_s: float = 0.0

    @classmethod
    def of(
        cls,
        what: str,
        virtual: Sequence[float],
        real: Sequence[float],
        share: float,
        least_s: float = 0.0,
    ) -> Pair:
        counts = len(virtual), len(real)
        return cls(what, _median(virtual), _median(real), counts, share, least_s)

    @property
    def apart(self) -> float:
        """As a share of what was real; not a number when either was not measured."""
        if self.virtual_s == self.real_s:
            return 0.0
        return (self.virtual_s - self.real_s) / self.real_s if self.real_s else math.nan

    @property
    def agree(self) -> bool:
        if self.virtual_s == self.real_s:
            return True
        # Not a number, and one infinite, are never within.
        return abs(self.virtual_s - self.real_s) <= max(self.least_s, self.share * self.real_s)

    def to_dict(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "virtual_s": _finite(self.virtual_s),
            "real_s": _finite(self.real_s),
            "apart_pct": _finite(100 * self.apart),
            "allowed_pct": 100 * self.share,
            "allowed_s": self.least_s,
            "virtual_count": self.counts[0],
            "real_count": self.counts[1],
            "agree": self.agree,
        }


def _median(values: Sequence[float]) -> float:
    return median(values) if values else math.nan


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None

"""How late the emulator itself is: the time between when a packet was due and when it was written.

A histogram of fixed bins, for it is fed with every packet: 10 us wide up to 10 ms, 1 ms up to 1 s.
Quantiles are upper bounds of their bin; the maximum is exact.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import NamedTuple

FINE_PER_S = 100_000
FINE_BINS = 1000
_COARSE_PER_S = 1000
_COARSE_BINS = 1001


class Snapshot(NamedTuple):
    p50_s: float
    p99_s: float
    max_s: float


class Lateness:
    """`fine[int(late * FINE_PER_S)]` may be counted up directly below FINE_BINS; else call `coarse`."""

    __slots__ = ("_coarse", "fine", "max_s")

    def __init__(self) -> None:
        self.fine = [0] * FINE_BINS
        self._coarse = [0] * _COARSE_BINS
        self.max_s = 0.0

    def coarse(self, late: float) -> None:
        self._coarse[min(int(late * _COARSE_PER_S), _COARSE_BINS - 1)] += 1

    def add(self, late: float) -> None:
        bin_ = int(late * FINE_PER_S)
        if bin_ < FINE_BINS:
            self.fine[bin_] += 1
        else:
            self.coarse(late)
        self.max_s = max(self.max_s, late)

    def quantile(self, share: float) -> float:
        total = sum(self.fine) + sum(self._coarse)
        wanted, seen = share * total, 0
        fine = (((n + 1) / FINE_PER_S, here) for n, here in enumerate(self.fine))
        last = (math.inf, self._coarse[-1])
        coarse = (((n + 1) / _COARSE_PER_S, here) for n, here in enumerate(self._coarse[:-1]))
        for upper, here in chain(fine, coarse, (last,)):
            seen += here
            if here and seen >= wanted:
                return min(upper, self.max_s)
        return self.max_s

    def snapshot(self) -> Snapshot:
        return Snapshot(self.quantile(0.5), self.quantile(0.99), self.max_s)

"""What paired measurements allow to say: intervals, p-values, verdicts. Pure; times in any one unit.

A *block* is what belongs together in time: the gains (baseline - algorithm) of all pairs of one seed and one
stretch of time. Requests that follow each other share queues, routes and luck, so they are no independent
samples; blocks nearly are. Everything here resamples blocks, never single pairs.

    gain = block_bootstrap(blocks, resamples=2000, seed=1)
    p = holm({"one-relay": sign_flip_p(blocks, seed=1), ...})
    verdict(gain, margin(base_mean_ms), p["one-relay"])

Sources: the bootstrap of blocks after Künsch, Ann. Statist. 17 (1989); the expanded percentile interval after
Hesterberg, The American Statistician 69 (2015), section 5.3.1, because a plain percentile interval of few blocks is
too narrow; sign flips after Fisher (1935); Holm, Scand. J. Statist. 6 (1979). The verdict is an equivalence test by
interval: "no gain" has to be shown as much as "helps" has, and what shows neither is undecided.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

LEVEL = 0.95
RESAMPLES = 2000
# With five blocks the smallest two-sided p of sign flips is 1/16: below that nothing can be shown at all.
FEWEST_BLOCKS = 6
MARGIN_MS = 1.0
MARGIN_SHARE = 0.01
_EXACT_UP_TO = 12
_FLIPS = 10_000


class Verdict(enum.StrEnum):
    """What the measurements say of an algorithm, compared with the baseline."""

    helps = "helps"
    no_gain = "no gain"
    harms = "harms"
    undecided = "undecided"


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence interval; `lo` and `hi` are infinite when nothing bounds it."""

    value: float
    lo: float
    hi: float
    blocks: int

    def __str__(self) -> str:
        return f"{self.value:+.2f} [{self.lo:+.2f} .. {self.hi:+.2f}]"


def quantile(values: Sequence[float], percent: float) -> float:
    """By the nearest rank, of values in any order; not a number when there are none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def blocked(gains: Iterable[tuple[object, float]]) -> list[list[float]]:
    """Gains by the block they belong to; blocks in the order of their first appearance."""
    found: dict[object, list[float]] = {}
    for block, gain in gains:
        found.setdefault(block, []).append(gain)
    return list(found.values())


def block_bootstrap(
    blocks: Sequence[Sequence[float]],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 1,
) -> Interval:
    """The mean over all values, and its interval by drawing whole blocks with replacement.

    The percentiles are those that make the interval of n blocks as wide as Student's t would: the plain ones
    cover too seldom. One block bounds nothing.
    """
    full = [block for block in blocks if block]
    if not full:
        return Interval(math.nan, -math.inf, math.inf, 0)
    value = math.fsum(x for block in full for x in block) / sum(map(len, full))
    count = len(full)
    if count < 2:
        return Interval(value, -math.inf, math.inf, count)
    sums = np.array([math.fsum(block) for block in full])
    sizes = np.array([len(block) for block in full])
    drawn = np.random.default_rng(seed).integers(0, count, (resamples, count))
    means = np.sort(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    tail = 100 * _expanded_tail((1 - level) / 2, count)
    lo, hi = np.percentile(means, [tail, 100 - tail])
    return Interval(value, float(lo), float(hi), count)


def _expanded_tail(tail: float, count: int) -> float:
    """The share to cut off at each side: Hesterberg's Phi(-t * sqrt(n / (n - 1)))."""
    t = student_t(1 - tail, count - 1)
    return NormalDist().cdf(-t * math.sqrt(count / (count - 1)))


def student_t(probability: float, freedom: int) -> float:
    """Quantile of Student's t. Exact for 1 and 2 degrees of freedom, else the expansion of Abramowitz and Stegun
    26.7.5, whose error is below 2 % from 3 on and below 0.1 % from 6 on at the level used here."""
    if freedom == 1:
        return math.tan(math.pi * (probability - 0.5))
    if freedom == 2:
        a = 2 * probability - 1
        return a * math.sqrt(2 / (1 - a * a))
    z, n = NormalDist().inv_cdf(probability), freedom
    g1 = (z**3 + z) / 4
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    g4 = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + g1 / n + g2 / n**2 + g3 / n**3 + g4 / n**4


def sign_flip_p(blocks: Sequence[Sequence[float]], *, seed: int = 1) -> float:
    """Two-sided p of "the algorithm is as good as the baseline".

    If it were, the two would be interchangeable in every block, and the sign of a block's sum a coin's. The p-value
    is the share of all ways to throw these coins that give a sum at least as far from zero: all of them are tried
    for up to 12 blocks, a sample of them beyond. 1 when there is nothing to throw.
    """
    sums = np.array([math.fsum(block) for block in blocks if block])
    if not len(sums):
        return 1.0
    count = len(sums)
    if count <= _EXACT_UP_TO:
        bits = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
    else:
        bits = np.random.default_rng(seed).integers(0, 2, (_FLIPS, count))
    flipped = np.abs((1 - 2 * bits) @ sums)
    # What is equal but for rounding counts as equal.
    far = int((flipped >= abs(math.fsum(sums)) - 1e-9 * np.abs(sums).sum()).sum())
    if count <= _EXACT_UP_TO:
        return far / len(flipped)
    return (far + 1) / (len(flipped) + 1)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted so that the chance of even one false alarm among all of them stays below the level."""
    adjusted: dict[str, float] = {}
    running = 0.0
    ordered = sorted(p_values, key=lambda name: (p_values[name], name))
    for rank, name in enumerate(ordered):
        running = max(running, min(1.0, (len(ordered) - rank) * p_values[name]))
        adjusted[name] = running
    return {name: adjusted[name] for name in p_values}


def margin(base_ms: float) -> float:
    """What is too little to matter: 1 ms, or 1 % of what the baseline takes, whichever is more."""
    return max(MARGIN_MS, MARGIN_SHARE * base_ms)


def verdict(gain: Interval, margin: float, p_adjusted: float, *, level: float = LEVEL) -> Verdict:
    """By where the whole interval lies. To be told apart from luck, a gain or a loss also has to survive Holm."""
    if gain.blocks < FEWEST_BLOCKS:
        return Verdict.undecided
    if -margin <= gain.lo and gain.hi <= margin:
        return Verdict.no_gain
    if p_adjusted <= 1 - level:
        if gain.lo > margin:
            return Verdict.helps
        if gain.hi < -margin:
            return Verdict.harms
    return Verdict.undecided

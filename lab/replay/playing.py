"""Slice by slice: what is known up to slice t decides, and slice t + 1 judges.

    played = play(matrices, contenders, Settings(...), progress)

The judge counts what a request would have met: the RTT of the path's links in slice t + 1 and `hop_cost_s` for each
relay. Direct and the oracles are judged alike; the oracles see slice t + 1 itself. All pairs are judged for what has an
array form, and a sample of pairs for everything, so that all can be compared on the same ones.

What learns from outcomes decides `rounds` times in a slice, with requests in between that meet the slice itself: a
race or a bandit's trials are short beside a slice. Only the last decision is judged; what the trials cost is not, but
how many there were is told.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.replay.dense import (
    NONE,
    Decide,
    Known,
    Matrix,
    Pairs,
    Relays,
    Vector,
    damped,
    dense,
    hops,
    overlay,
)
from lab.replay.estimates import Estimates
from lab.replay.matrices import Matrices
from lab.replay.walking import Walking, graph_of
from routing.catalogue import Algorithm
from routing.damping import Damping
from routing.oracle import any_relays, one_relay

Progress = Callable[[int, int, str], None]

ORACLES = ("oracle-1", "oracle")
"""The best of at most one relay, and of any number."""


@dataclass(frozen=True, slots=True)
class Contender:
    """An algorithm with its parameters, as it is called here."""

    name: str
    algorithm: Algorithm
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Settings:
    estimator: str | Mapping[str, Any]
    damping: Damping
    pairs: int
    """How many are sampled, for what has no array form and for samples.csv."""
    every_s: float
    rounds: int
    """Decisions within a slice for what learns from outcomes; the last one is judged on the next slice."""
    hop_cost_s: float
    seed: int


@dataclass(slots=True)
class Judged:
    """One algorithm on one group of pairs: a row for each judged slice. Seconds; not finite: no such path."""

    pairs: Pairs
    rtt_s: list[Vector] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    tried: list[float] = field(default_factory=list)
    paths: list[Relays] = field(default_factory=list)

    def add(self, rtt_s: Vector, changed: int, paths: Relays | None) -> None:
        self.rtt_s.append(rtt_s)
        self.changed.append(changed)
        if paths is not None:
            self.paths.append(paths)


@dataclass(frozen=True, slots=True)
class Played:
    """`everywhere` has all pairs and what has an array form, `sample` the sampled ones and everything."""

    everywhere: Mapping[str, Judged]
    sample: Mapping[str, Judged]


def sampled(count: int, pairs: int, seed: int) -> Pairs:
    """About so many pairs: as many sources as destinations of each, so that few PoPs have to decide."""
    if pairs >= count * (count - 1):
        return Pairs.all(count)
    rng = random.Random(seed)
    sources = sorted(rng.sample(range(count), min(count, math.ceil(math.sqrt(pairs)))))
    each = min(count - 1, math.ceil(pairs / len(sources)))
    rows = [
        (source, other)
        for source in sources
        for other in sorted(rng.sample([one for one in range(count) if one != source], each))
    ]
    source, destination = np.array(rows, np.intp).T
    return Pairs(source, destination)


def play(
    matrices: Matrices,
    contenders: Sequence[Contender],
    settings: Settings,
    progress: Progress = lambda done, of, what: None,
) -> Played:
    """Raises LabError for an algorithm that gives no answer."""
    names = matrices.names
    everyone, some = Pairs.all(len(names)), sampled(len(names), settings.pairs, settings.seed)
    place = _places(everyone, some, len(names))
    series = matrices.rtt_ms / 1e3
    arrays = {
        one.name: _Arrays(form, one.params, everyone, settings)
        for one in contenders
        if (form := dense(one.algorithm, one.params)) is not None
    }
    walking = {
        one.name: Walking(one.algorithm, one.params, names, some, settings.damping, settings.seed)
        for one in contenders
        if one.name not in arrays
    }
    everywhere = {name: Judged(everyone) for name in (*arrays, *ORACLES)}
    sample = {one: Judged(some) for one in (*(c.name for c in contenders), *ORACLES)}
    before: dict[str, Relays] = {}
    estimates = Estimates(settings.estimator)
    steps = (len(series) - 1) * (len(contenders) + 1)
    for t, seen in enumerate(series[:-1]):
        now = t * settings.every_s
        estimates.add(seen)
        rtts = np.nan_to_num(estimates.matrix(), nan=np.inf, posinf=np.inf)
        truth = np.nan_to_num(series[t + 1], nan=np.inf, posinf=np.inf)
        done = t * (len(contenders) + 1)
        for name, array in arrays.items():
            relays = array.decide(rtts, now)
            cost = _cost(truth, everyone, relays, settings.hop_cost_s)
            moved = _moved(before.get(name), relays)
            everywhere[name].add(cost, int(moved.sum()), None)
            sample[name].add(cost[place], int(moved[place].sum()), relays[place])
            before[name] = relays
            done += 1
            progress(done, steps, f"slice {t + 1}, {name}")
        graph = graph_of(names, rtts, t + 1) if walking else None
        for name, walk in walking.items():
            present = np.nan_to_num(seen, nan=np.inf, posinf=np.inf)
            tries = []
            for turn in range(settings.rounds):
                at = now + turn * settings.every_s / settings.rounds
                relays = walk.decide(graph, t, at)
                tries.append(relays)
                if turn < settings.rounds - 1:
                    walk.hear(_cost(present, some, relays, settings.hop_cost_s))
            cost = _cost(truth, some, relays, settings.hop_cost_s)
            walk.hear(cost)
            sample[name].tried += [float(_moved(one, relays).mean()) for one in tries[:-1]]
            sample[name].add(cost, int(_moved(before.get(name), relays).sum()), relays)
            before[name] = relays
            done += 1
            progress(done, steps, f"slice {t + 1}, {name}")
        for name, best in _oracles(truth, settings.hop_cost_s).items():
            costs = best[everyone.source, everyone.destination]
            everywhere[name].add(costs, 0, None)
            sample[name].add(costs[place], 0, None)
        progress(done + 1, steps, f"slice {t + 1}, oracle")
    return Played(everywhere, sample)


class _Arrays:
    """One algorithm in its array form, with what it remembers."""

    def __init__(
        self, form: Decide, params: Mapping[str, Any], pairs: Pairs, settings: Settings
    ) -> None:
        self._form = form
        self._params = params
        self._pairs = pairs
        self._damping = settings.damping
        self._memory: dict[str, Any] = {}
        self._current: Relays | None = None

    def decide(self, rtts: Matrix, now: float) -> Relays:
        known = Known(rtts, now, self._pairs, self._current, self._params, self._memory)
        wish = self._form(known)
        damping = self._damping
        self._current = damped(wish, self._current, damping.min_gain_pct, damping.min_gain_s)
        return self._current


def _oracles(truth: Matrix, hop_cost_s: float) -> dict[str, Matrix]:
    single, _ = one_relay(truth, hop_cost_s)
    return dict(zip(ORACLES, (single, any_relays(truth, hop_cost_s)), strict=True))


def _cost(truth: Matrix, pairs: Pairs, relays: Relays, hop_cost_s: float) -> Vector:
    return np.asarray(overlay(truth, pairs, relays) + hop_cost_s * hops(relays))


def _moved(before: Relays | None, after: Relays) -> NDArray[np.bool_]:
    """Which routes are others now. The first decision changes nothing."""
    if before is None:
        return np.zeros(len(after), bool)
    width = max(before.shape[1], after.shape[1])
    old, new = (
        np.pad(one, ((0, 0), (0, width - one.shape[1])), constant_values=NONE)
        for one in (before, after)
    )
    return np.asarray((old != new).any(axis=1))


def _places(everyone: Pairs, some: Pairs, count: int) -> NDArray[np.intp]:
    """Where the sampled pairs stand among all."""
    index = np.full((count, count), -1, np.intp)
    index[everyone.source, everyone.destination] = np.arange(len(everyone))
    return np.asarray(index[some.source, some.destination])

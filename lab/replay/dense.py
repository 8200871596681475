"""Algorithms that are plain arithmetic on a matrix, for all pairs at once: the answers of `routing.algorithms`, faster.

Asking `decide` at each of 490 PoPs for 489 destinations takes minutes a slice; this takes under a second. It is not
another opinion: on samples the tests demand the same paths as the algorithms' own, after the same damping. What
learns from outcomes is not here, and is asked itself (`walking`).

Pairs are rows (source, destination); a path is a row of relays, filled up with NONE. Delays in seconds, `inf` where
there is no link.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routing.candidates import LEAD
from routing.catalogue import CATALOGUE, Algorithm
from routing.oracle import one_relay

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
Relays = NDArray[np.int32]

NONE = -1
_BREACH_S = 10.0
_UNREACHED_S = 10.0


@dataclass(frozen=True, slots=True)
class Pairs:
    """Sources and destinations, row by row."""

    source: NDArray[np.intp]
    destination: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.source)

    @classmethod
    def all(cls, count: int) -> Pairs:
        source, destination = np.nonzero(~np.eye(count, dtype=bool))
        return cls(source, destination)


def overlay(rtts: Matrix, pairs: Pairs, relays: Relays) -> Vector:
    """Sum of the RTTs along each path."""
    at, total = pairs.source, np.zeros(len(pairs))
    for column in relays.T:
        there = column != NONE
        if not there.any():
            break
        onward = np.where(there, column, at)
        total += rtts[at, onward]
        at = onward
    return np.asarray(total + rtts[at, pairs.destination])


def hops(relays: Relays) -> NDArray[np.intp]:
    """Number of relays of each path."""
    return np.asarray((relays != NONE).sum(axis=1))


@dataclass(frozen=True, slots=True)
class Wish:
    """What an algorithm puts first for each pair, its cost, and the cost that it gives the path in force."""

    relays: Relays
    cost: Vector
    current: Vector


@dataclass(slots=True)
class Known:
    """What an algorithm sees, and what it keeps. `current`: the path in force, None before the first decision."""

    rtts: Matrix
    now: float
    pairs: Pairs
    current: Relays | None
    params: Mapping[str, Any]
    memory: dict[str, Any] = field(default_factory=dict)

    def cost(self, relays: Relays, hop_cost_s: float, scale: float = 1.0) -> Vector:
        way = overlay(self.rtts, self.pairs, relays)
        return np.asarray(scale * way + hop_cost_s * hops(relays))

    def standing(self, hop_cost_s: float, scale: float = 1.0) -> Vector:
        """Cost of the path in force."""
        if self.current is None:
            return np.full(len(self.pairs), np.inf)
        return self.cost(self.current, hop_cost_s, scale)


def _rows(matrix: NDArray[np.int32], pairs: Pairs) -> Relays:
    return np.asarray(matrix[pairs.source, pairs.destination][:, None])


def _best(known: Known, hop_cost_s: float, allowed: NDArray[np.intp] | None = None) -> Wish:
    cost, relays = one_relay(known.rtts, hop_cost_s, allowed)
    best = cost[known.pairs.source, known.pairs.destination]
    return Wish(_rows(relays, known.pairs), best, known.standing(hop_cost_s))


def _direct(known: Known) -> Wish:
    none = np.full((len(known.pairs), 1), NONE, np.int32)
    cost = known.cost(none, 0.0)
    return Wish(none, cost, cost)


def _one_relay(known: Known) -> Wish:
    return _best(known, known.params["hop_cost_s"])


def _ttfb(known: Known) -> Wish:
    scale, processing = known.params["round_trips"], known.params["processing_s"]
    cost, relays = one_relay(scale * known.rtts, processing)
    best = cost[known.pairs.source, known.pairs.destination]
    return Wish(_rows(relays, known.pairs), best, known.standing(processing, scale))


def _static(known: Known) -> Wish:
    """Learns at first and for `learn_s`; a pair that could not be learnt yet is learnt when it can be."""
    wish = _one_relay(known)
    learnt: Relays | None = known.memory.get("learnt")
    started = known.memory.setdefault("started", known.now)
    if learnt is None:
        learnt = np.full_like(wish.relays, NONE)
        known.memory["pending"] = np.ones(len(known.pairs), bool)
    if known.now - started < known.params["learn_s"]:
        known.memory["pending"][:] = True
    renew = known.memory["pending"] & np.isfinite(wish.cost)
    learnt = np.where(renew[:, None], wish.relays, learnt).astype(np.int32)
    known.memory["pending"] &= ~renew
    known.memory["learnt"] = learnt
    cost = known.cost(learnt, known.params["hop_cost_s"])
    return Wish(learnt, cost, wish.current)


def _sla(known: Known) -> Wish:
    hop_cost_s, limit = known.params["hop_cost_s"], known.params["max_rtt_s"]
    best = _best(known, hop_cost_s)
    straight = np.full_like(best.relays, NONE)
    # Of all ways over one relay the cheapest has the shortest RTT, too; beside it only the direct way counts.
    over = _rows(one_relay(known.rtts, 0.0)[1], known.pairs)
    options = [(way, known.cost(way, hop_cost_s)) for way in (straight, best.relays, over)]
    breach = [overlay(known.rtts, known.pairs, way) > limit for way, _ in options]
    charged = np.stack([c + _BREACH_S * b for (_, c), b in zip(options, breach, strict=True)])
    least = np.stack(breach).min(axis=0)
    chosen = charged.argmin(axis=0)
    relays_ = np.stack([way for way, _ in options])[chosen, np.arange(len(known.pairs))]
    cost_s = charged.min(axis=0) - _BREACH_S * least
    if known.current is None:
        return Wish(relays_, cost_s, best.current)
    broken = overlay(known.rtts, known.pairs, known.current) > limit
    relays_ = np.where(broken[:, None], relays_, known.current).astype(np.int32)
    standing = best.current + _BREACH_S * (broken & ~least)
    return Wish(relays_, np.where(broken, cost_s, standing), standing)


def _load_aware(known: Known) -> Wish:
    """Without loads the path in use wins as long as it is near, and is charged once it is not."""
    wish = _one_relay(known)
    if known.current is None:
        return wish
    slack = np.maximum(wish.cost * known.params["near"], known.params["near_s"])
    near = wish.current <= wish.cost + slack
    relays = np.where(near[:, None], known.current, wish.relays).astype(np.int32)
    standing = np.where(near, wish.current, wish.current + LEAD * wish.cost)
    return Wish(relays, np.where(near, wish.current, wish.cost), standing)


def _hubs(known: Known) -> Wish:
    found_at = known.memory.get("found_at")
    if found_at is None or known.now - found_at >= known.params["refresh_s"]:
        known.memory["hubs"] = k_median(known.rtts, int(known.params["count"]))
        known.memory["found_at"] = known.now
    return _best(known, known.params["hop_cost_s"], np.array(known.memory["hubs"], np.intp))


def k_median(rtts: Matrix, count: int) -> list[int]:
    away = np.where(np.isfinite(rtts), rtts, _UNREACHED_S)
    nearest = np.full(len(rtts), _UNREACHED_S)
    found: list[int] = []
    for _ in range(min(count, len(rtts))):
        sums = np.minimum(nearest[:, None], away).sum(axis=0)
        sums[found] = np.inf
        found.append(int(sums.argmin()))
        nearest = np.minimum(nearest, away[:, found[-1]])
    return found


def _lowest_rtt(known: Known) -> Wish:
    hop_cost_s, most = known.params["hop_cost_s"], int(known.params["max_relays"])
    relays = any_relays(known.rtts, known.pairs, hop_cost_s, most)
    return Wish(relays, known.cost(relays, hop_cost_s), known.standing(hop_cost_s))


def any_relays(rtts: Matrix, pairs: Pairs, hop_cost_s: float, most: int) -> Relays:
    """The best paths of at most `most` relays."""
    count = len(rtts)
    cost, after = rtts.copy(), np.broadcast_to(np.arange(count), rtts.shape).copy()
    for relay in range(count):
        through = cost[:, relay, None] + cost[relay] + hop_cost_s
        better = through < cost
        better[relay] = False
        better[:, relay] = False
        np.fill_diagonal(better, False)
        np.copyto(cost, through, where=better)
        np.copyto(after, after[:, relay, None], where=better)
    relays = np.full((len(pairs), most), NONE, np.int32)
    at = pairs.source
    for column in range(most + 1):
        at = after[at, pairs.destination]
        under_way = at != pairs.destination
        if column == most or not under_way.any():
            break
        relays[under_way, column] = at[under_way]
        at = np.where(under_way, at, pairs.destination)
    for source in np.unique(pairs.source[at != pairs.destination]):
        rows = pairs.source == source
        relays[rows] = _bounded(rtts, int(source), hop_cost_s, most)[pairs.destination[rows]]
    return relays


def _bounded(rtts: Matrix, source: int, hop_cost_s: float, most: int) -> Relays:
    """From one source: the best walks of k links from those of k - 1."""
    count = len(rtts)
    legs = rtts + hop_cost_s
    np.fill_diagonal(legs, np.inf)
    cost = rtts[source].copy()
    relays = np.full((count, most), NONE, np.int32)
    for _ in range(most):
        total = cost[:, None] + legs
        total[source] = np.inf
        last = total.argmin(axis=0)
        found = total[last, np.arange(count)]
        better = found < cost
        better[source] = False
        longer = relays[last]
        longer[np.arange(count), np.minimum(hops(longer), most - 1)] = last
        relays = np.where(better[:, None], longer, relays).astype(np.int32)
        cost = np.where(better, found, cost)
        if not better.any():
            break
    return relays


Decide = Callable[[Known], Wish]

DENSE: Mapping[str, Decide] = {
    "direct": _direct,
    "static": _static,
    "lowest-rtt": _lowest_rtt,
    "one-relay": _one_relay,
    "ttfb": _ttfb,
    # A matrix knows no loss, and of disjoint paths the first is the best one.
    "loss-aware": _one_relay,
    "k-disjoint": _one_relay,
    "sla": _sla,
    "load-aware": _load_aware,
    "hubs": _hubs,
}


def dense(algorithm: Algorithm, params: Mapping[str, Any]) -> Decide | None:
    """The array form of `algorithm`; None when it has none, or not with these parameters."""
    if CATALOGUE.get(algorithm.name) is not algorithm or params.get("paths"):
        return None
    if algorithm.name == "hubs" and params["hubs"]:
        return None
    if algorithm.name == "sla" and (params["max_jitter_s"] < 0 or params["max_loss"] < 0):
        return None
    return DENSE.get(algorithm.name)


def damped(wish: Wish, current: Relays | None, min_gain_pct: float, min_gain_s: float) -> Relays:
    """The paths in force from now on: `routing.damping` without holds, which mean nothing between slices."""
    if current is None:
        return wish.relays
    width = max(current.shape[1], wish.relays.shape[1])
    old, new = _wide(current, width), _wide(wish.relays, width)
    with np.errstate(invalid="ignore"):
        gain = wish.current - wish.cost
        needed = np.maximum(wish.current * (min_gain_pct / 100), min_gain_s)
        enough = (gain < 0) | (gain >= needed) | ~np.isfinite(wish.current)
    move = (old != new).any(axis=1) & enough & np.isfinite(wish.cost)
    return np.where(move[:, None], new, old).astype(np.int32)


def _wide(relays: Relays, width: int) -> Relays:
    missing = width - relays.shape[1]
    return np.pad(relays, ((0, 0), (0, missing)), constant_values=NONE) if missing else relays

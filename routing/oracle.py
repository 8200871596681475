"""The best path on the declared truth: what an algorithm is measured against, never what forwards.

An oracle sees every link as it really is at the moment, which no PoP does, and may relay as often as it likes. Regret
is what a request took beyond it. Numpy is imported here: a PoP never imports this module.

    best_path(truth, me, exits)       on a graph with names: for requests
    one_relay(rtts), any_relays(rtts) on a matrix: for replays; all pairs at once

A matrix has the RTT from row to column in any unit, `inf` where there is no link, and 0 on the diagonal.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from routing.algorithms import lowest_rtt
from routing.api import Exit, MeasuredLink, Path, RoutingState
from routing.graph import latency_graph

Matrix = NDArray[np.float64]
Relays = NDArray[np.int32]

DIRECT = -1
"""In an array of relays: none."""


def best_path(
    truth: Iterable[MeasuredLink],
    me: str,
    exits: Iterable[Exit],
    *,
    hop_cost_s: float = lowest_rtt.PARAMS["hop_cost_s"],
) -> Path | None:
    """The cheapest way from `me` to any of `exits` over any number of relays; None when there is no way."""
    graph = latency_graph(me, truth)
    state = RoutingState(
        me=me,
        now=0.0,
        seq=0,
        graph=graph,
        tunnels={"": tuple(exits)},
        previous={},
        outcomes=(),
        memory={},
        rng=random.Random(0),
        params=MappingProxyType({"hop_cost_s": hop_cost_s, "max_relays": len(graph)}),
    )
    return next(iter(lowest_rtt.decide(state)[""]), None)


def regret_s(
    taken: Path,
    truth: Mapping[tuple[str, str], float],
    exits: Iterable[Exit],
    *,
    hop_cost_s: float = lowest_rtt.PARAMS["hop_cost_s"],
) -> float:
    """What `taken` really costs beyond the best path; `truth` has the RTT in seconds of each link there is.

    Infinite when `taken` uses what is not there.
    """
    exits = tuple(exits)
    last = [x.rtt_s for x in exits if (x.pop, x.connection) == (taken.pops[-1], taken.connection)]
    hops = list(zip(taken.pops, taken.pops[1:], strict=False))
    links = [MeasuredLink(a, b, rtt_s) for (a, b), rtt_s in truth.items()]
    best = best_path(links, taken.pops[0], exits, hop_cost_s=hop_cost_s)
    if best is None or not last or any(hop not in truth for hop in hops):
        return float("inf")
    cost_s = sum(truth[hop] for hop in hops) + hop_cost_s * max(0, len(hops) - 1) + last[0]
    return cost_s - best.cost_s


def one_relay(
    rtts: Matrix, hop_cost: float, relays: NDArray[np.intp] | None = None
) -> tuple[Matrix, Relays]:
    """Cost and relay of the best way over at most one relay, for all pairs; of equals the direct one, then the first
    relay. `relays` narrows down who may relay.
    """
    count = len(rtts)
    allowed = np.arange(count) if relays is None else np.sort(relays)
    if not len(allowed):
        return rtts.copy(), np.full((count, count), DIRECT, np.int32)
    legs = rtts.copy()
    np.fill_diagonal(legs, np.inf)
    onward = legs[allowed]
    cost = rtts.copy()
    chosen = np.full((count, count), DIRECT, np.int32)
    every = np.arange(count)
    for source in range(count):
        through = legs[source, allowed][:, None] + onward
        best = through.argmin(axis=0)
        total = through[best, every] + hop_cost
        better = total < rtts[source]
        better[source] = False
        cost[source, better] = total[better]
        chosen[source, better] = allowed[best[better]]
    return cost, chosen


def any_relays(rtts: Matrix, hop_cost: float) -> Matrix:
    """Cost of the best way over any number of relays, for all pairs (Floyd-Warshall)."""
    cost = rtts.copy()
    for relay in range(len(cost)):
        np.minimum(cost, cost[:, relay, None] + cost[relay] + hop_cost, out=cost)
    np.fill_diagonal(cost, 0.0)
    return cost

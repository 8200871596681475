"""Lowest RTT over any number of relays: Dijkstra's algorithm on the latency graph, one run from this PoP.

A relay costs its processing, not only its links, so each link beyond the first is charged `hop_cost_s`. A path of more
than `max_relays`, which the overlay's hop limit would refuse, gives way to the best one within it (Bellman, On a
Routing Problem, 1958: the best walks of k links from those of k - 1). The direct path to each exit is ranked too: it
is what remains when a relay fails.
"""

from __future__ import annotations

import math
from typing import Any

import networkx as nx

from routing.api import Path, Routes, RoutingState

PARAMS = {"hop_cost_s": 0.001, "max_relays": 5}


def decide(state: RoutingState) -> Routes:
    hop_cost_s = state.params["hop_cost_s"]
    most = int(state.params["max_relays"])

    def weight(source: str, destination: str, link: dict[str, Any]) -> float:
        return float(link["rtt_s"]) + (hop_cost_s if source != state.me else 0.0)

    best = nx.single_source_dijkstra_path(state.graph, state.me, weight=weight)
    if any(len(best[pop]) - 2 > most for pop in _egresses(state) if pop in best):
        best = _bounded(state, most + 1)
    routes = {}
    for tunnel, exits in state.tunnels.items():
        options = []
        for leave in exits:
            ways = {tuple(best[leave.pop])} if leave.pop in best else set()
            ways.update(state.paths(leave.pop, max_relays=0))
            for pops in sorted(ways, key=lambda pops: (len(pops), pops)):
                hops = hop_cost_s * max(0, len(pops) - 2)
                terms = {"overlay": state.rtt_s(pops), "hops": hops, "last_leg": leave.rtt_s}
                options.append(Path(pops, leave.connection, terms))
        routes[tunnel] = sorted(options, key=lambda path: path.cost_s)
    return routes


def _egresses(state: RoutingState) -> set[str]:
    return {leave.pop for exits in state.tunnels.values() for leave in exits}


def _bounded(state: RoutingState, most_links: int) -> dict[str, list[str]]:
    """The best paths of at most so many links. A walk with a loop never is one: without the loop it costs less."""
    hop_cost_s = state.params["hop_cost_s"]
    reached: dict[str, tuple[float, list[str]]] = {state.me: (0.0, [state.me])}
    for _ in range(most_links):
        before = dict(reached)
        for pop, (cost_s, pops) in before.items():
            onward = cost_s + (hop_cost_s if pop != state.me else 0.0)
            for neighbor, link in state.graph[pop].items():
                total = onward + link["rtt_s"]
                if total < reached.get(neighbor, (math.inf,))[0]:
                    reached[neighbor] = (total, [*pops, neighbor])
    return {pop: pops for pop, (_, pops) in reached.items()}

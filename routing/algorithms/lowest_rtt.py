"""Lowest RTT over any number of relays: Dijkstra's algorithm on the latency graph, one run from this PoP.

A relay costs its processing, not only its links, so each link beyond the first is charged `hop_cost_s`. The direct
path to each exit is ranked too: it is what remains when a relay fails.
"""

from __future__ import annotations

from typing import Any

import networkx as nx

from routing.api import Path, Routes, RoutingState

PARAMS = {"hop_cost_s": 0.001}


def decide(state: RoutingState) -> Routes:
    hop_cost_s = state.params["hop_cost_s"]

    def weight(source: str, destination: str, link: dict[str, Any]) -> float:
        return float(link["rtt_s"]) + (hop_cost_s if source != state.me else 0.0)

    best = nx.single_source_dijkstra_path(state.graph, state.me, weight=weight)
    routes = {}
    for tunnel, exits in state.tunnels.items():
        options = []
        for leave in exits:
            ways = {tuple(best[leave.pop])} if leave.pop in best else set()
            ways.update(state.paths(leave.pop, max_relays=0))
            for pops in sorted(ways):
                hops = hop_cost_s * max(0, len(pops) - 2)
                terms = {"overlay": state.rtt_s(pops), "hops": hops, "last_leg": leave.rtt_s}
                options.append(Path(pops, leave.connection, terms))
        routes[tunnel] = sorted(options, key=lambda path: path.cost_s)
    return routes

"""At most one relay, and only a hub may be one.

Few relays are cheaper to run and to probe than all: with h hubs among N PoPs, N h links matter instead of N squared.
`hubs` names them; without names, `count` of them are found on the measured graph by the greedy k-median: each next
hub is the PoP that brings all others nearest to some hub, in sum. Greedy comes within a few per cent of the best in
practice (Qiu, Padmanabhan, Voelker, On the Placement of Web Server Replicas, INFOCOM 2001). All PoPs find the same hubs
once their databases agree. They are found anew every `refresh_s` seconds only, or when a PoP comes or goes.
"""

from __future__ import annotations

from typing import Any

import networkx as nx

from routing.api import Routes, RoutingState
from routing.candidates import Candidates, rtt_price

PARAMS: dict[str, Any] = {"hubs": [], "count": 4, "refresh_s": 300.0, "hop_cost_s": 0.001}

_UNREACHED_S = 10.0
"""Distance between PoPs without a link, in the sums: far, but finite, so that sums still compare."""


def decide(state: RoutingState) -> Routes:
    price = rtt_price(state.params["hop_cost_s"])
    return Candidates(state, price, relays=frozenset(_hubs(state))).routes()


def _hubs(state: RoutingState) -> list[str]:
    if state.params["hubs"]:
        return list(state.params["hubs"])
    memory, pops = state.memory, tuple(state.graph)
    if memory.get("pops") != pops or state.now - memory["found_at"] >= state.params["refresh_s"]:
        memory["hubs"] = k_median(state.graph, int(state.params["count"]))
        memory["pops"] = pops
        memory["found_at"] = state.now
    found: list[str] = memory["hubs"]
    return found


def k_median(graph: nx.DiGraph[str], count: int) -> list[str]:
    """`count` PoPs, greedily, such that the sum over all PoPs of the RTT to the nearest of them is least."""
    links = dict(graph.adjacency())
    pops = sorted(links)
    away = {
        hub: [
            0.0 if pop == hub else links[pop][hub]["rtt_s"] if hub in links[pop] else _UNREACHED_S
            for pop in pops
        ]
        for hub in pops
    }
    nearest = [_UNREACHED_S] * len(pops)
    hubs: list[str] = []
    for _ in range(min(count, len(pops))):
        hub = min(
            (pop for pop in pops if pop not in hubs),
            key=lambda pop: sum(map(min, nearest, away[pop])),
        )
        hubs.append(hub)
        nearest = list(map(min, nearest, away[hub]))
    return hubs

"""Lowest RTT through at most one relay (Andersen et al., Resilient Overlay Networks, SOSP 2001)."""

from __future__ import annotations

from routing.api import Path, Routes, RoutingState

PARAMS = {"hop_cost_s": 0.001}


def decide(state: RoutingState) -> Routes:
    routes = {}
    for tunnel, exits in state.tunnels.items():
        options = []
        for leave in exits:
            for pops in state.paths(leave.pop, max_relays=1):
                hops = state.params["hop_cost_s"] * max(0, len(pops) - 2)
                terms = {"overlay": state.rtt_s(pops), "hops": hops, "last_leg": leave.rtt_s}
                options.append(Path(pops, leave.connection, terms))
        routes[tunnel] = sorted(options, key=lambda path: path.cost_s)
    return routes

"""No relays: straight to the exit with the lowest RTT, as the Internet alone would carry it."""

from __future__ import annotations

from routing.api import Path, Routes, RoutingState

PARAMS: dict[str, float] = {}


def decide(state: RoutingState) -> Routes:
    routes = {}
    for tunnel, exits in state.tunnels.items():
        options = [
            Path(pops, leave.connection, {"overlay": state.rtt_s(pops), "last_leg": leave.rtt_s})
            for leave in exits
            for pops in state.paths(leave.pop, max_relays=0)
        ]
        routes[tunnel] = sorted(options, key=lambda path: path.cost_s)
    return routes

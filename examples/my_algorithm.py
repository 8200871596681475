"""Lowest measured RTT through at most one relay, away from PoPs that have much to do.

    popnet run --algorithm examples/my_algorithm.py
    popnet up --algorithm examples/my_algorithm.py

A starting point for one of your own: docs/routing/plug-in.md says what `state` holds.
"""

from routing.api import Path, Routes, RoutingState

PARAMS = {"hop_cost_s": 0.001, "load_cost_s": 0.0005}


def decide(state: RoutingState) -> Routes:
    routes = {}
    for tunnel, exits in state.tunnels.items():
        options = []
        for leave in exits:
            for pops in state.paths(leave.pop, max_relays=1):
                relays = pops[1:-1]
                busy = sum(state.graph.nodes[relay]["load"] for relay in relays)
                terms = {
                    "overlay": state.rtt_s(pops),
                    "hops": state.params["hop_cost_s"] * len(relays),
                    "load": state.params["load_cost_s"] * busy,
                    "last_leg": leave.rtt_s,
                }
                options.append(Path(pops, leave.connection, terms))
        routes[tunnel] = sorted(options, key=lambda path: path.cost_s)
    return routes

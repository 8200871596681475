"""Between paths that are nearly equal, the one with less load.

Paths within `near` of the cheapest count as equal. Two of them are looked at, the one in use and another drawn at
random, and the less loaded wins; a path's load is that of its relays, its egress PoP and its connection. Two choices
already spread load almost as well as looking at all (Mitzenmacher, The Power of Two Choices in Randomized Load
Balancing, TPDS 2001), and they do not herd: were all PoPs to take the least loaded one by the same old news, they
would overload it together (Mitzenmacher, How Useful Is Old Information, TPDS 2000).

A path in use stays unless the other one has less by `margin` of load, or it is no longer near.
"""

from __future__ import annotations

from routing.api import Exit, Path, Routes, RoutingState
from routing.candidates import LEAD, Candidates, put_first, rtt_price

PARAMS = {"near": 0.1, "near_s": 0.002, "margin": 0.2, "hop_cost_s": 0.001}


def decide(state: RoutingState) -> Routes:
    candidates = Candidates(state, rtt_price(state.params["hop_cost_s"]))
    loads = {pop: float(node.get("load", 0.0)) for pop, node in state.graph.nodes.items()}
    routes: dict[str, list[Path]] = {}
    for tunnel, exits in state.tunnels.items():
        ranking = candidates.paths(tunnel)
        routes[tunnel] = ranking
        if not ranking:
            continue
        slack = max(ranking[0].cost_s * state.params["near"], state.params["near_s"])
        near = [path for path in ranking if path.cost_s <= ranking[0].cost_s + slack]
        old = next((path.way for path in state.previous.get(tunnel, ())), None)
        first = next((path for path in near if path.way == old), near[0])
        others = [path for path in near if path is not first]
        second = state.rng.choice(others) if others else first
        have, could = (_load(path, loads, exits) for path in (first, second))
        chosen = second if could < have * (1 - state.params["margin"]) else first
        # What the less loaded path costs more must not count against it when damping compares.
        routes[tunnel] = put_first(ranking, chosen, "load", LEAD)
    return routes


def _load(path: Path, loads: dict[str, float], exits: tuple[Exit, ...]) -> float:
    """Load of all that the path uses. PoPs and connections both count requests running on them."""
    last = next(leave.load for leave in exits if (leave.pop, leave.connection) == _end(path))
    return last + sum(loads.get(pop, 0.0) for pop in path.pops[1:])


def _end(path: Path) -> tuple[str, str]:
    return path.pops[-1], path.connection

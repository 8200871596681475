"""Routes that somebody wrote down, or that were right once.

`paths` lists routes as `"NRT>IAD>LHR"`: each PoP takes the first one that starts at it, ends at an exit of the tunnel
and has all its links (explicit routes as in RFC 3209). Where none applies, the PoP learns for `learn_s` seconds like
`one-relay` and then keeps what it has. A path that loses a link or its exit makes room for the direct one, and comes
back.

It shows what adapting is worth: what this one gains, a table computed once would have gained.
"""

from __future__ import annotations

from typing import Any

from routing.api import Routes, RoutingState
from routing.candidates import Candidates, Way, put_first, rtt_price

PARAMS: dict[str, Any] = {"paths": [], "learn_s": 30.0, "hop_cost_s": 0.001}


def decide(state: RoutingState) -> Routes:
    candidates = Candidates(state, rtt_price(state.params["hop_cost_s"]))
    learning = state.now - state.memory.setdefault("started", state.now) < state.params["learn_s"]
    learnt: dict[str, Way] = state.memory.setdefault("learnt", {})
    declared = [tuple(text.split(">")) for text in state.params["paths"]]
    routes = {}
    for tunnel, exits in state.tunnels.items():
        ranking = candidates.paths(tunnel)
        if ranking and (learning or tunnel not in learnt):
            learnt[tunnel] = ranking[0].way
        ways = [
            (pops, leave.connection)
            for pops in declared
            if pops[0] == state.me
            for leave in sorted(exits, key=lambda leave: leave.rtt_s)
            if leave.pop == pops[-1]
        ]
        if tunnel in learnt:
            ways.append(learnt[tunnel])
        pinned = next(filter(None, (candidates.path(way, exits) for way in ways)), None)
        direct = [path for path in ranking if len(path.pops) <= 2]
        routes[tunnel] = put_first(direct, pinned, "pinned") if pinned else direct
    return routes

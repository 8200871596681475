"""The best path first, then those that do not fail with it.

After the best path, each of the next `k` - 1 is the one that shares the fewest PoPs and connections with those before
it, and of these the cheapest: what a request is sent over next when the first path fails. A path that costs more than
`max_stretch` times the best is no substitute and ranks behind.

After Andersen, Snoeren, Balakrishnan, Best-Path vs. Multi-Path Overlay Routing, IMC 2003: a second path helps as far as
its failures are independent, and in the Internet half of them are not. Suurballe's algorithm (Networks 1974) finds
the cheapest pair; here the first path is the best one, for most requests never need another.
"""

from __future__ import annotations

from routing.api import Path, Routes, RoutingState
from routing.candidates import Candidates, rtt_price

PARAMS = {"hop_cost_s": 0.001, "k": 3, "max_stretch": 3.0}


def decide(state: RoutingState) -> Routes:
    candidates = Candidates(state, rtt_price(state.params["hop_cost_s"]))
    return {
        tunnel: _spread(
            candidates.paths(tunnel), int(state.params["k"]), state.params["max_stretch"]
        )
        for tunnel, exits in state.tunnels.items()
    }


def _spread(ranking: list[Path], k: int, max_stretch: float) -> list[Path]:
    if not ranking:
        return []
    chosen = [ranking[0]]
    used = _parts(ranking[0])
    rest = ranking[1:]
    worth = [path for path in rest if path.cost_s <= max_stretch * ranking[0].cost_s]
    while worth and len(chosen) < k:
        # min() takes the first of equals, and the ranking is by cost.
        path = min(worth, key=lambda path: len(_parts(path) & used))
        worth.remove(path)
        rest.remove(path)
        chosen.append(path)
        used |= _parts(path)
    return chosen + rest


def _parts(path: Path) -> set[tuple[str, str]]:
    """What can fail under `path`, but for this PoP itself."""
    return {("pop", pop) for pop in path.pops[1:]} | {("connection", path.connection)}

"""Stay while the path keeps its service level, as SD-WAN gateways do.

The path in use stays as long as it keeps `max_rtt_s`, `max_jitter_s` and `max_loss`; a better one alone is no reason to
leave it. Once it breaks a threshold, the cheapest path that keeps all of them takes over; where none does, the one
that breaks the fewest. RTT and jitter add up along a path, last leg included; loss compounds.

The policy is that of application-aware routing in SD-WAN products; MEF 70.1, SD-WAN Service Attributes and Services
(2021), standardises its terms. Few route changes, and as much delay as the thresholds let through.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from routing.api import Path, Routes, RoutingState
from routing.candidates import Candidates, Link, put_first, ranked, rtt_price

PARAMS = {"max_rtt_s": 0.3, "max_jitter_s": 0.03, "max_loss": 0.02, "hop_cost_s": 0.001}

_BREACH_S = 10.0
"""What a broken threshold is charged: more than any RTT, so that keeping comes before being near."""


def decide(state: RoutingState) -> Routes:
    params = state.params
    base = rtt_price(params["hop_cost_s"])

    def price(links: Sequence[Link]) -> dict[str, float]:
        jitter_s = sum(link["jitter_s"] for link in links)
        loss = 1.0 - math.prod(1.0 - link["loss"] for link in links)
        broken = (jitter_s > params["max_jitter_s"]) + (loss > params["max_loss"])
        return {**base(links), "breach": _BREACH_S * broken}

    candidates = Candidates(state, price)
    routes = {}
    for tunnel, exits in state.tunnels.items():
        paths = [_judged(path, params["max_rtt_s"]) for path in candidates.paths(tunnel)]
        least = min((path.terms["breach"] for path in paths), default=0.0)
        paths = ranked(_beyond(path, least) for path in paths)
        for old in state.previous.get(tunnel, ())[:1]:
            kept = candidates.path(old.way, exits)
            if kept and (kept := _judged(kept, params["max_rtt_s"])).terms["breach"] == 0.0:
                paths = put_first(paths, kept, "switch")
        routes[tunnel] = paths
    return routes


def _judged(path: Path, max_rtt_s: float) -> Path:
    """Charge `path` for an RTT above the threshold too, which only the whole path has."""
    terms = dict(path.terms)
    if terms["overlay"] + terms["last_leg"] > max_rtt_s:
        terms["breach"] += _BREACH_S
    return Path(path.pops, path.connection, terms)


def _beyond(path: Path, least: float) -> Path:
    """What no path can keep is held against none: where all break a threshold, delay decides, and damping sees it."""
    return Path(path.pops, path.connection, {**path.terms, "breach": path.terms["breach"] - least})

"""For downloads rather than first bytes: what loss leaves of the throughput.

With loss p and round trip R a TCP connection carries about MSS / (R sqrt(2p/3)) (Mathis, Semke, Mahdavi, Ott, The
Macroscopic Behavior of the TCP Congestion Avoidance Algorithm, CCR 1997); RON chose paths for throughput by that
formula. Each hop of the overlay is a TCP connection of its own and data streams through, so the slowest link
sets the pace: a relay that halves the round trip of a lossy path doubles its throughput. The term `transfer` is the
time `transfer_bytes` take at that pace.

Loss is what probes saw. An estimate below 1/samples is noise, and a square root makes much of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from routing.api import Routes, RoutingState
from routing.candidates import Candidates, Link

PARAMS = {"transfer_bytes": 100_000.0, "mss_bytes": 1448.0, "hop_cost_s": 0.001}


def decide(state: RoutingState) -> Routes:
    packets = state.params["transfer_bytes"] / state.params["mss_bytes"]
    hop_cost_s = state.params["hop_cost_s"]

    def price(links: Sequence[Link]) -> dict[str, float]:
        overlay = slowest = 0.0
        for link in links:
            overlay += link["rtt_s"]
            if link["loss"]:
                slowest = max(slowest, link["rtt_s"] * math.sqrt(2 * link["loss"] / 3))
        return {
            "overlay": overlay,
            "hops": hop_cost_s * max(0, len(links) - 1),
            "transfer": packets * slowest,
        }

    return Candidates(state, price).routes()

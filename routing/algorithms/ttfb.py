"""Expected time to first byte: round trips, retransmissions and processing, hop by hop.

A request needs `round_trips` exchanges over each link of its way: one over connections that are open already, two
more where TCP and TLS have to be set up. A lost packet costs a retransmission timeout of the link on which it was
lost, for each hop has its own TCP connection; the timeout follows RFC 6298, SRTT + 4 RTTVAR, with Linux's minimum of
200 ms where the RFC says one second. So a short lossy link can cost more than a long clean one.

After Flach et al., Reducing Web Latency: the Virtue of Gentle Aggression, SIGCOMM 2013, which found that flows with
loss take five times as long, mostly in timeouts, since the last packets of a short flow have nothing behind
them to report the loss.
"""

from __future__ import annotations

from collections.abc import Sequence

from routing.api import Routes, RoutingState
from routing.candidates import Candidates, Link

PARAMS = {"round_trips": 1.0, "rto_min_s": 0.2, "processing_s": 0.001}


def decide(state: RoutingState) -> Routes:
    round_trips = state.params["round_trips"]
    rto_min_s = state.params["rto_min_s"]
    processing_s = state.params["processing_s"]

    def price(links: Sequence[Link]) -> dict[str, float]:
        overlay = loss = 0.0
        for link in links:
            rtt_s = link["rtt_s"]
            overlay += rtt_s
            if link["loss"]:
                loss += link["loss"] * max(rto_min_s, rtt_s + 4 * link["jitter_s"])
        return {
            "overlay": round_trips * overlay,
            "loss": round_trips * loss,
            "processing": processing_s * max(0, len(links) - 1),
        }

    return Candidates(state, price).routes()

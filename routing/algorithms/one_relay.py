"""Lowest RTT through at most one relay (Andersen et al., Resilient Overlay Networks, SOSP 2001).

RON found that one intermediate node suffices to route around nearly every outage and to take most of the gain in
latency that an overlay has to give.
"""

from __future__ import annotations

from routing.api import Routes, RoutingState
from routing.candidates import Candidates, rtt_price

PARAMS = {"hop_cost_s": 0.001}


def decide(state: RoutingState) -> Routes:
    return Candidates(state, rtt_price(state.params["hop_cost_s"])).routes()

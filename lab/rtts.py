"""Round trips between nodes as the links declare them at this moment, asked once per pair."""

from __future__ import annotations

import math
from collections.abc import Callable

from lab.driver import Lab


def current_rtts(lab: Lab) -> Callable[[str, str], float]:
    """A function of two nodes: seconds there and back, access lines included; infinite when cut."""
    known: dict[tuple[str, str], float] = {}

    def rtt_s(a: str, b: str) -> float:
        if (a, b) not in known:
            (value,) = lab.wan("rtts", pairs=[[a, b]])["rtts_s"]
            known[a, b] = known[b, a] = math.inf if value is None else value
        return known[a, b]

    return rtt_s

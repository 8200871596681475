"""The graph in the formats of other programs."""

from __future__ import annotations

import io
from typing import Any

import networkx as nx

from routing import drawing


def link(source: str, destination: str, rtt_ms: float, loss_pct: float = 0.0) -> dict[str, Any]:
    return {
        "from": source,
        "to": destination,
        "rtt_ms": rtt_ms,
        "jitter_ms": 0.1,
        "loss_pct": loss_pct,
        "samples": 9,
        "age_s": 0.5,
    }


VIEW = {
    "me": "A",
    "pops": {"A": {"load": 1.0, "age_s": 0.0}, "B": {"load": 0.0, "age_s": 0.4}},
    "links": [link("B", "A", 10.02), link("A", "B", 10.0, 2.0), link("A", 'C"', 70.0)],
}
PLACES = {"A": (51.0, -0.5), "B": (40.0, -74.0), "D": (0.0, 10.0)}


def test_graphml_comes_back_as_it_was() -> None:
    graph = drawing.graph_of(VIEW, PLACES)
    back = nx.read_graphml(io.BytesIO(drawing.graphml(graph).encode()))
    assert back.edges["A", "B"]["rtt_ms"] == 10.0
    assert back.edges["A", "B"]["samples"] == 9
    assert back.nodes["B"]["lat"] == 40.0
    assert back.nodes["D"]["reachable"] is False


def test_dot_draws_two_like_directions_as_one_line() -> None:
    text = drawing.dot(drawing.graph_of(VIEW, PLACES))
    assert '"A" -> "B" [label="10.0 2%", dir=none];' in text
    assert '"B" -> "A"' not in text
    assert '"A" -> "C\\"" [label="70.0"];' in text
    assert '"D" [pos="40,0!", style=dashed];' in text

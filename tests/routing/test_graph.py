"""The latency graph: pictures that stay as they were, and best paths that follow the rows."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.api import MeasuredLink
from routing.graph import LatencyGraph, best_pairs, latency_graph

A_B, B_A, B_C = (
    MeasuredLink("A", "B", 0.1),
    MeasuredLink("B", "A", 0.2),
    MeasuredLink("B", "C", 0.3),
)


def test_a_picture_carries_all_that_was_measured() -> None:
    link = MeasuredLink("A", "B", 0.1, 0.01, 0.5, 7, 2.0)
    graph = latency_graph("A", [link], {"B": (3.0, 0.5), "X": (1.0, 1.0)})
    assert dict(graph["A"]["B"]) == {
        "rtt_s": 0.1,
        "jitter_s": 0.01,
        "loss": 0.5,
        "samples": 7,
        "age_s": 2.0,
    }
    assert dict(graph.nodes["B"]) == {"load": 3.0, "age_s": 0.5}
    assert list(graph) == ["A", "B"]
    assert list(graph.predecessors("B")) == ["A"]


def test_a_picture_stays_as_it_was_and_cannot_be_changed() -> None:
    known = LatencyGraph("A", [A_B, B_A])
    before = known.picture()
    known.set_links([MeasuredLink("A", "B", 0.5), B_C])
    assert before["A"]["B"]["rtt_s"] == 0.1
    assert before.has_edge("B", "A")
    after = known.picture()
    assert after["A"]["B"]["rtt_s"] == 0.5
    assert sorted(after.edges) == [("A", "B"), ("B", "C")]
    with pytest.raises(nx.NetworkXError):
        before.add_edge("A", "C")


def test_networkx_works_on_it() -> None:
    graph = latency_graph("A", [A_B, B_C, B_A])
    assert nx.dijkstra_path(graph, "A", "C", weight="rtt_s") == ["A", "B", "C"]
    copied = nx.DiGraph(graph)
    copied.add_edge("C", "A", rtt_s=0.1)
    assert sorted(graph.reverse().edges) == [("A", "B"), ("B", "A"), ("C", "B")]
    assert sorted(graph.subgraph(["A", "B"]).edges) == [("A", "B"), ("B", "A")]
    assert sorted(graph.copy().edges) == sorted(graph.edges)


def test_one_row_replaces_no_other() -> None:
    known = LatencyGraph("A", [A_B, B_A])
    known.set_row("B", [B_C])
    assert sorted(known.links()) == [("A", "B"), ("B", "C")]
    assert known.names == ("A", "B", "C")
    known.set_row("B", [])
    assert sorted(known.links()) == [("A", "B")]


NAMES = "ABCDEFGH"
rows = st.dictionaries(st.sampled_from(NAMES), st.floats(0.001, 1.0), max_size=len(NAMES))


@given(st.lists(st.tuples(st.sampled_from(NAMES), rows), min_size=1, max_size=12))
def test_best_paths_follow_the_rows(changes: list[tuple[str, dict[str, float]]]) -> None:
    known = LatencyGraph("A")
    for source, row in changes:
        known.set_row(
            source, [MeasuredLink(source, to, rtt) for to, rtt in row.items() if to != source]
        )
        names, pairs = best_pairs(known.picture(), 0.001)
        fresh = best_pairs(nx.DiGraph(known.picture()), 0.001)
        assert names == fresh[0]
        assert np.array_equal(pairs.costs_s, fresh[1].costs_s)
        assert np.array_equal(pairs.next_hops, fresh[1].next_hops)


def test_hops_cost() -> None:
    names, pairs = best_pairs(latency_graph("A", [A_B, B_C]), 0.001)
    assert names == ("A", "B", "C")
    assert pairs.cost_s(0, 2) == pytest.approx(0.1 + 0.3 + 0.002)
    assert pairs.path(0, 2) == [0, 1, 2]

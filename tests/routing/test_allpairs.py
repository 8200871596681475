"""All pairs against networkx's Dijkstra, numba against numpy, and an updated row against all of it anew."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.allpairs import AllPairs, Costs, Engine, all_pairs, has_numba

ENGINES: list[Engine] = ["numpy", "numba"] if has_numba() else ["numpy"]

# Few values make many ties; large ones and tiny ones stand for what a clock and a cut can give.
values = st.one_of(
    st.sampled_from([0.01, 0.02, 0.03, np.inf]),
    st.floats(1e-9, 10.0),
    st.just(np.inf),
)


@st.composite
def networks(draw: st.DrawFn, most: int = 7) -> Costs:
    count = draw(st.integers(1, most))
    return np.array(draw(st.lists(values, min_size=count * count, max_size=count * count))).reshape(
        count, count
    )


def dijkstra(costs: Costs) -> dict[int, dict[int, float]]:
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(len(costs)))
    for a, b in zip(*np.nonzero(np.isfinite(costs)), strict=True):
        if a != b:
            # The same whole nanoseconds.
            graph.add_edge(int(a), int(b), weight=max(1, round(costs[a, b] * 1e9)))
    return dict(nx.all_pairs_dijkstra_path_length(graph))


def check(found: AllPairs, costs: Costs) -> None:
    expected = dijkstra(costs)
    table, hops = found.costs_s, found.next_hops
    for a in range(len(costs)):
        for b in range(len(costs)):
            if b not in expected[a]:
                assert found.path(a, b) is None
                assert table[a, b] == found.cost_s(a, b) == np.inf
                assert hops[a, b] == -1
                continue
            assert round(table[a, b] * 1e9) == round(found.cost_s(a, b) * 1e9) == expected[a][b]
            path = found.path(a, b)
            assert path is not None
            assert len(set(path)) == len(path)
            assert sum(max(1, round(costs[hop] * 1e9)) for hop in pairwise(path)) == expected[a][b]
            if a != b:
                assert hops[a, b] == path[1]


@pytest.mark.parametrize("engine", ENGINES)
@given(costs=networks())
def test_costs_and_paths_are_those_of_dijkstra(engine: Engine, costs: Costs) -> None:
    check(all_pairs(costs, engine), costs)


def same(one: AllPairs, other: AllPairs) -> None:
    assert np.array_equal(one.costs_s, other.costs_s)
    assert np.array_equal(one.next_hops, other.next_hops)


@pytest.mark.parametrize("engine", ENGINES)
@given(data=st.data(), costs=networks())
def test_an_updated_row_gives_what_all_anew_gives(
    engine: Engine, data: st.DataObject, costs: Costs
) -> None:
    found = all_pairs(costs, engine)
    count = len(costs)
    for _ in range(data.draw(st.integers(1, 4))):
        source = data.draw(st.integers(0, count - 1))
        costs = costs.copy()
        costs[source] = data.draw(st.lists(values, min_size=count, max_size=count))
        found.update(source, costs[source])
        check(found, costs)
        same(found, all_pairs(costs, engine))


def plausible(count: int, seed: int) -> Costs:
    """PoPs on a plane, with detours."""
    numbers = np.random.default_rng(seed)
    places = numbers.random((count, 2))
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    costs: Any = 0.002 + 0.2 * apart * (1 + 0.6 * numbers.random((count, count)))
    np.fill_diagonal(costs, np.inf)
    return np.asarray(costs)


@pytest.mark.skipif(not has_numba(), reason="numba is not installed")
def test_numba_gives_the_same_answers() -> None:
    costs = plausible(60, 1)
    ours, theirs = all_pairs(costs, "numpy"), all_pairs(costs, "numba")
    same(ours, theirs)
    numbers = np.random.default_rng(2)
    for source in range(0, 60, 7):
        row = costs[source] * (1 + 0.2 * (numbers.random(60) - 0.5))
        ours.update(source, row)
        theirs.update(source, row)
        costs[source] = row
    same(ours, theirs)
    same(ours, all_pairs(costs, "numpy"))


@pytest.mark.parametrize("engine", ENGINES)
def test_costs_beyond_what_doubles_hold_exactly(engine: Engine) -> None:
    """A ring of seventy links, seven minutes each: the way round takes eight hours."""
    count = 70
    costs = np.full((count, count), np.inf)
    for place in range(count):
        costs[place, (place + 1) % count] = 420.0 - place * 1e-9
    check(all_pairs(costs, engine), costs)


def test_more_pops_than_an_index_holds_are_refused() -> None:
    with pytest.raises(ValueError, match="70000 PoPs; at most 65535"):
        all_pairs(np.empty((70_000, 0)))

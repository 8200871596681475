"""The oracle against brute force, and what regret is."""

from __future__ import annotations

import math
import random
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.api import Exit, MeasuredLink, Path
from routing.oracle import DIRECT, any_relays, best_path, one_relay, regret_s


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray:
    count = draw(st.integers(2, 6))
    rng = random.Random(draw(st.integers(0, 2**32)))
    rtts = np.array(
        [
            [rng.choice([5, 50, 300]) * rng.uniform(0.5, 1.5) for _ in range(count)]
            for _ in range(count)
        ]
    )
    rtts[np.array([[rng.random() < 0.2 for _ in range(count)] for _ in range(count)])] = np.inf
    np.fill_diagonal(rtts, 0.0)
    return rtts


def cost(rtts: np.ndarray, pops: tuple[int, ...]) -> float:
    return float(sum(rtts[a, b] for a, b in pairwise(pops)) + max(0, len(pops) - 2))


def ways(count: int, source: int, destination: int, relays: int) -> list[tuple[int, ...]]:
    between = [pop for pop in range(count) if pop not in (source, destination)]
    return [
        (source, *middle, destination)
        for size in range(min(relays, len(between)) + 1)
        for middle in permutations(between, size)
    ]


@given(rtts=matrices())
def test_matrices_against_brute_force(rtts: np.ndarray) -> None:
    count = len(rtts)
    single, relay = one_relay(rtts, 1.0)
    many = any_relays(rtts, 1.0)
    for source, destination in permutations(range(count), 2):
        one = min(cost(rtts, way) for way in ways(count, source, destination, 1))
        best = min(cost(rtts, way) for way in ways(count, source, destination, count))
        assert single[source, destination] == pytest.approx(one)
        assert many[source, destination] == pytest.approx(best)
        chosen = relay[source, destination]
        path = (source, destination) if chosen == DIRECT else (source, int(chosen), destination)
        assert cost(rtts, path) == pytest.approx(one)


@given(rtts=matrices(), last=st.lists(st.floats(0, 0.05), min_size=1, max_size=3))
def test_the_best_path_over_any_relays(rtts: np.ndarray, last: list[float]) -> None:
    names = "ABCDEF"[: len(rtts)]
    links = [
        MeasuredLink(names[a], names[b], rtts[a, b] / 1e3)
        for a, b in permutations(range(len(rtts)), 2)
        if math.isfinite(rtts[a, b])
    ]
    exits = [
        Exit(names[-1 - index % len(names)], f"c{index}", leg) for index, leg in enumerate(last)
    ]
    many = any_relays(rtts, 1.0) / 1e3
    expected = min(many[0, names.index(leave.pop)] + leave.rtt_s for leave in exits)
    found = best_path(links, "A", exits)
    if math.isinf(expected):
        assert found is None
    else:
        assert found is not None
        assert found.cost_s == pytest.approx(expected)


def test_only_named_relays_relay() -> None:
    rtts = np.array(
        [[0.0, 1.0, 9.0, 2.0], [1.0, 0.0, 1.0, 9.0], [9.0, 1.0, 0.0, 2.0], [2.0, 9.0, 2.0, 0.0]]
    )
    assert one_relay(rtts, 0.0)[1][0, 2] == 1
    cost_, relay = one_relay(rtts, 0.0, np.array([3]))
    assert (relay[0, 2], cost_[0, 2]) == (3, 4.0)
    assert one_relay(rtts, 0.0, np.array([], dtype=np.intp))[1][0, 2] == DIRECT


def test_regret_is_what_a_path_costs_beyond_the_best() -> None:
    truth = {("A", "B"): 0.3, ("A", "C"): 0.1, ("C", "B"): 0.1}
    exits = [Exit("B", "c0", 0.01)]
    assert regret_s(Path(("A", "B"), "c0", {}), truth, exits) == pytest.approx(0.099)
    assert regret_s(Path(("A", "C", "B"), "c0", {}), truth, exits) == pytest.approx(0.0)
    assert math.isinf(regret_s(Path(("A", "D", "B"), "c0", {}), truth, exits))
    assert math.isinf(regret_s(Path(("A", "B"), "c9", {}), truth, exits))

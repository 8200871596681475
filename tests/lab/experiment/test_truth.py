"""The best way there is, against every way there is."""

from __future__ import annotations

import math
from itertools import pairwise, permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.experiment.truth import Truth, declared_rtt, exits_of, predict
from topology.load import load_world
from topology.plan import Plan

POPS = "ABCDE"
LENGTHS = st.one_of(st.integers(1, 60).map(float), st.just(math.inf))


@pytest.fixture(scope="module")
def default() -> Plan:
    return Plan.of(load_world(Path(__file__).parents[3] / "topology.yaml"))


@given(
    st.lists(LENGTHS, min_size=20, max_size=20),
    st.lists(st.integers(0, 40), min_size=5, max_size=5),
    st.sets(st.sampled_from(POPS), min_size=1),
    st.sampled_from([0, 1, 2, None]),
)
def test_best_is_the_best_of_all(
    lengths: list[float], last: list[int], exits: set[str], relays: int | None
) -> None:
    links = dict(zip(permutations(POPS, 2), lengths, strict=True))
    legs = {(pop, "site"): float(leg) for pop, leg in zip(POPS, last, strict=True)}
    rtts = {**links, **legs}
    truth = Truth(
        {a: {b: links[a, b] for b in POPS if b != a} for a in POPS}, lambda a, b: rtts[a, b]
    )
    most = len(POPS) if relays is None else relays
    ways = [("A",)] if "A" in exits else []
    for leave in sorted(exits - {"A"}):
        between = [pop for pop in POPS if pop not in ("A", leave)]
        ways += [
            ("A", *chosen, leave)
            for count in range(min(most, len(between)) + 1)
            for chosen in permutations(between, count)
        ]
    expected = min(sum(rtts[hop] for hop in pairwise((*way, "site"))) for way in ways)
    cost, way = truth.best("A", exits, "site", relays)
    assert cost == expected
    if math.isfinite(cost):
        assert cost == truth.way_s(way, "site")
        assert len(way) - 2 <= most


def test_what_brute_force_finds_in_the_default_world(default: Plan) -> None:
    """Worked out by hand: Tokyo saves 255 + 21.3 - (158 + 76 + 11.1), Sydney 275 + 11.1 - (94 + 158 + 21.3)."""
    assert exits_of(default, "dublin") == ("LHR", "FRA")
    promised = predict(
        default,
        declared_rtt(default),
        "dublin",
        tuple(default.world.visitors),
        ("direct", "one-relay", "lowest-rtt"),
    )
    assert promised["one-relay"].gain_ms == pytest.approx((31.216 + 12.784) / 8, abs=0.01)
    assert promised["lowest-rtt"].gain_ms >= promised["one-relay"].gain_ms
    assert 160 < promised["one-relay"].base_ms < 180


def test_pops_that_are_not_there_are_no_way(default: Plan) -> None:
    rtt = declared_rtt(default)
    whole = Truth.of(default, rtt, default.pops)
    without = Truth.of(default, rtt, [pop for pop in default.pops if pop != "IAD"])
    assert whole.best("NRT", ["LHR"], "dublin")[1] == ("NRT", "IAD", "LHR")
    cost, way = without.best("NRT", ["LHR"], "dublin")
    assert "IAD" not in way
    assert cost > whole.best("NRT", ["LHR"], "dublin")[0]
    assert without.best("IAD", ["LHR"], "dublin") == (math.inf, ())

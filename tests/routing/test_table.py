"""The route table against brute force, and against algorithms that misbehave."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise, permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.api import Exit, MeasuredLink, Path, RoutingState
from routing.catalogue import CATALOGUE, Algorithm, algorithm
from routing.errors import UnknownAlgorithmError, UnknownParameterError
from routing.table import RouteTable

Links = list[MeasuredLink]


def table(algo: str | Algorithm = "lowest-rtt", max_relays: int = 8, **params: Any) -> RouteTable:
    chosen = algorithm(algo) if isinstance(algo, str) else algo
    return RouteTable("A", chosen, params, max_relays=max_relays, rng=random.Random(1))


def both_ways(*links: tuple[str, str, float]) -> Links:
    return [MeasuredLink(*ends, rtt) for a, b, rtt in links for ends in ((a, b), (b, a))]


def computed(routes: RouteTable, now: float = 0.0) -> tuple[Path, ...]:
    routes.recompute(now)
    return routes.routes("app")


TRIANGLE = both_ways(("A", "B", 0.300), ("A", "C", 0.100), ("C", "B", 0.100))
AT_B = {"app": [Exit("B", "c0", 0.010)]}


def test_a_relay_that_beats_the_direct_link_is_taken() -> None:
    routes = table()
    routes.set_links(TRIANGLE)
    routes.set_exits(AT_B)
    best, second = computed(routes, 0.0)
    assert best.pops == ("A", "C", "B")
    assert best.cost_s == pytest.approx(0.100 + 0.100 + 0.001 + 0.010)
    assert second.pops == ("A", "B")
    assert second.terms == {"overlay": 0.300, "hops": 0.0, "last_leg": 0.010}


def test_direct_never_relays() -> None:
    routes = table("direct")
    routes.set_links(TRIANGLE)
    routes.set_exits(AT_B)
    assert [path.pops for path in computed(routes, 0.0)] == [("A", "B")]


def test_without_a_gain_the_direct_link_is_first() -> None:
    routes = table()
    routes.set_links(both_ways(("A", "B", 0.200), ("A", "C", 0.100), ("C", "B", 0.100)))
    routes.set_exits(AT_B)
    assert computed(routes, 0.0)[0].pops == ("A", "B")


def test_an_exit_at_this_pop_needs_no_link() -> None:
    routes = table()
    routes.set_exits({"app": [Exit("A", "c0", 0.010)]})
    assert [path.pops for path in computed(routes, 0.0)] == [("A",)]


def test_a_changed_link_changes_the_route() -> None:
    routes = table()
    routes.set_links(TRIANGLE)
    routes.set_exits(AT_B)
    computed(routes, 0.0)
    routes.set_links(both_ways(("A", "B", 0.300), ("A", "C", 0.400), ("C", "B", 0.100)))
    assert computed(routes, 1.0)[0].pops == ("A", "B")


def test_the_last_leg_decides_between_egresses() -> None:
    routes = table()
    routes.set_links(TRIANGLE)
    routes.set_exits({"app": [Exit("B", "far", 0.010), Exit("C", "near", 0.010)]})
    assert computed(routes, 0.0)[0].connection == "near"


def test_a_draining_connection_waits_while_another_is_there() -> None:
    routes = table()
    routes.set_links(TRIANGLE)
    draining = Exit("C", "old", 0.001, draining=True)
    routes.set_exits({"app": [draining, Exit("B", "new", 0.010)]})
    assert {path.connection for path in computed(routes, 0.0)} == {"new"}
    routes.set_exits({"app": [draining]})
    assert {path.connection for path in computed(routes, 0.0)} == {"old"}


def test_an_unknown_tunnel_has_no_path() -> None:
    routes = table()
    routes.set_links(TRIANGLE)
    assert computed(routes, 0.0) == ()


NAMES = ("A", "B", "C", "D", "E")
rtts = st.dictionaries(
    st.sampled_from(list(permutations(NAMES, 2))),
    st.integers(1, 500).map(lambda ms: ms / 1000),
)


def cheapest(links: dict[tuple[str, str], float], most_relays: int, hop_cost_s: float) -> float:
    """The cost of the best path from A to B, by trying every one."""
    best = float("inf")
    for count in range(most_relays + 1):
        for between in permutations(NAMES[2:], count):
            hops = list(pairwise(("A", *between, "B")))
            if all(hop in links for hop in hops):
                best = min(best, sum(links[hop] for hop in hops) + hop_cost_s * count)
    return best


@given(rtts, st.sampled_from([0.0, 0.001, 0.05]))
def test_lowest_rtt_finds_what_brute_force_finds(
    links: dict[tuple[str, str], float], hop_cost_s: float
) -> None:
    for name, relays in (("lowest-rtt", 3), ("one-relay", 1)):
        routes = table(name, hop_cost_s=hop_cost_s)
        routes.set_links([MeasuredLink(a, b, rtt) for (a, b), rtt in links.items()])
        routes.set_exits({"app": [Exit("B", "c0", 0.0)]})
        paths = computed(routes, 0.0)
        expected = cheapest(links, relays, hop_cost_s)
        assert (paths[0].cost_s if paths else float("inf")) == pytest.approx(expected)


@given(rtts, st.randoms(use_true_random=False))
def test_the_order_of_links_does_not_matter(
    links: dict[tuple[str, str], float], shuffler: random.Random
) -> None:
    answers = []
    for _ in range(2):
        known = [MeasuredLink(a, b, rtt) for (a, b), rtt in links.items()]
        shuffler.shuffle(known)
        routes = table()
        routes.set_links(known)
        routes.set_exits({"app": [Exit(pop, "c0", 0.01) for pop in ("B", "C")]})
        answers.append(computed(routes, 0.0))
    assert answers[0] == answers[1]


def raises(state: RoutingState) -> dict[str, list[Path]]:
    raise ValueError("oh")


def wrong(pops: tuple[str, ...], connection: str = "c0") -> Callable[[RoutingState], Any]:
    return lambda state: {"app": [Path(pops, connection, {"overlay": 0.0})]}


@pytest.mark.parametrize(
    ("decide", "problem"),
    [
        (raises, "raised ValueError: oh"),
        (lambda state: None, "returned a NoneType, not a mapping"),
        (lambda state: {"app": ["A>B"]}, "a str, not a Path"),
        (wrong(("B",)), "does not start at A"),
        (wrong(("A", "C", "A", "B")), "passes a PoP twice"),
        (wrong(("A", "D", "B")), "there is no link A to D"),
        (wrong(("A", "C")), "C has no connection c0"),
        (wrong(("A", "B"), "c9"), "B has no connection c9"),
    ],
)
def test_a_bad_algorithm_is_named_and_the_pop_goes_on(
    decide: Callable[[RoutingState], Any], problem: str
) -> None:
    routes = table(Algorithm("mine", decide, {}))
    routes.set_links(TRIANGLE)
    routes.set_exits(AT_B)
    assert [path.pops for path in computed(routes, 0.0)] == [("A", "B")]
    error = routes.snapshot(0.0).error
    assert error is not None
    assert "'mine'" in error
    assert problem in error


def test_after_a_failure_the_last_good_table_stays() -> None:
    good = CATALOGUE["lowest-rtt"].decide
    calls = []

    def once(state: RoutingState) -> Any:
        calls.append(state.seq)
        return good(state) if len(calls) == 1 else raises(state)

    routes = table(Algorithm("mine", once, {"hop_cost_s": 0.001}))
    routes.set_links(TRIANGLE)
    routes.set_exits(AT_B)
    first = computed(routes, 0.0)
    routes.set_links(TRIANGLE)
    assert computed(routes, 1.0) == first
    routes.set_links(both_ways(("A", "B", 0.300)))
    assert [path.pops for path in computed(routes, 2.0)] == [("A", "B")]


def test_too_many_relays_are_refused() -> None:
    routes = table("one-relay", max_relays=0)
    routes.set_links(TRIANGLE)
    routes.set_exits(AT_B)
    assert [path.pops for path in computed(routes, 0.0)] == [("A", "B")]
    assert "at most 0" in str(routes.snapshot(0.0).error)


def test_names_that_are_not_there_are_refused_with_what_is() -> None:
    with pytest.raises(UnknownAlgorithmError, match="'fastest'; there are direct, "):
        algorithm("fastest")
    with pytest.raises(UnknownParameterError, match="no parameter 'hops'; it has hop_cost_s"):
        table(hops=1)
    with pytest.raises(UnknownParameterError, match="a number is needed"):
        table(hop_cost_s="much")

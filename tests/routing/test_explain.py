"""What an explanation says would change a route is done to the network, and the algorithm run again."""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from routing.api import Decide, Exit, MeasuredLink, Path, Routes, RoutingState
from routing.catalogue import CATALOGUE, algorithm
from routing.damping import Damping
from routing.explain import (
    DRIFT,
    MOST_RISE_S,
    RESOLUTION_S,
    Explanation,
    Flip,
    Standing,
    explain,
    explaining,
    links_of,
)
from routing.graph import latency_graph
from routing.table import RouteTable

FIVE_PCT = Damping(min_gain_pct=5, hold_s=10.0)
DEFAULT: list[tuple[str, str, float]] = [  # of the default world, ms
    ("NRT", "IAD", 158), ("IAD", "LHR", 76), ("NRT", "LHR", 270), ("NRT", "SIN", 70), ("SIN", "LHR", 170),
    ("SIN", "FRA", 158), ("NRT", "FRA", 255), ("LHR", "FRA", 14), ("IAD", "FRA", 90), ("SIN", "IAD", 225),
]  # fmt: skip
EXITS = (Exit("LHR", "c0", 0.011), Exit("LHR", "c1", 0.0115), Exit("FRA", "c2", 0.021))


def state_of(
    algo: str, links: list[tuple[str, str, float]], exits: tuple[Exit, ...], me: str, **params: Any
) -> RoutingState:
    both = [
        MeasuredLink(*ends, rtt / 1e3, age_s=0.8)
        for a, b, rtt in links
        for ends in ((a, b), (b, a))
    ]
    return RoutingState(
        me=me,
        now=100.0,
        seq=7,
        graph=latency_graph(me, both),
        tunnels={"app": exits, "other": exits[:1]},
        previous={},
        outcomes=(),
        memory={},
        rng=random.Random(1),
        params=algorithm(algo).with_params(params),
    )


def default(algo: str = "one-relay", damping: Damping = FIVE_PCT) -> Explanation:
    state = state_of(algo, DEFAULT, EXITS, "NRT")
    decide = algorithm(algo).decide
    chosen = decide(state)["app"][0]
    return explain("app", state, Standing(chosen, 60.0, None, damping), decide)


def test_every_candidate_with_its_terms_in_the_order_of_the_algorithm() -> None:
    told = default()
    assert told.chosen is not None
    assert told.chosen.pops == ("NRT", "IAD", "LHR")
    first, *rest = told.candidates
    assert (first.rank, first.chosen, first.behind_s) == (1, True, 0.0)
    assert dict(first.path.terms) == pytest.approx(
        {"overlay": 0.234, "hops": 0.001, "last_leg": 0.011}
    )
    assert not any(one.chosen for one in rest)
    assert [one.rank for one in told.candidates] == list(range(1, len(told.candidates) + 1))
    (direct,) = (one for one in rest if one.path.pops == ("NRT", "FRA"))
    assert direct.direct
    assert direct.behind_s == pytest.approx(0.030)
    assert [(link.source, link.destination) for link in told.links] == [
        ("NRT", "IAD"),
        ("IAD", "LHR"),
    ]
    assert told.link_state_age_s == 0.8


def test_the_flip_contains_the_gain_that_damping_asks_for() -> None:
    told = default()
    rises = [flip for flip in told.flips if flip.change_s > 0]
    assert {flip.link for flip in rises} == {("NRT", "IAD"), ("IAD", "LHR")}
    for flip in rises:
        # The next path costs 250 ms; it is 5 % better than a route of 250 / 0.95.
        assert flip.change_s == pytest.approx(0.250 / 0.95 - 0.246, abs=2 * RESOLUTION_S)
        assert flip.to.pops == ("NRT", "SIN", "FRA")
    (first_fall,) = (flip for flip in told.flips if flip.link == ("SIN", "FRA"))
    assert first_fall.change_s == pytest.approx(-(0.004 + 0.05 * 0.246), abs=2 * RESOLUTION_S)


def test_without_damping_the_difference_is_enough() -> None:
    told = default(damping=Damping())
    assert told.flips[0].change_s == pytest.approx(0.004, abs=2 * RESOLUTION_S)


def test_a_path_that_ranks_first_and_is_not_better_enough_changes_nothing() -> None:
    state = state_of("one-relay", DEFAULT, EXITS, "NRT")
    decide = algorithm("one-relay").decide
    ranked = decide(state)["app"]
    second = next(path for path in ranked if path.pops == ("NRT", "SIN", "FRA"))
    told = explain("app", state, Standing(second, 60.0, None, FIVE_PCT), decide)
    assert told.pending is None
    assert [one.rank for one in told.candidates if one.chosen] == [3]
    assert told.flips[0].to.pops == ("NRT", "IAD", "LHR")
    assert told.flips[0].change_s == pytest.approx(0.246 / 0.95 - 0.250, abs=2 * RESOLUTION_S)


def test_the_route_is_a_candidate_though_its_algorithm_lists_it_no_more() -> None:
    state = state_of("one-relay", DEFAULT, EXITS, "NRT")
    decide = algorithm("one-relay").decide
    considered = [path for path in decide(state)["app"] if path.pops != ("NRT", "FRA")]
    direct = next(path for path in decide(state)["app"] if path.pops == ("NRT", "FRA"))
    told = explain("app", state, Standing(direct, damping=FIVE_PCT), decide, considered)
    last = told.candidates[-1]
    assert (last.chosen, last.path.pops, last.rank) == (True, direct.pops, len(considered) + 1)


def test_a_path_that_is_better_by_enough_waits_for_the_end_of_the_hold() -> None:
    state = state_of("one-relay", DEFAULT, EXITS, "NRT")
    decide = algorithm("one-relay").decide
    direct = next(path for path in decide(state)["app"] if path.pops == ("NRT", "FRA"))
    told = explain("app", state, Standing(direct, 95.0, 105.0, FIVE_PCT), decide)
    assert told.pending is not None
    assert told.pending.pops == ("NRT", "IAD", "LHR")
    assert told.flips == ()
    shown = told.to_dict()
    assert shown["pending"] == ["NRT", "IAD", "LHR"]
    assert shown["damping"]["held_for_s"] == 5.0
    assert shown["chosen_s_ago"] == 5.0


def test_no_change_of_a_link_moves_what_is_fixed() -> None:
    told = default("direct")
    assert told.chosen is not None
    assert told.chosen.pops == ("NRT", "FRA")
    alone = state_of("direct", DEFAULT[:1], (Exit("IAD", "c0", 0.01),), "NRT")
    decide = algorithm("direct").decide
    told = explain("app", alone, Standing(decide(alone)["app"][0]), decide)
    assert told.flips == ()


def test_nothing_of_the_state_is_changed_by_asking() -> None:
    def decide(state: RoutingState) -> Routes:
        state.memory["calls"] = state.memory.get("calls", 0) + 1
        state.rng.random()
        return algorithm("one-relay").decide(state)

    state = state_of("one-relay", DEFAULT, EXITS, "NRT")
    state.memory["list"] = [1]
    luck = state.rng.getstate()
    chosen = algorithm("one-relay").decide(state)["app"][0]
    told = explain("app", state, Standing(chosen, damping=FIVE_PCT), decide)
    assert told.flips
    assert state.memory == {"list": [1]}
    assert state.rng.getstate() == luck
    assert links_of(state.graph) == links_of(state_of("one-relay", DEFAULT, EXITS, "NRT").graph)


def test_an_algorithm_that_fails_is_a_problem_and_no_error() -> None:
    def decide(state: RoutingState) -> Routes:
        raise ZeroDivisionError

    state = state_of("one-relay", DEFAULT, EXITS, "NRT")
    chosen = algorithm("one-relay").decide(state)["app"][0]
    told = explain("app", state, Standing(chosen), decide)
    assert told.problem == "the algorithm has no answer"
    assert [one.chosen for one in told.candidates] == [True]
    assert told.to_dict()["problem"] == told.problem


def test_a_tunnel_without_a_path_has_nothing_to_explain() -> None:
    state = state_of("one-relay", DEFAULT, (), "NRT")
    told = explain("app", state, Standing(None), algorithm("one-relay").decide)
    assert (told.candidates, told.flips, told.chosen) == ((), (), None)


def test_a_few_runs_are_enough_where_costs_add_up() -> None:
    state = state_of("one-relay", DEFAULT, EXITS, "NRT")
    decide = algorithm("one-relay").decide
    runs = explaining("app", state, Standing(decide(state)["app"][0], damping=FIVE_PCT))
    asked, question = 0, next(runs, None)
    while question is not None:
        asked += 1
        with contextlib.suppress(StopIteration):
            question = runs.send(decide(question))
            continue
        break
    assert asked <= 1 + 2 * 2 + 4 * 2 * 2


def by_square(state: RoutingState) -> Routes:
    """Costs that do not add up: a slow link weighs more than its RTT."""
    ranked = []
    for leave in state.tunnels["app"]:
        for pops in state.paths(leave.pop, max_relays=1):
            weight = sum(state.graph.edges[hop]["rtt_s"] ** 2 for hop in pairwise(pops))
            ranked.append(Path(pops, leave.connection, {"weight": weight, "last_leg": leave.rtt_s}))
    return {"app": sorted(ranked, key=lambda path: path.cost_s)}


def by_slack(state: RoutingState) -> Routes:
    """Ranks by what its cost does not tell: the direct path first, as long as it is below a limit."""
    ranked = algorithm("one-relay").decide(state)["app"]

    def badness(path: Path) -> tuple[bool, int, float]:
        return path.cost_s > 0.2, len(path.pops), path.cost_s

    return {"app": sorted(ranked, key=badness)}


def in_steps(state: RoutingState) -> Routes:
    """Not steady: costs wrap around."""
    ranked = algorithm("one-relay").decide(state)["app"]
    return {"app": sorted(ranked, key=lambda path: path.cost_s * 1e3 % 100)}


DECISIONS: dict[str, Decide] = {
    **{name: algorithm.decide for name, algorithm in CATALOGUE.items()},
    "by-square": by_square,
    "by-slack": by_slack,
    "in-steps": in_steps,
}

POPS = "ABCDE"


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[tuple[str, str, float]], tuple[Exit, ...]]:
    rtts = st.floats(1.0, 300.0)
    links = [
        (a, b, draw(rtts))
        for i, a in enumerate(POPS)
        for b in POPS[i + 1 :]
        if draw(st.integers(0, 9))
    ]
    exits = tuple(
        Exit(pop, f"c{index}", draw(st.floats(0.001, 0.05)))
        for index, pop in enumerate(draw(st.lists(st.sampled_from(POPS), min_size=1, max_size=3)))
    )
    return links, exits


@given(
    world=worlds(),
    how=st.sampled_from(sorted(DECISIONS)),
    damping=st.builds(Damping, st.floats(0, 20), st.floats(0, 0.01)),
    nth=st.integers(0, 5),
)
def test_just_below_a_flip_the_route_stays_and_just_above_it_moves(
    world: tuple[list[tuple[str, str, float]], tuple[Exit, ...]],
    how: str,
    damping: Damping,
    nth: int,
) -> None:
    links, exits = world
    params_of = how if how in CATALOGUE else "one-relay"
    state = state_of(params_of, links, exits, "A")
    decide = DECISIONS[how]
    # Some remember and some draw lots: each is asked as if for the first time.
    fresh = dataclasses.replace(state, memory={}, rng=random.Random(1))
    ranked = decide(fresh).get("app", [])
    assume(ranked)
    # The route in force need not be the first: damping may keep another.
    standing = Standing(ranked[min(nth, len(ranked) - 1)], damping=damping)
    told = explain("app", state, standing, decide)
    for flip in told.flips:
        assert abs(flip.change_s) <= MOST_RISE_S
        assert abs(flip.change_s - flip.stays_s) <= 1.1 * RESOLUTION_S
        assert moved(state, decide, standing, flip, flip.stays_s) is None
        target = moved(state, decide, standing, flip, flip.change_s)
        assert target is not None
        assert standing.chosen is not None
        assert target.pops != standing.chosen.pops


def moved(
    state: RoutingState, decide: Decide, standing: Standing, flip: Flip, change_s: float
) -> Path | None:
    """Where the route goes when the link of `flip` really changes by that much."""
    links = [
        dataclasses.replace(link, rtt_s=max(0.0, link.rtt_s + change_s))
        if {link.source, link.destination} == set(flip.link)
        else link
        for link in links_of(state.graph)
    ]
    changed = dataclasses.replace(
        state, graph=latency_graph(state.me, links), memory={}, rng=random.Random(1)
    )
    ranked = decide(changed).get("app", [])
    chosen = standing.chosen
    assert chosen is not None
    current = next((path for path in ranked if path.way == chosen.way), None)
    if current is None:
        hops = list(pairwise(chosen.pops))
        drift_s = sum(
            float(changed.graph.edges[hop]["rtt_s"]) - float(state.graph.edges[hop]["rtt_s"])
            for hop in hops
        )
        current = dataclasses.replace(chosen, terms={**chosen.terms, DRIFT: drift_s})
    return standing.moves_to(current, ranked)


def test_what_a_flip_is_called_when_there_is_none() -> None:
    """A function that never moves must come out as no flip, not as the end of the range."""
    fixed: Callable[[RoutingState], Routes] = lambda state: {  # noqa: E731
        "app": [Path(("NRT", "IAD", "LHR"), "c0", {"fixed": 1.0})]
    }
    state = state_of("one-relay", DEFAULT, EXITS, "NRT")
    told = explain("app", state, Standing(fixed(state)["app"][0]), fixed)
    assert told.flips == ()


def test_a_table_explains_what_it_holds() -> None:
    state = state_of("one-relay", DEFAULT, EXITS, "NRT")
    table = RouteTable(
        "NRT", algorithm("one-relay"), {}, max_relays=3, rng=random.Random(1), damping=FIVE_PCT
    )
    assert table.explain("app", 0.0) is None
    table.set_links(links_of(state.graph))
    table.set_exits({"app": EXITS})
    table.recompute(50.0)
    young = table.explain("app", 52.0)
    assert young is not None
    assert young.standing.young
    assert young.flips[0].change_s == pytest.approx(0.004, abs=2 * RESOLUTION_S)
    assert young.link_state_age_s == pytest.approx(2.8)
    told = table.explain("app", 70.0)
    assert told is not None
    assert told.chosen == table.routes("app")[0]
    assert told.standing.since == 50.0
    rise = told.flips[0]
    # What was said comes true in the table itself, damping and all.
    for more_s, moves in ((-1e-5, False), (1e-5, True)):
        table.set_links(
            dataclasses.replace(one, rtt_s=one.rtt_s + rise.change_s + more_s)
            if {one.source, one.destination} == set(rise.link)
            else one
            for one in links_of(state.graph)
        )
        changes = table.recompute(70.0)
        assert [change.new.pops for change in changes if change.new] == [rise.to.pops] * moves


def test_what_damping_refused_is_told() -> None:
    table = RouteTable(
        "NRT", algorithm("one-relay"), {}, max_relays=3, rng=random.Random(1), damping=FIVE_PCT
    )
    links = links_of(state_of("one-relay", DEFAULT, EXITS, "NRT").graph)
    table.set_links(links)
    table.set_exits({"app": EXITS})
    table.recompute(0.0)
    slower = [
        dataclasses.replace(one, rtt_s=one.rtt_s + 0.010)
        if {one.source, one.destination} == {"NRT", "IAD"}
        else one
        for one in links
    ]
    table.set_links(slower)
    assert table.recompute(20.0) == []
    told = table.explain("app", 21.0)
    assert told is not None
    assert [one.rank for one in told.candidates if one.chosen] != [1]
    refused = told.to_dict()["damping"]["refused"]
    assert refused["path"] == ["NRT", "SIN", "FRA"]
    assert refused["because"] == "gain"
    assert refused["gain_ms"] == pytest.approx(6.0)
    assert refused["needed_ms"] == pytest.approx(12.8)

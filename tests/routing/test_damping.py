"""Damping: what a route may do and what it must wait for, through the table that applies it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import pairwise

import pytest

from routing.api import Exit, MeasuredLink, Path, Routes, RoutingState
from routing.catalogue import Algorithm, algorithm
from routing.damping import Damper, Damping, Refusal, Wish
from routing.table import RouteChange, RouteTable

DAMPING = Damping(min_gain_pct=5.0, hold_s=10.0)
AT_B = {"app": [Exit("B", "c0", 0.010)]}
CALM = 100.0  # long after the start


class Edge:
    """A PoP `A` whose exit is at `B`, directly or by way of `C` or `D`; all RTTs from A are set, in ms."""

    def __init__(self, damping: Damping = DAMPING, algo: str | Algorithm = "one-relay") -> None:
        chosen = algorithm(algo) if isinstance(algo, str) else algo
        self.table = RouteTable(
            "A", chosen, {}, max_relays=4, rng=random.Random(1), damping=damping
        )
        self.table.set_exits(AT_B)
        self.changes: list[RouteChange] = []

    def at(self, now: float, **rtts_ms: float | None) -> str:
        """What follows at `now` from these RTTs; a link of None is dead. The relay taken, or `direct`."""
        links = [MeasuredLink("A", pop, ms / 1e3) for pop, ms in rtts_ms.items() if ms is not None]
        links += [MeasuredLink(pop, "B", 0.050) for pop in ("C", "D")]
        self.table.set_links(links)
        self.changes += self.table.recompute(now)
        best = self.table.routes("app")
        if not best:
            return "none"
        return "direct" if len(best[0].pops) == 2 else best[0].pops[1]

    @property
    def reasons(self) -> list[str]:
        return [change.reason for change in self.changes]

    def settled(self, **rtts_ms: float) -> Edge:
        """Past the start: every path is known, the best one is taken, nothing is held."""
        self.at(0.0, **rtts_ms)
        self.at(CALM - 1, **rtts_ms)
        self.changes.clear()
        return self


def test_the_first_change_is_immediate() -> None:
    edge = Edge().settled(B=200, C=100)
    assert edge.at(CALM, B=200, C=500) == "direct"
    assert edge.reasons == ["better"]


@pytest.mark.parametrize(("ms", "taken"), [(192, "direct"), (185, "C")])
def test_a_small_gain_moves_nothing(ms: float, taken: str) -> None:
    edge = Edge(Damping(min_gain_pct=5.0, hold_s=10.0)).settled(B=200, C=400)
    # 210 ms directly with the last leg: 5 % of it are 10.5 ms. By way of C: 50 + 10 + 1 ms beside its link.
    assert edge.at(CALM, B=200, C=ms - 50) == taken
    refused = edge.table.snapshot(CALM).refused.get("app")
    assert (refused is not None and refused.because == "gain") == (taken == "direct")


def test_what_is_just_as_good_is_no_reason_to_move() -> None:
    """RTTs in whole tenths of a millisecond are often equal; which of them is ranked first then means nothing."""
    edge = Edge().settled(B=500, C=150, D=100)
    assert edge.at(CALM, B=500, C=100, D=100) == "D"
    assert edge.changes == []


def test_an_absolute_gain_is_asked_for_as_well() -> None:
    edge = Edge(Damping(min_gain_s=0.030, hold_s=10.0)).settled(B=200, C=400)
    assert edge.at(CALM, B=200, C=125) == "direct"
    assert edge.at(CALM + 1, B=200, C=115) == "C"


def test_a_second_change_waits_for_the_end_of_the_hold() -> None:
    edge = Edge().settled(B=200, C=100, D=400)
    edge.at(CALM, B=200, C=500, D=400)
    for second in range(1, 10):
        assert edge.at(CALM + second, B=200, C=500, D=50) == "direct"
    refused = edge.table.snapshot(CALM + 9).refused["app"]
    assert (refused.because, refused.until) == ("hold", CALM + 10)
    assert edge.table.wake_at == CALM + 10
    assert edge.table.snapshot(CALM + 9).held == {"app": CALM + 10}
    assert edge.at(CALM + 10, B=200, C=500, D=50) == "D"


def test_a_path_that_was_left_must_be_better_for_a_whole_hold() -> None:
    edge = Edge().settled(B=200, C=100)
    edge.at(CALM, B=200, C=500)
    assert edge.at(CALM + 15, B=200, C=100) == "direct"
    assert edge.table.snapshot(CALM + 15).refused["app"].because == "return"
    assert edge.at(CALM + 24.9, B=200, C=100) == "direct"
    assert edge.at(CALM + 25, B=200, C=100) == "C"


def test_a_link_that_flaps_every_second_does_not_move_the_route_to_and_fro() -> None:
    edge = Edge().settled(B=200, C=100)
    for second in range(300):
        edge.at(CALM + second, B=200, C=500 if second % 2 == 0 else 100)
    assert [change.at for change in edge.changes] == [CALM]


@pytest.mark.parametrize("period", [1, 2, 3, 7, 15, 25])
def test_with_no_calm_path_a_route_changes_at_most_once_in_a_hold(period: int) -> None:
    edge = Edge().settled(B=1000, C=100, D=100)
    for second in range(600):
        bad = second // period % 2
        edge.at(CALM + second, B=1000, C=(100, 500)[bad], D=(500, 100)[bad])
    gaps = [b.at - a.at for a, b in pairwise(edge.changes)]
    # Neither path is ever better for as long as a hold while they change places faster than that.
    assert (len(gaps) > 1) == (period > 10)
    assert all(gap >= 10 for gap in gaps)


def test_a_route_that_has_come_to_rest_is_held_briefly_again() -> None:
    damper = Damper(DAMPING)
    paths = {name: Path(("A", name, "B"), "c0", {"overlay": 0.1}) for name in "CDE"}
    slow = {name: Path(path.pops, "c0", {"overlay": 0.2}) for name, path in paths.items()}

    def change(at: float, old: str, new: str) -> float | None:
        wish = Wish("app", slow[old], [paths[new], slow[old]])
        verdict = damper.judge([wish], set(), at)["app"]
        assert verdict.path == paths[new]
        return damper.held_until("app", at)

    damper.judge([Wish("app", None, [slow["C"]], known=False)], set(), 0.0)
    assert change(CALM, "C", "D") == CALM + 10
    assert change(CALM + 10, "D", "E") == CALM + 30
    assert change(CALM + 1000, "E", "C") == CALM + 1010


def test_a_dead_path_is_left_at_once_whatever_holds() -> None:
    edge = Edge().settled(B=200, C=100, D=150)
    edge.at(CALM, B=200, C=500, D=100)
    assert edge.at(CALM + 1, B=200, C=500, D=None) == "direct"
    assert edge.at(CALM + 2, B=None, C=500, D=None) == "C"
    assert edge.at(CALM + 3, B=None, C=None, D=None) == "none"
    assert edge.reasons == ["better", "lost", "lost", "gone"]
    assert edge.at(CALM + 4, B=None, C=500, D=None) == "C"
    assert edge.changes[-1].reason == "first"


def test_a_link_that_dies_again_and_again_is_not_taken_back() -> None:
    edge = Edge().settled(B=200, C=100)
    # Up for 3 s, down for 1 s: it is never up all through a hold.
    taken = {
        edge.at(CALM + second, B=200, C=None if second % 4 == 0 else 100) for second in range(400)
    }
    assert taken == {"direct"}


def test_at_the_start_routes_move_freely() -> None:
    edge = Edge()
    assert edge.at(0.0, B=200) == "direct"
    assert edge.at(1.0, B=200, C=100) == "C"
    assert edge.at(2.0, B=200, C=100, D=99) == "D"
    assert edge.reasons == ["first", "settling", "settling"]
    assert edge.at(20.0, B=200, C=97, D=99) == "D"


def test_a_link_never_measured_before_is_not_held_back() -> None:
    edge = Edge().settled(B=200, C=100)
    edge.at(CALM, B=200, C=500)
    assert edge.at(CALM + 1, B=200, C=500, D=50) == "D"
    # It is known from then on.
    edge.at(CALM + 2, B=200, C=500, D=None)
    assert edge.at(CALM + 3, B=200, C=500, D=50) == "direct"


def test_no_more_than_the_share_moves_in_an_interval_and_the_most_gain_goes_first() -> None:
    damper = Damper(Damping(hold_s=10.0, max_moved_pct=25.0, interval_s=1.0))
    names = [f"t{number}" for number in range(8)]
    straight = {name: Path(("A", "B"), name, {"overlay": 0.2}) for name in names}
    damper.judge([Wish(name, None, [straight[name]], known=False) for name in names], set(), 0.0)
    moved: dict[str, float] = {}
    for now in (CALM, CALM + 0.5, CALM + 1, CALM + 2, CALM + 3):
        wishes = []
        for number, name in enumerate(names):
            better = Path(("A", "C", "B"), name, {"overlay": 0.1 - number / 1000})
            current = better if name in moved else straight[name]
            wishes.append(Wish(name, current, [better, straight[name]]))
        for name, verdict in damper.judge(wishes, set(), now).items():
            if verdict.reason == "better":
                moved[name] = now
            elif name not in moved:
                assert verdict.refused is not None
                assert verdict.refused.because == "cap"
        if len(moved) < len(names):
            assert damper.wake_at == max(moved.values()) + 1
    assert list(moved) == ["t6", "t7", "t4", "t5", "t2", "t3", "t0", "t1"]
    assert sorted(moved.values()) == sorted([CALM, CALM + 1, CALM + 2, CALM + 3] * 2)


def test_without_damping_every_better_path_is_taken() -> None:
    edge = Edge(Damping())
    taken = [edge.at(second, B=200, C=148 + second % 2 * 2.0) for second in range(1, 6)]
    assert taken == ["direct", "C", "direct", "C", "direct"]


def listing(ways: Mapping[str, float]) -> Algorithm:
    """An algorithm that lists one path only: over the relay named first in `ways`."""

    def decide(state: RoutingState) -> Routes:
        relay, cost_s = next(iter(ways.items()))
        return {"app": [Path(("A", relay, "B"), "c0", {"cost": cost_s})]}

    return Algorithm("mine", decide, {})


def test_a_path_that_is_no_longer_listed_costs_what_its_links_have_changed_by() -> None:
    ways = {"C": 0.100}
    edge = Edge(algo=listing(ways)).settled(C=100, D=100)
    ways.clear()
    ways["D"] = 0.099
    assert edge.at(CALM, C=100, D=100) == "C"
    assert edge.at(CALM + 1, C=150, D=100) == "D"
    (change,) = edge.changes
    assert change.old is not None
    assert change.old.terms == {"cost": 0.100, "since": pytest.approx(0.050)}


def test_an_algorithm_that_ranks_by_more_than_cost_is_followed_after_the_hold() -> None:
    ways = {"C": 0.100}
    edge = Edge(algo=listing(ways)).settled(C=100, D=100)
    ways.clear()
    ways["D"] = 0.300
    assert edge.at(CALM, C=100, D=100) == "D"
    ways.clear()
    ways["C"] = 0.300
    assert edge.at(CALM + 1, C=100, D=100) == "D"


def test_a_refusal_says_what_is_missing() -> None:
    edge = Edge().settled(B=200, C=400)
    edge.at(CALM, B=200, C=142)
    refused = edge.table.snapshot(CALM).refused["app"]
    assert refused == Refusal(
        refused.path, pytest.approx(0.007), pytest.approx(0.0105), "gain", None
    )
    assert refused.path.pops == ("A", "C", "B")

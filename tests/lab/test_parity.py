"""How far two medians may be apart, and what is taken for them in any world."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest

from lab.driver import LabError
from lab.parity import recoveries, transfers
from lab.parity.band import Pair
from lab.recovery.experiment import Event, Figures, Settings, Strike
from lab.worlds import DEFAULT_WORLD, load_world
from topology.plan import Plan


@pytest.mark.parametrize(
    ("virtual", "real", "least_s", "agree"),
    [
        ([2.0], [2.5], 0.0, True),
        ([1.99], [2.5], 0.0, False),
        ([3.0], [2.5], 0.0, True),
        ([0.1], [0.3], 0.2, True),
        ([0.0], [0.0], 0.0, True),
        ([math.inf], [2.0], 0.0, False),
        ([], [2.0], 9.0, False),
        ([1.0, 2.0, 9.0], [0.1, 2.1, 2.2], 0.0, True),
    ],
)
def test_the_larger_of_a_share_and_a_time(
    virtual: list[float], real: list[float], least_s: float, agree: bool
) -> None:
    assert Pair.of("x", virtual, real, 0.2, least_s).agree is agree


def test_json_knows_no_infinity() -> None:
    told = Pair.of("x", [math.inf], [], 0.2).to_dict()
    assert (told["virtual_s"], told["real_s"], told["apart_pct"]) == (None, None, None)
    assert told["agree"] is False


class Holding:
    """A ground of which only this is asked: which PoPs hold tunnel connections."""

    def __init__(self, *pops: str) -> None:
        self._pops = list(pops)

    def connections(self) -> tuple[list[str], int]:
        return self._pops, 4


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan.of(load_world(DEFAULT_WORLD))


def test_killed_is_where_most_visitors_enter_of_those_that_hold_a_tunnel(plan: Plan) -> None:
    ground = cast(Any, Holding("FRA", "FRA", "LHR", "LHR"))
    chosen = recoveries.choose(ground, plan, "https://app.example.com/")
    assert chosen.strike == Strike("kill", ("LHR",))
    assert chosen.there == ("london",)
    assert chosen.elsewhere == ("tokyo", "sao-paulo")
    assert chosen.settings.visitors == ("london", "tokyo", "sao-paulo")
    assert "kill LHR" in str(chosen)
    assert "london (enters there)" in str(chosen)


def test_nobody_needs_to_enter_at_what_is_killed(plan: Plan) -> None:
    chosen = recoveries.choose(cast(Any, Holding("FRA")), plan, "https://app.example.com/")
    assert (chosen.strike.targets, chosen.there) == (("FRA",), ())
    with pytest.raises(LabError, match="nothing to kill"):
        recoveries.choose(cast(Any, Holding()), plan, "https://app.example.com/")


def test_who_enters_at_the_killed_pop_is_compared_apart() -> None:
    def event(there_s: float, elsewhere_s: float) -> Event:
        visitors = {
            "london": Figures(there_s, there_s, there_s),
            "tokyo": Figures(elsewhere_s, elsewhere_s, 0.0),
            "sydney": Figures(elsewhere_s / 2, elsewhere_s / 2, 0.0),
        }
        worst = Figures.worst(visitors.values())
        return Event(
            0, worst.without_s, worst.first_s, worst.settled_s, 5.0, 9, 1, ("london",), visitors
        )

    settings = Settings(("london", "tokyo", "sydney"), "https://app.example.com/", rate_per_s=5.0)
    chosen = recoveries.Chosen(Strike("kill", ("LHR",)), ("london",), ("tokyo", "sydney"), settings)
    pairs = recoveries.compare([event(3.0, 2.0)], [event(3.1, 1.0)], chosen)
    by_what = {pair.what: pair for pair in pairs}
    assert len(by_what) == 7
    there = by_what["kill LHR: without an answer, who enters there"]
    assert (there.virtual_s, there.real_s, there.agree) == (3.0, 3.1, True)
    elsewhere = by_what["kill LHR: without an answer, who enters elsewhere"]
    assert (elsewhere.virtual_s, elsewhere.real_s, elsewhere.agree) == (2.0, 1.0, False)


def test_transfers_go_between_two_nodes_that_have_nothing_to_do_with_each_other(plan: Plan) -> None:
    receiver, sender = transfers.ends(plan)
    assert {receiver, sender} <= set(plan.world.visitors)
    link = transfers.Settings(receiver, sender).link
    # Whatever the world says of it.
    assert plan.link(sender, receiver).patched(link).loss == 0.01

"""What PoPs say of their routes, and what then happens, in a world in virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lab.drivers.virtual import VirtualWorld
from lab.explained import disagreements
from lab.seen import InVirtualTime, truth_of
from topology.plan import Plan
from wan.changes import Wish
from wan.timeline import Wishes


@pytest.fixture(scope="module")
def world(default_plan: Plan) -> Iterator[VirtualWorld]:
    with VirtualWorld(default_plan) as world:
        world.start()
        world.run_for(15.0)
        yield world


def set_rtt(world: VirtualWorld, a: str, b: str, rtt_s: float | None) -> None:
    """None: as it was."""
    fields: dict[str, object] | None = None if rtt_s is None else {"one_way_s": rtt_s / 2}
    world.apply(Wishes("test", tuple(Wish(*ends, fields) for ends in ((a, b), (b, a)))))


def why(world: VirtualWorld, pop: str = "NRT") -> dict[str, Any]:
    told: dict[str, Any] = InVirtualTime(world).ask(pop, "why", "app")
    return told


def test_a_route_is_explained_by_what_was_measured(world: VirtualWorld) -> None:
    told = why(world)
    assert told["path"] == ["NRT", "IAD", "LHR"]
    assert told["algorithm"] == "one-relay"
    assert told["damping_text"] == "5 %/10 s"
    chosen = told["candidates"][0]
    assert chosen["chosen"]
    assert chosen["terms_ms"]["overlay"] == pytest.approx(234.0, abs=0.5)
    (direct,) = {tuple(one["path"]) for one in told["candidates"] if one["direct"]} - {
        ("NRT", "LHR")
    }
    assert direct == ("NRT", "FRA")
    # The oracle knows nothing better.
    best_s, best = truth_of(InVirtualTime(world)).best("NRT", ("LHR", "FRA"), "dublin")
    assert list(best) == told["path"]
    assert best_s == pytest.approx(0.245, abs=0.001)


def test_all_pops_agree_and_show_the_same_graph(world: VirtualWorld) -> None:
    seen = InVirtualTime(world)
    before = [seen.ask(pop, "lsdb") for pop in seen.pops()]
    seen.wait(1.0)
    after = [seen.ask(pop, "lsdb") for pop in seen.pops()]
    assert len(after) == 8
    assert disagreements(before, after) == []
    graph = seen.ask("SYD", "graph")
    assert set(graph["pops"]) == set(seen.pops())
    assert len(graph["links"]) == 8 * 7


def test_what_flips_a_route_flips_it(world: VirtualWorld) -> None:
    rise_ms = next(
        flip["change_ms"] for flip in why(world)["flips"] if flip["link"] == ["NRT", "IAD"]
    )
    assert rise_ms == pytest.approx(17.2, abs=0.5)
    set_rtt(world, "NRT", "IAD", (158.0 + rise_ms - 1.5) / 1e3)
    world.run_for(40.0)
    told = why(world)
    assert told["path"] == ["NRT", "IAD", "LHR"]
    # Another path is first by now, and damping says why it is not taken.
    assert not told["candidates"][0]["chosen"]
    assert told["damping"]["refused"]["because"] == "gain"
    set_rtt(world, "NRT", "IAD", (158.0 + rise_ms + 1.5) / 1e3)
    world.run_for(40.0)
    told = why(world)
    assert told["path"] == ["NRT", "SIN", "FRA"]
    assert told["chosen_s_ago"] < 40.0
    set_rtt(world, "NRT", "IAD", None)


def test_a_slow_link_is_left_within_three_seconds(default_plan: Plan) -> None:
    with VirtualWorld(default_plan) as world:
        world.start()
        world.run_for(15.0)
        changed = world.loop.now
        set_rtt(world, "NRT", "IAD", 0.500)
        world.run_for(3.0)
        told = why(world)
        assert told["path"][1] != "IAD"
        assert changed < world.loop.now - told["chosen_s_ago"]
        assert told["damping"]["held_for_s"] > 5.0
        rows = InVirtualTime(world).ask("NRT", "routes")["routes"]
        assert [row["was"] for row in rows] == [["NRT", "IAD", "LHR"]]
        assert [row["reason"] for row in rows] == ["better"]

"""What PoPs say of their routes, and what then happens, in a world in virtual time."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from lab.cli import why as command
from lab.cli.app import app
from lab.driver import LabError
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


@pytest.fixture
def popnet_why(world: VirtualWorld, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The command, in this world."""

    @contextlib.contextmanager
    def looking(*_: object) -> Iterator[InVirtualTime]:
        yield InVirtualTime(world)

    monkeypatch.setattr(command, "looking", looking)

    def run(*arguments: str, code: int = 0) -> Any:
        done = CliRunner().invoke(app, ["why", *arguments], standalone_mode=False)
        assert done.return_value == code, done.output
        return json.loads(done.output) if "json" in arguments else done.output

    return run


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
    refused = told["damping"]["refused"]
    assert refused["because"] == "gain"
    assert (refused["path"], refused["connection"]) == (
        told["candidates"][0]["path"],
        told["candidates"][0]["connection"],
    )
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


def test_the_rule_the_member_and_the_route_of_a_request(popnet_why: Callable[..., Any]) -> None:
    lines = popnet_why("--from", "london", "https://www.example.com/").splitlines()
    assert lines[0] == "security: rule 2 allow"
    assert lines[1] == "load balancer www, steering proximity: the nearest serves: app"
    assert lines[3].split()[:3] == ["*", "app", "up"]
    assert lines[4].startswith("LHR to app   one-relay")
    assert lines[6].split()[:4] == ["*", "1", "LHR", "c0"]
    told = popnet_why("--from", "London", "https://app.example.com/admin/x", "-o", "json")
    assert (told["security"]["name"], told["security"]["status"]) == ("rule 1 require", 403)
    assert (told["balancer"], told["path"]) == (None, ["LHR"])
    assert popnet_why("--from", "nrt", "www.example.com", "-o", "json")["security"] is None


def test_a_name_leads_where_the_records_say_now(
    world: VirtualWorld, popnet_why: Callable[..., Any]
) -> None:
    for wanted in ({"name": "shop.example.com", "tunnel": "app"}, {"name": "app.example.com"}):
        world.nodes["LHR"].pop.book.change(wanted)
    try:
        world.run_for(1.0)
        told = popnet_why("--from", "tokyo", "shop.example.com", "-o", "json")
        assert (told["host"], told["tunnel"]) == ("shop.example.com", "app")
        runner = CliRunner()
        gone = runner.invoke(app, ["why", "--from", "tokyo", "app.example.com"])
        assert isinstance(gone.exception, LabError)
        assert "did you mean shop.example.com" in str(gone.exception)
    finally:
        for back in ({"name": "shop.example.com"}, {"name": "app.example.com", "tunnel": "app"}):
            world.nodes["LHR"].pop.book.change(back)
        world.run_for(1.0)


def test_a_pool_whose_members_are_gone_leads_nowhere(
    popnet_why: Callable[..., Any], world: VirtualWorld
) -> None:
    pools = {"www": {"steering": "proximity", "order": [], "members": []}}
    seen = InVirtualTime(world)
    asked = seen.ask

    def ask(self: InVirtualTime, pop: str, what: str, *more: str) -> Any:
        return pools if what == "pools" else asked(pop, what, *more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(InVirtualTime, "ask", ask)
        text = popnet_why("--from", "london", "www.example.com", code=1)
    assert "no member can serve" in text

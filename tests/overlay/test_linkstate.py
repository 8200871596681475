"""What PoPs know of the links between them, in whole worlds: measured, told, and followed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.drivers.virtual import VirtualWorld
from pops.process import PopProcess
from wan.changes import Wish
from wan.timeline import NodeAction, Wishes

URL = "https://app.example.com/"


def pops(world: VirtualWorld) -> dict[str, PopProcess]:
    return {name: node.pop for name, node in world.nodes.items() if node.pop is not None}


def change(world: VirtualWorld, a: str, b: str, fields: dict[str, object] | None) -> None:
    world.apply(Wishes("test", (Wish(a, b, fields), Wish(b, a, fields))))


def changes(world: VirtualWorld, since: float, node: str) -> list[tuple[float, str]]:
    """When the routes of a PoP changed, after `since`, and why."""
    return [
        (fact["t"] - since, fact["reason"])
        for fact in world.events.lines
        if fact["t"] >= since and fact["event"] == "route_changed" and fact["node"] == node
    ]


def agree(world: VirtualWorld) -> bool:
    digests = [pop.lsdb.digest() for pop in pops(world).values()]
    return all(digest == digests[0] for digest in digests)


def test_a_world_that_is_ready_has_measured_itself_and_takes_the_best_way(
    world: VirtualWorld,
) -> None:
    for pop in pops(world).values():
        found = {(link.source, link.destination): link for link in pop.lsdb.links(world.loop.now)}
        assert len(found) == 12
        for (here, there), link in found.items():
            assert link.rtt_s == pytest.approx(world.rtt_s(here, there), abs=1e-4)
            assert (link.loss, link.samples >= 4) == (0.0, True)
    assert world.get("new-york", URL).header("popnet-path") == "IAD>LHR"


def test_an_idle_world_says_little(world: VirtualWorld) -> None:
    world.run_for(5)
    before = {name: pop.link_state.flooding.originated for name, pop in pops(world).items()}
    world.run_for(60)
    assert agree(world)
    for name, pop in pops(world).items():
        assert 1 <= pop.link_state.flooding.originated - before[name] <= 4
        assert pop.link_state.flooding.duplicates == 0


def test_a_link_that_becomes_slow_is_left_within_three_seconds(world: VirtualWorld) -> None:
    world.run_for(11)
    since = world.loop.now
    change(world, "LHR", "IAD", {"one_way_s": 0.25})
    world.run_for(3)
    ((after_s, reason),) = changes(world, since, "IAD")
    assert after_s < 3
    assert reason == "better"
    assert world.get("new-york", URL).header("popnet-path") == "IAD>FRA"


def test_a_link_that_flaps_every_second_does_not_make_routes_flap(world: VirtualWorld) -> None:
    world.run_for(11)
    since = world.loop.now
    for _ in range(20):
        change(world, "LHR", "IAD", {"one_way_s": 0.25})
        world.run_for(1)
        change(world, "LHR", "IAD", None)
        world.run_for(1)
    assert len(changes(world, since, "IAD")) <= 3


def test_a_pop_that_restarts_speaks_above_its_former_words(world: VirtualWorld) -> None:
    world.run_for(40)
    former = pops(world)["LHR"].lsdb.own
    assert former is not None
    assert former.seq > 1
    world.apply(NodeAction("LHR", "kill"))
    world.run_for(5)
    assert "LHR" not in pops(world)["SJC"].lsdb.reachable()
    world.apply(NodeAction("LHR", "start"))
    world.run_for(10)
    assert agree(world)
    own = pops(world)["LHR"].lsdb.own
    assert own is not None
    assert own.seq > former.seq
    assert "LHR" in pops(world)["SJC"].lsdb.reachable()


CHAIN = """
popnet: 1
name: chain
pops:
  LHR: {region: 1, neighbors: [IAD]}
  IAD: {region: 2, neighbors: [LHR, SJC]}
  SJC: {region: 1, neighbors: [IAD, NRT]}
  NRT: {region: 2, neighbors: [SJC]}
internet:
  rtt_ms: {LHR: {IAD: 76, SJC: 140, NRT: 270}, IAD: {SJC: 64, NRT: 158}, SJC: {NRT: 102}}
routing: {neighbors: {policy: nearest, nearest: 1, hubs: 0, full_mesh_up_to: 2}}
visitors: [tokyo]
sites: {dublin: {service: hello}}
tunnels: {app: {site: dublin}}
dns: {app.example.com: {tunnel: app}}
"""


def test_news_crosses_a_chain_within_the_way_and_what_it_is_held(
    make_world: Callable[..., VirtualWorld],
) -> None:
    world = make_world(CHAIN)
    world.run_for(5)
    since = world.loop.now
    world.apply(NodeAction("LHR", "kill"))
    world.run_for(0.2)
    known = "LHR" in pops(world)["NRT"].lsdb.reachable()
    assert not known, "a death does not wait on its way"
    noticed = [
        f["t"] for f in world.events.lines if f["t"] >= since and f["event"] == "overlay_down"
    ]
    assert noticed[0] - since == pytest.approx(0.038, abs=0.001)

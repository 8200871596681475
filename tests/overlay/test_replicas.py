"""One tunnel, connectors at two sites: each request goes to the nearer one, and to the other when that dies."""

from __future__ import annotations

from collections.abc import Callable

from lab.drivers.virtual import VirtualWorld
from lab.drivers.virtual_run import calm
from lab.drivers.virtual_trace import send
from lab.load_client import Visit
from wan.timeline import Vanishing

URL = "https://app.example.com/"
WORLD = """
popnet: 1
name: replicas
pops: {LHR: {region: 1}, FRA: {region: 2}, IAD: {region: 1}, ORD: {region: 2}}
visitors: [london, new-york]
sites: {dublin: {service: hello}, boston: {service: hello}}
tunnels: {app: {site: [dublin, boston]}}
routing: {damping: {hold: 2s}}
dns: {app.example.com: {tunnel: app}}
"""


def sites(world: VirtualWorld) -> dict[str, str]:
    visits = {visitor: world.get(visitor, URL) for visitor in ("london", "new-york")}
    assert all(visit.ok for visit in visits.values())
    return {visitor: visit.header("popnet-site") for visitor, visit in visits.items()}


def test_the_nearer_site_answers_and_trace_names_it(
    make_world: Callable[..., VirtualWorld],
) -> None:
    world = make_world(WORLD)
    assert sites(world) == {"london": "dublin", "new-york": "boston"}
    told = send(world, "new-york", URL)
    assert not isinstance(told, str)
    assert told.site == "boston"
    assert any("boston" in phase.name for phase in told.phases)


def test_when_one_site_vanishes_the_other_serves_and_no_request_is_lost(
    make_world: Callable[..., VirtualWorld],
) -> None:
    world = make_world(WORLD, keep_alive=True)
    sites(world)
    visits: list[Visit] = []
    world.apply(Vanishing("dublin", on=True))
    with calm():
        for _ in range(20):
            visits.append(world.get("london", URL))
            world.run_for(0.2)
    assert [visit.error or visit.status for visit in visits] == [200] * 20
    assert visits[-1].header("popnet-site") == "boston"
    world.apply(Vanishing("dublin", on=False))
    world.run_for(60.0)
    assert sites(world) == {"london": "dublin", "new-york": "boston"}

"""A pool whose members are one tunnel's connectors, site by site: the steering chooses among sites, not routing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from lab.drivers.virtual import VirtualWorld
from lab.drivers.virtual_run import calm
from wan.timeline import Vanishing

URL = "https://www.example.com/"
WORLD = """
popnet: 1
name: sites
pops: {LHR: {region: 1}, FRA: {region: 2}, IAD: {region: 1}, ORD: {region: 2}}
visitors: [london, new-york]
sites: {dublin: {service: hello}, boston: {service: hello}}
tunnels: {app: {site: [dublin, boston]}}
routing: {damping: {hold: 2s}}
dns: {www.example.com: {load_balancer: www}}
load_balancers: {www: {pool: POOL, steering: STEERING, health: {every: 1s}}}
"""


def world_of(pool: str, steering: str) -> str:
    return WORLD.replace("POOL", pool).replace("STEERING", steering)


def sites(world: VirtualWorld, visitor: str, requests: int) -> Counter[str]:
    visits = [world.get(visitor, URL) for _ in range(requests)]
    assert [visit.error or visit.status for visit in visits] == [200] * requests
    assert {visit.header("popnet-tunnel") for visit in visits} == {"app"}
    return Counter(visit.header("popnet-site") for visit in visits)


def test_failover_between_two_sites_of_one_tunnel(
    make_world: Callable[..., VirtualWorld],
) -> None:
    world = make_world(world_of("[app@dublin, app@boston]", "failover"), keep_alive=True)
    assert sites(world, "new-york", 5) == {"dublin": 5}, "boston is nearer and comes second"
    world.apply(Vanishing("dublin", on=True))
    with calm():
        world.run_for(20.0)
        assert sites(world, "new-york", 5) == {"boston": 5}
    told = world.nodes["LHR"].pop.balancers.snapshot()["www"]["members"]
    assert [(one["tunnel"], one["state"]) for one in told] == [
        ("app@dublin", "down"),
        ("app@boston", "up"),
    ]
    world.apply(Vanishing("dublin", on=False))
    world.run_for(60.0)
    assert sites(world, "new-york", 5) == {"dublin": 5}


def test_shares_of_two_sites_of_one_tunnel(make_world: Callable[..., VirtualWorld]) -> None:
    world = make_world(
        world_of("{app@dublin: {weight: 3}, app@boston: {weight: 1}}", "weighted"), keep_alive=True
    )
    found = sites(world, "new-york", 100)
    assert 60 <= found["dublin"] <= 90
    assert found["dublin"] + found["boston"] == 100

"""Whole worlds in virtual time. A world costs a second to bring up: tests that break nothing share one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.drivers.virtual import VirtualWorld
from topology.load import load_world, parse_world
from topology.plan import Plan

ROOT = Path(__file__).parents[2]

SMALL = """
popnet: 1
name: small
pops: {LHR: {region: 1}, FRA: {region: 2}, IAD: {region: 1}, SJC: {region: 2}}
internet:
  rtt_ms:
    LHR: {FRA: 14, IAD: 76, SJC: 140}
    FRA: {IAD: 90, SJC: 152}
    IAD: {SJC: 64}
anycast: {convergence: 3s}
visitors: [new-york, london, san-francisco]
sites: {dublin: {service: hello}}
tunnels: {app: {site: dublin}}
dns: {app.example.com: {tunnel: app}}
"""


@pytest.fixture
def make_world() -> Iterator[Callable[..., VirtualWorld]]:
    worlds: list[VirtualWorld] = []

    def make(text: str = SMALL, **options: object) -> VirtualWorld:
        plan = Plan.of(parse_world(text))
        worlds.append(VirtualWorld(plan, **options))  # type: ignore[arg-type]
        worlds[-1].start()
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def world(make_world: Callable[..., VirtualWorld]) -> VirtualWorld:
    return make_world()


@pytest.fixture(scope="session")
def default_plan() -> Plan:
    return Plan.of(load_world(ROOT / "topology.yaml"))

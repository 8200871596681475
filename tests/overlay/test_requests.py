"""Requests through a whole world: the times are those of the links, to the microsecond where nothing queues."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from lab.drivers.virtual import VirtualWorld
from topology.load import load_world
from topology.plan import Plan

DEFAULT = Path(__file__).parents[2] / "topology.yaml"
URL = "https://app.example.com/"


@pytest.mark.parametrize("tls", ["flights", "real"])
def test_a_request_takes_the_round_trips_of_its_legs(tls: str) -> None:
    plan = Plan.of(load_world(DEFAULT))
    with VirtualWorld(plan, tls=tls) as world:  # type: ignore[arg-type]
        world.start()
        visit = world.get("tokyo", URL)
        assert (visit.status, visit.error) == (200, "")
        to_edge = plan.rtt("tokyo", "NRT")
        for phase in ("dns", "tcp", "tls"):
            assert to_edge <= visit.phases[phase] < to_edge + 0.001
        path = visit.header("popnet-path").split(">")
        assert path[0] == "NRT"
        stops = ["tokyo", *path, "dublin"]
        legs = sum(plan.rtt(a, b) for a, b in itertools.pairwise(stops))
        assert legs <= visit.phases["request"] < legs + 0.001

"""Limits and timeouts that a world file sets are those of its PoPs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from msgspec import inspect

from lab.drivers.virtual import VirtualWorld
from lab.load_client import Visit
from topology.model_limits import Limits, Timeouts
from topology.wording import unwrapped

from .conftest import SMALL

URL = "https://app.example.com/"


def together(world: VirtualWorld, visitor: str, number: int) -> list[Visit]:
    """So many requests at once, each on a connection of its own."""

    async def main() -> list[Visit]:
        return list(await asyncio.gather(*(world.asking(visitor, URL) for _ in range(number))))

    return world.run(main())


def test_the_third_connection_of_an_address_is_refused(
    make_world: Callable[..., VirtualWorld],
) -> None:
    world = make_world(SMALL + "limits: {connections_per_visitor: 2, penalty: 0s}\n")
    visits = together(world, "london", 3)
    assert sorted(visit.status for visit in visits) == [0, 200, 200]
    assert [bool(visit.error) for visit in visits if not visit.status] == [True]
    pop = world.nodes["LHR"].pop
    assert pop is not None
    assert pop.visitors.snapshot().refused_by_address == 1
    # The limit is of one address at a time: another's counts apart, and so do connections that are gone.
    assert [visit.status for visit in together(world, "new-york", 2)] == [200, 200]
    assert [visit.status for visit in together(world, "london", 2)] == [200, 200]


def test_without_the_limit_it_is_not(world: VirtualWorld) -> None:
    assert [visit.status for visit in together(world, "london", 3)] == [200, 200, 200]


def test_a_timeout_of_the_world_is_kept(make_world: Callable[..., VirtualWorld]) -> None:
    """The answer is 300 ms away: a PoP that has only 100 ms for it says so."""
    far = "internet:\n  access: {dublin: {one_way_ms: 150}}"
    slow = SMALL.replace("internet:", far)
    assert make_world(slow).get("london", URL).status == 200
    hasty = make_world(slow + "timeouts: {response_head: 100ms}\n")
    assert hasty.get("london", URL).status == 504


def bounds(kind: type, which: str) -> str:
    """A section with every key at its least (`ge`) or its most (`le`)."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    numbers = {field.name: getattr(unwrapped(field.type)[0], which) for field in info.fields}
    return f"{kind.__name__.lower()}: {json.dumps(numbers)}\n"


@pytest.mark.parametrize(
    "text",
    [bounds(Limits, "ge"), bounds(Limits, "le") + bounds(Timeouts, "le")],
    ids=["least", "most"],
)
def test_what_a_world_may_say_its_pops_can_live_with(
    make_world: Callable[..., VirtualWorld], text: str
) -> None:
    """Nothing further in refuses a number that the world file lets through. (A millisecond for everything would be
    within bounds too: no answer comes in time.)"""
    # One connection to each of two PoPs: as many as the least limit of tunnels takes.
    lean = SMALL.replace("{service: hello}", "{service: hello, connectors: [{connections: 2}]}")
    visit = make_world(lean + text).get("london", URL)
    assert (visit.status, visit.error) == (200, "")

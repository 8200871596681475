"""A small network on a virtual loop: two PoPs, two visitors, a private site; every pair 100 ms there and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from topology.load import parse_world
from topology.plan import Plan
from wan.fabric import Fabric
from wan.virtual.loop import VirtualLoop
from wan.virtual.network import Network
from wan.virtual.programs import Program

T = TypeVar("T")
ANYCAST = "198.18.0.1"

WORLD = """
popnet: 1
seed: {seed}
pops: {{A: {{at: [0, 0], region: 1}}, B: {{at: [0, 10], region: 2}}}}
visitors: {{v: {{at: [0, 1]}}, w: {{at: [0, 9]}}}}
sites: {{s: {{at: [0, 5]}}}}
internet:
  rtt_ms: {{A: {{B: 100, v: 100, w: 120, s: 100}}, B: {{v: 120, w: 100, s: 100}}, v: {{w: 100, s: 100}}, w: {{s: 100}}}}
  defaults: {{{defaults}}}
"""


class Rig:
    """Programs on nodes, and what they saw."""

    def __init__(self, defaults: str = "", seed: int = 1) -> None:
        self.plan = Plan.of(parse_world(WORLD.format(defaults=defaults, seed=seed)))
        self.loop = VirtualLoop()
        self.fabric = Fabric(self.plan)
        self.network = Network(self.loop, self.fabric)
        for pop in self.plan.pops:
            self.fabric.announce(pop, True, 0.0)
        self.programs: dict[str, Program] = {}
        self.problems: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda loop, context: self.problems.append(context))

    def address(self, node: str) -> str:
        return self.plan.nodes[node].address

    def program(self, node: str) -> Program:
        if node not in self.programs:
            self.programs[node] = self.network.program(node)
        return self.programs[node]

    def on(self, node: str, main: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        return self.program(node).start(main)

    def run(self, node: str, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on a node until it is done."""
        return self.loop.run_until_complete(self.on(node, main))

    def advance(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def serve(
        self,
        node: str,
        serve: Callable[..., Coroutine[Any, Any, None]],
        port: int = 80,
        host: str = "",
    ) -> Any:
        async def main() -> Any:
            return await asyncio.start_server(serve, host or self.address(node), port)

        return self.run(node, main())


@pytest.fixture
def make_rig() -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def make(defaults: str = "", seed: int = 1) -> Rig:
        rigs.append(Rig(defaults, seed))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.loop.discard()
    assert not [problem for rig in rigs for problem in rig.problems]


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything back, until the other side has said all."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()

"""Breaking things in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from lab import configs
from lab.drivers.virtual import VirtualWorld
from lab.drivers.virtual_nodes import VirtualWorldError
from lab.load import Arrival, Sample
from lab.recovery.experiment import Strike
from wan.changes import Wish
from wan.timeline import NodeAction, Vanishing, Wishes

_OWNER = "recovery"
SETTLE_S = 3.0
_PATIENCE_S = 60.0
_LOOK_S = 0.05


class VirtualGround:
    """A world that has been started, and that nobody else uses."""

    def __init__(self, world: VirtualWorld) -> None:
        self._world = world
        self._begun = 0.0
        self._asking = 0
        self._under_way: set[asyncio.Task[Any]] = set()
        self._ended: list[Sample] = []

    @property
    def now_s(self) -> float:
        return self._world.loop.now - self._begun

    def begin(self, requests: Sequence[Arrival], timeout_s: float) -> None:
        world = self._world
        self._begun = world.loop.now
        self._asking += 1
        turn = self._asking
        planned = iter(requests)

        def ask(arrival: Arrival | None) -> None:
            if arrival is None or turn != self._asking:
                return
            follow()
            task = world.asking(arrival.visitor, arrival.url, timeout_s=timeout_s)
            self._under_way.add(task)

            def done(task: asyncio.Task[Any]) -> None:
                self._under_way.discard(task)
                if not task.cancelled() and not world.closed:
                    self._ended.append(Sample.of(arrival, task.result(), arrival.at_s))

            task.add_done_callback(done)

        def follow() -> None:
            following = next(planned, None)
            if following is not None:
                world.loop.at(self._begun + following.at_s, ask, following)

        follow()

    def wait(self, until_s: float) -> list[Sample]:
        self._world.run_for(max(0.0, until_s - self.now_s))
        return self._take()

    def _take(self) -> list[Sample]:
        ended, self._ended = self._ended, []
        return ended

    def end(self) -> list[Sample]:
        self._asking += 1

        async def over() -> None:
            while self._under_way:
                await asyncio.wait(self._under_way)

        self._world.run(over())
        return self._take()

    def strike(self, strike: Strike) -> None:
        self._do(strike, on=True)

    def mend(self, strike: Strike) -> None:
        world = self._world
        self._do(strike, on=False)
        world.run(self._until_ready())
        for site in world.plan.world.sites:
            world.apply(NodeAction(site, "kill"))
            world.apply(NodeAction(site, "start"))
        world.run(self._until_ready())
        world.run_for(SETTLE_S)

    def _do(self, strike: Strike, *, on: bool) -> None:
        world = self._world
        if strike.kind == "kill":
            for name in strike.targets:
                world.apply(NodeAction(name, "kill" if on else "start"))
        elif strike.kind == "vanish":
            for name in strike.targets:
                world.apply(Vanishing(name, on))
        else:
            a, b = strike.targets
            fields: dict[str, object] | None = {"down": True} if on else None
            world.apply(Wishes(_OWNER, (Wish(a, b, fields), Wish(b, a, fields))))

    async def _until_ready(self) -> None:
        give_up = self._world.loop.now + _PATIENCE_S
        while not self._is_ready():
            if self._world.loop.now > give_up:
                raise VirtualWorldError(f"not ready again within {_PATIENCE_S:g} s")
            await asyncio.sleep(_LOOK_S)

    def _is_ready(self) -> bool:
        pops, wanted = self.connections()
        return len(pops) >= wanted and all(node.ready for node in self._world.nodes.values())

    def connections(self) -> tuple[list[str], int]:
        world = self._world
        pops: list[str] = []
        wanted = 0
        for site in world.plan.world.sites:
            for name, (_, count) in configs.connector_names(world.plan, site).items():
                wanted += count
                connector = world.nodes[site].connectors.get(name)
                if connector is not None:
                    told = connector.supervisor.snapshot(world.loop.now)
                    pops += [one.location for one in told if one.state == "serving"]
        return pops, wanted

"""Plays a design in virtual time: for each seed and each algorithm a world of its own, alike but for the algorithm.

They have in common: when who asks for what, under which request id; when the timeline happens; and the luck of the
links, which is keyed by flow. So whatever differs between the two requests of a pair comes from the way they went.

Every world warms up first: each visitor opens its connections, and then nobody asks until the best way from every
PoP has been the same for a while. What the PoPs say to each other in that silence is the cost of probing and
flooding. The measurement begins at the same moment of all worlds of a seed unless one of them needs longer to settle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from lab import configs
from lab.drivers.virtual import VirtualWorld
from lab.drivers.virtual_run import calm
from lab.experiment.design import Ask
from lab.experiment.files import Sample
from lab.experiment.played import Played, sample_of
from lab.experiment.truth import Truth
from lab.sites import site_of
from topology.model import World
from topology.plan import Plan

WARM_UP_S = 20.0
# No new best path for this long: the tables have settled. Looked at in whole steps of the warm-up.
_STILL_S = 5.0
_LOOK_EVERY_S = 0.5
_MOST_WARM_UPS = 4
# So many at a time: when two requests of a visitor overlap, the second one finds a warm connection, too.
_CONNECTIONS = 2
_GRACE_S = 1.0
_TIMEOUT_S = 20.0
# What changes the truth about the links, or who is there.
_MOVES = frozenset(
    {
        "killed",
        "link_changed",
        "partition_changed",
        "ready",
        "returned",
        "started",
        "vanished",
    }
)


def play(
    worlds: Mapping[str, World],
    designed: Mapping[int, Sequence[Ask]],
    *,
    warm_up_s: float = WARM_UP_S,
) -> Iterator[Played]:
    """Yields one after another, so that somebody can tell how far it is. `worlds`: by the name of the algorithm."""
    for seed, asks in designed.items():
        for name, world in worlds.items():
            plan = Plan.of(msgspec.structs.replace(world, seed=seed))
            yield play_one(plan, asks, name, warm_up_s=warm_up_s)


def play_one(
    plan: Plan, asks: Sequence[Ask], algorithm: str, *, warm_up_s: float = WARM_UP_S
) -> Played:
    load = plan.world.load
    timeout_s = load.timeout if load is not None else _TIMEOUT_S
    with VirtualWorld(plan, keep_alive=True) as world:
        world.start()
        with calm():
            settled, control = _warm_up(world, asks, warm_up_s, timeout_s)
            begin = world.loop.now
            world.start_timeline()
            samples = _measure(world, asks, algorithm, timeout_s)
        return Played(
            seed=plan.seed,
            algorithm=algorithm,
            samples=samples,
            began_s=begin,
            length_s=world.loop.now - begin,
            settled=settled,
            control_bytes_per_s=control,
            event_log_sha256=world.events.sha256(),
            problems=tuple(
                f"{fact['node']}: {fact['problem']}"
                for fact in world.events.lines
                if fact["event"] == "algorithm_failed"
            ),
        )


def _warm_up(
    world: VirtualWorld, asks: Sequence[Ask], warm_up_s: float, timeout_s: float
) -> tuple[bool, float]:
    """Whether the tables settled, and the bytes a second of control traffic."""
    wanted = list(dict.fromkeys((ask.visitor, ask.url) for ask in asks))

    async def open_up() -> None:
        for visitor, url in wanted:
            await asyncio.gather(
                *(world.asking(visitor, url, timeout_s=timeout_s) for _ in range(_CONNECTIONS))
            )

    world.run(open_up())
    # All worlds of a seed go on from the same moment, however long their first requests took.
    world.run_for(max(0.0, _STILL_S - world.loop.now))
    since, sent = world.loop.now, _between_pops(world)
    ways, changed = _best_ways(world), world.loop.now
    still_s = min(_STILL_S, warm_up_s / 2)
    settled = False
    for times in range(1, _MOST_WARM_UPS + 1):
        until = since + times * warm_up_s
        while world.loop.now < until:
            world.run_for(min(_LOOK_EVERY_S, until - world.loop.now))
            if (now := _best_ways(world)) != ways:
                ways, changed = now, world.loop.now
        settled = world.loop.now - changed >= still_s
        if settled:
            break
    return settled, (_between_pops(world) - sent) / (world.loop.now - since)


def _best_ways(world: VirtualWorld) -> dict[tuple[str, str], tuple[str, ...]]:
    """(PoP, tunnel) -> the PoPs that its requests pass now."""
    found = {}
    for name, node in world.nodes.items():
        for tunnel in world.plan.world.tunnels if node.pop is not None else ():
            assert node.pop is not None
            paths = node.pop.routes(configs.tunnel_identity(world.plan, tunnel).id)
            found[name, tunnel] = paths[0].pops if paths else ()
    return found


def _between_pops(world: VirtualWorld) -> int:
    pops = set(world.plan.pops)
    return sum(link.bytes for a, b, link in world.fabric.links() if a in pops and b in pops)


class _Truths:
    """The truth as it is now, worked out again after something moved."""

    def __init__(self, world: VirtualWorld) -> None:
        self._world = world
        self._truth: Truth | None = None
        world.events.watchers.append(self._look)

    def _look(self, fact: dict[str, Any]) -> None:
        if fact["event"] in _MOVES:
            self._truth = None

    def now(self) -> Truth:
        if self._truth is None:
            world = self._world
            there = [name for name in world.plan.pops if world.nodes[name].ready]
            self._truth = Truth.of(world.plan, world.rtt_s, there)
        return self._truth

    def exits(self, site: str) -> list[str]:
        """PoPs that hold a connection from this site."""
        return [
            name
            for name, node in self._world.nodes.items()
            if node.pop is not None
            and any(connection.site == site for connection in node.pop.registry)
        ]


def _measure(
    world: VirtualWorld, asks: Sequence[Ask], algorithm: str, timeout_s: float
) -> tuple[Sample, ...]:
    begin = world.loop.now
    truths = _Truths(world)
    samples: list[Sample] = []
    under_way: set[asyncio.Task[None]] = set()

    async def one(ask: Ask) -> None:
        host = urlsplit(ask.url).hostname or ""
        site = site_of(world.plan, host)
        truth, lands = truths.now(), world.lands(ask.visitor) or ""
        best_s = None
        if site is not None and lands:
            best_s, _ = truth.best(lands, truths.exits(site), site)
        started = world.loop.now
        headers = {"x-request-id": f"{ask.seed}-{ask.pair_id}"}
        visit = await world.asking(ask.visitor, ask.url, headers=headers, timeout_s=timeout_s)
        samples.append(
            sample_of(ask, visit, algorithm, 0, started - begin, lands, site, truth, best_s)
        )

    async def main() -> None:
        for ask in asks:
            await asyncio.sleep(begin + ask.at_s - world.loop.now)
            task = asyncio.ensure_future(one(ask))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
        await asyncio.sleep(_GRACE_S)

    world.run(main())
    return tuple(sorted(samples, key=lambda sample: sample.pair_id))

"""One run of a world in virtual time: its timeline and its load, from the moment it is ready until the end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lab.drivers.virtual import Tls, VirtualWorld
from lab.load import Arrival, Sample, arrivals
from lab.load_summary import Summary, summarise
from lab.play import MOVES, converged, disturbances, seeded
from topology.happenings import Happening
from topology.plan import Plan

__all__ = ["Run", "calm", "play", "seeded"]

# After the end of the load, requests that are under way may still end.
_GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class Run:
    """`started_s` is when the world was ready: times of samples and disturbances count from there."""

    summary: Summary
    samples: tuple[Sample, ...]
    events: bytes
    event_log_sha256: str
    started_s: float
    ended_s: float


@contextlib.contextmanager
def calm() -> Iterator[None]:
    """What is there stays there: the collector of cycles need not look at a whole world again and again."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def play(
    plan: Plan,
    until_s: float,
    *,
    tls: Tls = "flights",
    happenings: tuple[Happening, ...] | None = None,
    look: Callable[[VirtualWorld], None] = lambda world: None,
) -> Run:
    """Bring the world up, let the timeline and the load happen for `until_s`, and sum up.

    `happenings` instead of the plan's own timeline; `look` at the world before it ends.
    """
    load = plan.world.load
    with VirtualWorld(plan, tls=tls, keep_alive=load is not None and load.keep_alive) as world:
        world.start()
        begin = world.loop.now
        timeline = plan.timeline if happenings is None else happenings
        world.start_timeline(timeline)
        samples: list[Sample] = []
        planned = arrivals(load, plan, until_s) if load is not None else iter(())
        timeout_s = load.timeout if load is not None else 0.0

        def ask(arrival: Arrival | None) -> None:
            if arrival is None:
                return
            following = next(planned, None)
            if following is not None:
                world.loop.at(begin + following.at_s, ask, following)
            task = world.asking(
                arrival.visitor,
                arrival.url,
                method=arrival.method,
                body=arrival.body,
                timeout_s=timeout_s,
            )

            def done(task: asyncio.Task[object]) -> None:
                if task.cancelled() or world.closed:
                    return
                sample = Sample.of(arrival, task.result(), arrival.at_s)  # type: ignore[arg-type]
                samples.append(sample)
                world.events.emit(
                    arrival.visitor,
                    "request",
                    url=sample.url,
                    status=sample.status,
                    cause=sample.cause,
                    path=sample.path,
                    bytes=sample.bytes,
                    ttfb_s=sample.first_byte_s,
                    total_s=sample.total_s,
                )

            task.add_done_callback(done)

        first = next(planned, None)
        if first is not None:
            world.loop.at(begin + first.at_s, ask, first)
        with calm():
            world.run_for(until_s)
            if load is not None:
                world.run_for(min(timeout_s, _GRACE_S))
        look(world)
        log = world.events.to_bytes()
        moves = [fact["t"] - begin for fact in world.events.lines if fact["event"] in MOVES]
        found = converged(disturbances(timeline, until_s), moves)
        facts = {"virtual_s": round(world.loop.now, 6), "ready_after_s": round(begin, 6)}
        return Run(
            summarise(samples, found, facts),
            tuple(samples),
            log,
            world.events.sha256(),
            begin,
            world.loop.now,
        )

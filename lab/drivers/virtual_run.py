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


@dataclass(frozen=True, slots=True)
class Run:
    """`started_s` is when the world was ready: times of samples and disturbances count from there.

    `interrupted_s` is when somebody asked it to end, when somebody did before its time.
    """

    summary: Summary
    samples: tuple[Sample, ...]
    events: bytes
    event_log_sha256: str
    started_s: float
    ended_s: float
    interrupted_s: float | None = None


class Course:
    """A run that is under way, for whoever watches it: how far it is, and the way to end it early.

    Both may be done from a signal handler. What is asked from elsewhere happens between two events, so what the
    run has come to by then can be summed up.
    """

    def __init__(self, world: VirtualWorld, until_s: float) -> None:
        self.until_s = until_s
        self.stopped_s: float | None = None
        self._world = world
        self._begin = world.loop.now
        self._stop = asyncio.Event()

    @property
    def now_s(self) -> float:
        return self._world.loop.now - self._begin

    def stop(self) -> None:
        if self.stopped_s is None and self.now_s < self.until_s:
            self.stopped_s = self.now_s
            self._world.loop.call_soon(self._stop.set)

    async def to_its_end(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.until_s):
                await self._stop.wait()


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
    watch: Callable[[Course], None] = lambda course: None,
) -> Run:
    """Bring the world up, let the timeline and the load happen for `until_s`, and sum up.

    What was asked is waited for, as with real packets: a request that nobody answers counts when its timeout is over.
    `happenings` instead of the plan's own timeline; `look` at the world before it ends; `watch` the course of the
    run from the moment all is ready.
    """
    load = plan.world.load
    with VirtualWorld(plan, tls=tls, keep_alive=load is not None and load.keep_alive) as world:
        world.start()
        begin = world.loop.now
        timeline = plan.timeline if happenings is None else happenings
        # Waiting for the last requests is no part of what shall happen, as with real packets (lab/play_real.py).
        timeline = tuple(one for one in timeline if one.at_s < until_s)
        world.start_timeline(timeline)
        course = Course(world, until_s)
        samples: list[Sample] = []
        under_way, more = 0, False
        all_done = asyncio.Event()
        planned = arrivals(load, plan, until_s) if load is not None else iter(())
        timeout_s = load.timeout if load is not None else 0.0

        def ask(arrival: Arrival) -> None:
            nonlocal under_way, more
            if course.stopped_s is not None:
                return
            following = next(planned, None)
            more = following is not None
            if following is not None:
                world.loop.at(begin + following.at_s, ask, following)
            task = world.asking(
                arrival.visitor,
                arrival.url,
                method=arrival.method,
                body=arrival.body,
                timeout_s=timeout_s,
            )
            under_way += 1

            def done(task: asyncio.Task[object]) -> None:
                nonlocal under_way
                under_way -= 1
                if not (under_way or more):
                    all_done.set()
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
            more = True
            world.loop.at(begin + first.at_s, ask, first)
        watch(course)
        with calm():
            world.run(course.to_its_end())
            if course.stopped_s is not None:
                until_s, more = course.stopped_s, False
            # Each request ends by its own timeout.
            if under_way or more:
                world.run(_waited(all_done))
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
            course.stopped_s,
        )


async def _waited(event: asyncio.Event) -> None:
    await event.wait()

"""One run of a world in virtual time: its timeline and its load, from the moment it is ready until the end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from lab.drivers.virtual import Tls, VirtualWorld
from lab.load import Arrival, Sample, arrivals
from lab.load_summary import Disturbance, Summary, summarise
from topology.happenings import Happening
from topology.plan import Plan

# After the end of the load, requests that are under way may still end.
_GRACE_S = 1.0
# What changes how packets or requests go: nothing of it happening means that all have found their ways.
_MOVES = frozenset(
    {
        "announced",
        "catchment_changed",
        "overlay_down",
        "overlay_up",
        "links_changed",
        "tunnel_connected",
        "tunnel_lost",
        "withdrawn",
    }
)


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


def seeded(plan: Plan, seed: int | None) -> Plan:
    """The same world with other luck."""
    if seed is None:
        return plan
    return Plan.of(msgspec.structs.replace(plan.world, seed=seed))


def what(happening: Happening) -> str:
    """One line for people, e.g. `kill LHR`."""
    kind = type(happening.what).__name__.lower()
    match msgspec.to_builtins(happening.what):
        case {"nodes": nodes}:
            return f"{kind} {' '.join(nodes)}"
        case {"links": links}:
            return f"{kind} {'-'.join(links[0])}"
        case {"changes": changes}:
            return f"set {changes[0]['source']}-{changes[0]['destination']}"
        case {"slopes": slopes}:
            return f"ramp {slopes[0]['source']}-{slopes[0]['destination']}"
        case {"groups": groups}:
            return "partition " + " | ".join(" ".join(group) for group in groups)
        case _:
            return kind


def disturbances(plan: Plan, until_s: float) -> list[tuple[float, str]]:
    """When the timeline does something, and when it takes it back."""
    found = []
    for happening in plan.timeline:
        label = what(happening)
        found.append((happening.at_s, label))
        if happening.for_s is not None:
            found.append((happening.at_s + happening.for_s, f"end of {label}"))
    return sorted((at, label) for at, label in found if at < until_s)


def play(plan: Plan, until_s: float, *, tls: Tls = "flights") -> Run:
    """Bring the world up, let the timeline and the load happen for `until_s`, and sum up."""
    load = plan.world.load
    with VirtualWorld(plan, tls=tls, keep_alive=load is not None and load.keep_alive) as world:
        world.start()
        begin = world.loop.now
        world.start_timeline()
        samples: list[Sample] = []
        planned = arrivals(load, plan, until_s) if load is not None else iter(())
        timeout_s = load.timeout if load is not None else 0.0

        def ask(arrival: Arrival | None) -> None:
            if arrival is None:
                return
            following = next(planned, None)
            if following is not None:
                world.loop.at(begin + following.at_s, ask, following)
            task = world.asking(arrival.visitor, arrival.url, timeout_s=timeout_s)

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
        log = world.events.to_bytes()
        moves = [fact["t"] - begin for fact in world.events.lines if fact["event"] in _MOVES]
        found = _converged(disturbances(plan, until_s), moves)
        facts = {"virtual_s": round(world.loop.now, 6), "ready_after_s": round(begin, 6)}
        return Run(
            summarise(samples, found, facts),
            tuple(samples),
            log,
            world.events.sha256(),
            begin,
            world.loop.now,
        )


def _converged(found: list[tuple[float, str]], moves: list[float]) -> list[Disturbance]:
    ends = [at for at, _ in found[1:]] + [float("inf")]
    result = []
    for (at, label), end in zip(found, ends, strict=False):
        mine = [move for move in moves if at <= move < end]
        result.append(Disturbance(at, label, round(max(mine, default=at), 6)))
    return result

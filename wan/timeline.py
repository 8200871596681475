"""The world's timeline: what is to be done when, as a schedule that is asked and never asks the clock.

Links, vanished nodes and partitions are the WAN's own business. Killing, pausing and starting programs is
the lab's: those come out as `NodeAction`, and the wan process tells whoever listens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple, assert_never

from topology.plan import (
    Cut,
    Flap,
    Happening,
    Kill,
    Partition,
    Pause,
    Ramp,
    SetLinks,
    Vanish,
)
from wan.changes import Wish


class Wishes(NamedTuple):
    """Links take, or no longer take, what an entry of the timeline asks of them."""

    owner: str
    wishes: tuple[Wish, ...]


class Vanishing(NamedTuple):
    node: str
    on: bool


class Partitioning(NamedTuple):
    """No groups: the partition ends."""

    groups: tuple[tuple[str, ...], ...]


class NodeAction(NamedTuple):
    """`action`: kill, start, pause or resume the programs of a node."""

    node: str
    action: str


Step = Wishes | Vanishing | Partitioning | NodeAction


class Timeline:
    """A schedule of steps. Times are those of whoever calls `start` and `due`."""

    def __init__(self, happenings: Iterable[Happening]) -> None:
        self._happenings = tuple(happenings)
        self._heap: list[tuple[float, int, Callable[[float], list[Step]]]] = []
        self._next = count().__next__
        self.started_at: float | None = None

    def __len__(self) -> int:
        return len(self._happenings)

    def start(self, now: float) -> None:
        """Entries count from here. A timeline runs once."""
        assert self.started_at is None, "a timeline is started once"
        self.started_at = now
        for number, happening in enumerate(self._happenings):
            self._schedule(number, happening, now + happening.at_s)

    @property
    def next_at(self) -> float:
        """When the next step is due; infinite when there is none."""
        return self._heap[0][0] if self._heap else math.inf

    def due(self, now: float) -> list[Step]:
        """All steps up to `now`, in their order."""
        steps: list[Step] = []
        while self._heap and self._heap[0][0] <= now:
            at, _, make = heappop(self._heap)
            steps += make(at)
        return steps

    def _at(self, at: float, make: Callable[[float], list[Step]]) -> None:
        heappush(self._heap, (at, self._next(), make))

    def _schedule(self, number: int, happening: Happening, begin: float) -> None:
        owner = f"timeline[{number}]"
        what, for_s = happening.what, happening.for_s
        end = math.inf if for_s is None else begin + for_s
        match what:
            case SetLinks():
                wishes = [Wish(c.source, c.destination, dict(c.fields)) for c in what.changes]
                self._while(begin, end, [Wishes(owner, tuple(wishes))], [_back(owner, wishes)])
            case Cut():
                wishes = [Wish(a, b, {"down": True}) for a, b in what.links]
                self._while(begin, end, [Wishes(owner, tuple(wishes))], [_back(owner, wishes)])
            case Flap():
                self._flap(owner, what, begin, end)
            case Ramp():
                self._ramp(owner, what, begin, end)
            case Kill():
                self._while(begin, end, _actions(what.nodes, "kill"), _actions(what.nodes, "start"))
            case Pause():
                self._while(
                    begin, end, _actions(what.nodes, "pause"), _actions(what.nodes, "resume")
                )
            case Vanish():
                on: list[Step] = [Vanishing(name, True) for name in what.nodes]
                self._while(begin, end, on, [Vanishing(name, False) for name in what.nodes])
            case Partition():
                self._while(begin, end, [Partitioning(what.groups)], [Partitioning(())])
            case _:
                assert_never(what)

    def _while(self, begin: float, end: float, on: list[Step], off: list[Step]) -> None:
        self._at(begin, lambda _: on)
        if end < math.inf:
            self._at(end, lambda _: off)

    def _flap(self, owner: str, flap: Flap, begin: float, end: float) -> None:
        """Down for the first part of every period. Each time is made when the one before is due."""
        down = tuple(Wish(a, b, {"down": True}) for a, b in flap.links)
        up = _back(owner, down)

        def period(ordinal: int) -> None:
            start = begin + ordinal * flap.period_s
            if start < end:
                self._at(start, lambda _: [Wishes(owner, down)])
                self._at(min(start + flap.down_s, end), lambda _: again(ordinal))

        def again(ordinal: int) -> list[Step]:
            period(ordinal + 1)
            return [up]

        period(0)

    def _ramp(self, owner: str, ramp: Ramp, begin: float, end: float) -> None:
        """From start to end in steps; without an end there is no slope, and the last value holds at once."""
        length = end - begin
        last = 0 if math.isinf(length) else math.ceil(length / ramp.step_s) - 1

        def step(ordinal: int) -> list[Step]:
            if ordinal < last:
                self._at(begin + (ordinal + 1) * ramp.step_s, lambda _: step(ordinal + 1))
            share = ordinal / last if last > 0 else 1.0
            wishes = tuple(
                Wish(s.source, s.destination, {s.field: s.start + share * (s.end - s.start)})
                for s in ramp.slopes
            )
            return [Wishes(owner, wishes)]

        self._at(begin, lambda _: step(0))
        if end < math.inf:
            directions = [Wish(s.source, s.destination, None) for s in ramp.slopes]
            self._at(end, lambda _: [_back(owner, directions)])


def _back(owner: str, wishes: Iterable[Wish]) -> Wishes:
    """Take back whatever was asked of these directions, each once."""
    directions = dict.fromkeys((wish.source, wish.destination) for wish in wishes)
    return Wishes(owner, tuple(Wish(a, b, None) for a, b in directions))


def _actions(nodes: Iterable[str], action: str) -> list[Step]:
    return [NodeAction(name, action) for name in nodes]

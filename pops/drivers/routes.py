"""The routing tables of a PoP, and when they are worked out anew.

News comes in handfuls: a table is computed a tenth of a second after the first of them, and not for each; in a large
overlay, where a computation is dear and news never ends, there is a pause between two of them as well. A death is
different: dead paths leave every table at once, and the rest follows in the same turn unless there was one just now.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise

from pops.config import PopConfig
from pops.core.places import destinations
from pops.drivers.algorithm import AlgorithmRunner, Guard, chosen
from routing.api import Exit, Outcome, Path
from routing.catalogue import algorithm
from routing.damping import Damping
from routing.lsdb import Lsdb
from routing.table import RouteChange, RouteTable
from runtime.clock import Clock
from runtime.events import EventLog
from wire.overlay import LONGEST_PATH

# Of pause between two computations, for each PoP: a second with a hundred.
_PAUSE_S = 0.01


class Routes:
    """`table` is the one in force; those in `beside` are computed on the same knowledge, for requests that ask."""

    def __init__(
        self,
        config: PopConfig,
        lsdb: Lsdb,
        *,
        events: EventLog,
        clock: Clock,
        guard: Guard | None = None,
    ) -> None:
        routing = config.routing
        damping = Damping(
            min_gain_pct=routing.damping.min_gain_pct,
            min_gain_s=routing.damping.min_gain,
            hold_s=routing.damping.hold,
            max_moved_pct=routing.damping.max_moved_pct,
            interval_s=routing.damping.interval,
        )
        relays = min(routing.hop_limit - 1, LONGEST_PATH - 2)
        self.table = RouteTable(
            config.name,
            chosen(config, guard),
            routing.params,
            max_relays=relays,
            rng=random.Random(f"{config.seed}/{config.name}/routing"),
            damping=damping,
        )
        self.runner = AlgorithmRunner(
            config, self.table, done=self._told, events=events, clock=clock, guard=guard
        )
        self.beside: Mapping[str, RouteTable] = {
            name: RouteTable(
                config.name,
                algorithm(name),
                {},
                max_relays=relays,
                rng=random.Random(f"{config.seed}/{config.name}/routing/{name}"),
                damping=damping,
            )
            for name in routing.beside
        }
        self.tables = [self.table, *self.beside.values()]
        self.wants_outcomes = any(table.algorithm.learns for table in self.tables)
        self.recomputations = 0
        self.seconds = 0.0  # of CPU, in all recomputations
        self.changed_at = clock()  # what is known has changed
        self._lsdb = lsdb
        self._wait_s = routing.flooding.recompute
        self._events = events
        self._clock = clock
        self._names = destinations(config)
        self._live: set[tuple[str, str]] = set()
        self.exits: Mapping[str, Sequence[Exit]] = {}  # tunnel -> as all PoPs told of them
        self._begun = False
        self._timer: asyncio.Handle | None = None
        self._due = float("inf")  # for when it is set
        self._waker: asyncio.TimerHandle | None = None
        self._computed_at = float("-inf")

    # What the data path asks

    def to(self, tunnel: str, name: str = "") -> tuple[Path, ...]:
        return (self.beside[name] if name else self.table).routes(tunnel)

    def outcome(self, outcome: Outcome, name: str) -> None:
        table = self.beside[name] if name else self.table
        if table.algorithm.learns:
            table.outcome(outcome)
            if self._waker is None:
                self._wake()

    def broken(self, path: tuple[str, ...]) -> tuple[str, str] | None:
        """The first link of a path that is not alive."""
        return next((link for link in pairwise(path) if link not in self._live), None)

    # What is known

    @property
    def settled(self) -> bool:
        """All that is known has been reckoned with."""
        return self._begun and self._timer is None

    def begin(self) -> None:
        """From now on there are routes. Until then news would be reckoned with for nobody."""
        self._begun = True
        self._compute()

    def changed(self, urgent: bool) -> None:
        self.changed_at = now = self._clock()
        self.runner.start()
        if not self._begun:
            return
        if urgent:
            self._feed(now)
            due = max(now, self._computed_at + self._wait_s)
        else:
            due = max(now + self._wait_s, self._computed_at + _PAUSE_S * len(self._lsdb))
        if self._timer is None or due < self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._due = due
            loop = asyncio.get_running_loop()
            if due > now:
                self._timer = loop.call_later(due - now, self._compute)
            else:
                self._timer = loop.call_soon(self._compute)

    def _feed(self, now: float) -> None:
        links, loads, exits = self._lsdb.links(now), self._lsdb.loads(now), self._lsdb.exits()
        self.exits = exits
        self._live = {(link.source, link.destination) for link in links}
        for table in self.tables:
            table.set_links(links)
            table.set_loads(loads)
            table.set_exits(exits)

    def _compute(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._computed_at = self._clock()
        begun = time.perf_counter()
        self._feed(now)
        if not self.exits and not self.table.snapshot(now).routes:
            return  # nobody can go anywhere yet
        self.runner.run(now)
        for table in self.beside.values():
            table.recompute(now)
        self.recomputations += 1
        self.seconds += time.perf_counter() - begun

    def _told(self, changes: list[RouteChange]) -> None:
        """The table in force has been computed anew."""
        for change in changes:
            self._events.emit(
                "route_changed",
                tunnel=self._names.get(change.tunnel, change.tunnel),
                old=_named(change.old),
                new=_named(change.new),
                connection=None if change.new is None else change.new.connection,
                reason=change.reason,
            )
        self._wake()

    def _wake(self) -> None:
        """Ask to be called when time alone may change a route, as when a hold ends."""
        times = [table.wake_at for table in self.tables if table.wake_at is not None]
        if times and self._timer is None and self._begun:
            after = max(min(times) - self._clock(), self._wait_s)
            if self._waker is not None:
                self._waker.cancel()
            self._waker = asyncio.get_running_loop().call_later(after, self._woken)

    def _woken(self) -> None:
        self._waker = None
        if self._begun and self._timer is None:
            self._compute()

    def stop(self) -> None:
        self._begun = False
        self.runner.stop()
        if self._waker is not None:
            self._waker.cancel()
            self._waker = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _named(path: Path | None) -> list[str] | None:
    return None if path is None else [*path.pops]

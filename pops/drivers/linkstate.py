"""What this PoP knows of the overlay, and how it comes to know it: probes and LSAs, between the mesh and the database.

core/probing   measures the links to neighbours         <  drivers/probes, on the control connections
routing/lsdb   holds the newest words of every PoP      <  drivers/flooding, on the same ones

A neighbour is advertised while both connections to it are up and its RTT has been measured. Nothing is said before
`begin`: the first words of a PoP name all of its neighbours that are there, and not one after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import exp

from pops.config import Routing
from pops.core.probing import Prober
from pops.drivers.flooding import Flooding
from pops.drivers.overlay import OverlayMesh
from pops.drivers.probes import Probes
from pops.drivers.records import PATH as RECORDS_PATH
from pops.drivers.records import RecordBook
from routing.lsa import LsaExit, LsaLink
from routing.lsdb import Lsdb
from runtime.clock import Clock
from runtime.events import EventLog
from runtime.http2 import Http2Connection

# What is told of the load is its mean over about so long: requests come and go by the tenth of a second.
_LOAD_S = 2.0


class LinkState:
    """The watch of an OverlayMesh. `exits()` and `load()` say what holds here; `on_change(urgent)` is called when
    routes must be worked out anew, `on_moved(connection, pop)` when a tunnel connection of ours turned up elsewhere."""

    def __init__(
        self,
        me: str,
        routing: Routing,
        lsdb: Lsdb,
        prober: Prober,
        *,
        exits: Callable[[], tuple[LsaExit, ...]],
        load: Callable[[], float],
        on_change: Callable[[bool], None],
        on_moved: Callable[[str, str], None],
        events: EventLog,
        clock: Clock,
    ) -> None:
        self.me = me
        self.lsdb = lsdb
        self.overlay: OverlayMesh
        self.records: RecordBook | None = None
        self.probes = Probes(prober, on_measured=self._measured, on_dead=self._dead, clock=clock)
        self.flooding = Flooding(
            me,
            lsdb,
            hold_s=routing.flooding.hold,
            compare_s=routing.flooding.compare,
            on_news=self._learnt,
            events=events,
            clock=clock,
        )
        self.deaths = 0
        self._exits = exits
        self._load = load
        self._on_change = on_change
        self._on_moved = on_moved
        self._events = events
        self._clock = clock
        self._begun = False
        self._due = False
        self._smooth_load = 0.0
        self._load_at = clock()
        self._progress = asyncio.Event()

    # What the mesh tells (drivers.overlay.Watch)

    def control_up(self, neighbor: str, control: Http2Connection) -> None:
        self.probes.up(neighbor, control)
        self.flooding.up(neighbor, control)
        if self.records is not None:
            self.records.up(neighbor, control)

    def control_down(self, neighbor: str) -> None:
        self.probes.down(neighbor)
        self.flooding.down(neighbor)
        if self.records is not None:
            self.records.down(neighbor)
        self.flooding.compare_with_somebody(neighbor)

    def answered(self, neighbor: str, payload: bytes) -> None:
        self.probes.answered(neighbor, payload)
        # As good a moment as any to look at the load, and there is one every now and then.
        if (self._smooth_load or self._load()) and self.lsdb.load_differs(
            self._loaded(self._clock())
        ):
            self.touch()

    def changed(self, neighbor: str) -> None:
        self.touch()

    def posted(self, sender: str, path: bytes, body: bytes) -> tuple[int, bytes]:
        if path == RECORDS_PATH:
            return (404 if self.records is None else self.records.posted(sender, body)), b""
        return self.flooding.posted(sender, path, body)

    # What is true here

    def touch(self) -> None:
        """Something here that others may have to know. Looked at once per turn of the loop, however much it was."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._say)

    def _say(self) -> None:
        self._due = False
        self._progress.set()
        if not self._begun:
            return
        now = self._clock()
        links = [
            link
            for name, neighbor in self.overlay.neighbors.items()
            if neighbor.up and (link := self.link(name)) is not None
        ]
        self.lsdb.set_local(links, self._exits(), self._loaded(now), now)
        timed = self.flooding.look()
        if timed.own is not None:
            self._on_change(timed.urgent)

    def link(self, neighbor: str) -> LsaLink | None:
        """The link to a neighbour as it has been measured."""
        found = self.probes.prober.measurement(neighbor)
        if found is None:
            return None
        return LsaLink(
            neighbor,
            round(found.rtt_s * 1e6),
            round(found.jitter_s * 1e6),
            round(found.loss, 4),
            found.samples,
            max(0, round((self._clock() - found.sampled_at) * 1e3)),
        )

    def _loaded(self, now: float) -> float:
        load = self._load()
        if load or self._smooth_load:
            weight = 1 - exp((self._load_at - now) / _LOAD_S)
            self._smooth_load = round(load + (1 - weight) * (self._smooth_load - load), 3)
        self._load_at = now
        return self._smooth_load

    def _measured(self, neighbor: str, first: bool) -> None:
        if first:
            self.touch()
            return
        link = self.link(neighbor)
        if link is not None and self.lsdb.link_differs(link):
            self.touch()

    def _dead(self, neighbor: str, silent_s: float) -> None:
        self.deaths += 1
        self.overlay.neighbors[neighbor].give_up(f"no answer for {silent_s:.1f} s")

    def _learnt(self, moved: list[tuple[str, str]], urgent: bool, changed: bool) -> None:
        self._progress.set()
        for name, pop in moved:
            self._on_moved(name, pop)
        if changed:
            self._on_change(urgent)

    # Beginning and end

    async def measured(self) -> None:
        """Every neighbour is up, measured, and has told what it knows; or it could not be reached."""
        while not all(
            self.flooding.synced(name) and self.probes.prober.measured(name)
            if neighbor.up
            else neighbor.tried and not neighbor.connections
            for name, neighbor in self.overlay.neighbors.items()
        ):
            self._progress.clear()
            await self._progress.wait()

    def begin(self) -> None:
        """Say what is known, complete or not."""
        self._begun = True
        self.touch()

    async def agreed(self) -> None:
        """Our words are out, and every neighbour that is up has said that it reaches us."""
        while not (
            self.lsdb.own is not None
            and self.flooding.quiet
            and all(
                self.me in (link.to for link in lsa.links)
                for name in self.overlay.up()
                if (lsa := self.lsdb.get(name)) is not None
            )
        ):
            self._progress.clear()
            await self._progress.wait()

    async def withdraw(self) -> None:
        """Tell the others that we leave, and wait until those next to us know."""
        if self._begun:
            self._begun = False
            self.flooding.say(self.lsdb.withdraw(self._clock()))
            while not self.flooding.quiet:
                self._progress.clear()
                await self._progress.wait()

    def stop(self) -> None:
        self._begun = False
        self.probes.stop()
        self.flooding.stop()

"""Who holds which tunnel connection, and which PoPs are there: the newest word of each of them.

Every PoP advertises its live neighbours and its tunnel connections, with a sequence number, on
every change; advertisements are flooded, the newest of each origin wins. A PoP counts only while
there is a live way to it, so the death of a PoP needs no message from it: its neighbours stop
listing it. This is the small forerunner of a link-state database, with declared RTTs.

A PoP that restarts begins at 1 again and may meet its own former words; it then jumps over them
(as OSPF does, RFC 2328 section 13.4), so no clock is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from routing.api import Exit
from wire.advert import AdvertisedExit, Advertisement


class News(NamedTuple):
    """What was learnt: advertisements to pass on, and names of connections of ours that another PoP
    holds now (with that PoP)."""

    adverts: list[Advertisement]
    moved: list[tuple[str, str]]


class Directory:
    def __init__(self, me: str) -> None:
        self.me = me
        self._seq = 0
        self._known: dict[str, Advertisement] = {}

    @property
    def own(self) -> Advertisement | None:
        return self._known.get(self.me)

    def set_local(
        self, up: Iterable[str], exits: tuple[AdvertisedExit, ...]
    ) -> Advertisement | None:
        """What is true here now. Returns the advertisement to flood, None when nothing changed."""
        neighbors = tuple(sorted(up))
        old = self.own
        if old is not None and (old.up, old.exits) == (neighbors, exits):
            return None
        return self._advertise(neighbors, exits)

    def _advertise(self, up: tuple[str, ...], exits: tuple[AdvertisedExit, ...]) -> Advertisement:
        self._seq += 1
        advert = Advertisement(self.me, self._seq, up, exits)
        self._known[self.me] = advert
        return advert

    def receive(self, adverts: Iterable[Advertisement]) -> News:
        """Take what a neighbour said."""
        news: list[Advertisement] = []
        moved: list[tuple[str, str]] = []
        for advert in adverts:
            if advert.origin == self.me:
                own = self.own
                if advert.seq >= self._seq and advert != own:
                    self._seq = advert.seq
                    news.append(self._advertise(own.up if own else (), own.exits if own else ()))
                continue
            known = self._known.get(advert.origin)
            if known is None or advert.seq > known.seq:
                self._known[advert.origin] = advert
                news.append(advert)
                if known is not None:
                    moved += [(name, advert.origin) for name in self._moved(known, advert)]
        return News(news, moved)

    def _moved(self, before: Advertisement, advert: Advertisement) -> list[str]:
        """Connections of ours that appear at another PoP: the connector lost us and dialled again.

        When anycast moves under a live connection its packets stop coming here, and nothing tells us so
        before a ping goes unanswered for too long. Only what is new in `advert` counts: after a
        partition heals nobody can say which of two claims is the older one.
        """
        own = self.own
        if own is None or not own.exits:
            return []
        new = {e.connection for e in advert.exits} - {e.connection for e in before.exits}
        return sorted(new & {e.connection for e in own.exits})

    def everything(self) -> list[Advertisement]:
        """For a neighbour that has just been reached, in a fixed order."""
        return [self._known[origin] for origin in sorted(self._known)]

    def reachable(self) -> tuple[str, ...]:
        """The PoPs with a live way from here, this one first, nearest in hops first."""
        found = [self.me]
        seen = {self.me}
        for pop in found:
            advert = self._known.get(pop)
            for neighbor in advert.up if advert is not None else ():
                if neighbor not in seen:
                    seen.add(neighbor)
                    found.append(neighbor)
        return tuple(found)

    def live_links(self, declared: Mapping[tuple[str, str], float]) -> list[tuple[str, str, float]]:
        """The directed links that are declared and alive. `declared`: RTT by pair, both orders."""
        links = []
        for pop in self.reachable():
            advert = self._known.get(pop)
            for neighbor in advert.up if advert is not None else ():
                rtt_s = declared.get((pop, neighbor))
                if rtt_s is not None:
                    links.append((pop, neighbor, rtt_s))
        return links

    def exits(self) -> dict[str, list[Exit]]:
        """Tunnel -> where it can be left, over all PoPs that can be reached."""
        found: dict[str, list[Exit]] = {}
        for pop in sorted(self.reachable()):
            advert = self._known.get(pop)
            for leave in advert.exits if advert is not None else ():
                found.setdefault(leave.tunnel, []).append(
                    Exit(
                        pop, leave.connection, leave.rtt_us / 1e6, float(leave.load), leave.draining
                    )
                )
        return found

"""The link-state database of one PoP: the newest LSA of every PoP, and when to say something oneself.

After OSPF (RFC 2328 sections 13 and 14) and IS-IS, cut down to a mesh of a few hundred PoPs that speak over TCP:

newest wins      by (sequence number, checksum); an LSA whose age has run out counts no more and is forgotten
originating      at most once in `min_interval_s`, but at once when something died; again after `refresh_s` when
                 nothing happened. Small changes of what was measured wait for that
restart          a PoP that begins at 1 again meets its own former words, and continues above them (section 13.4)
passing on       only to neighbours that neither the sender nor the origin reaches itself: in a full mesh an LSA costs
                 N - 1 messages and not N^2. What is lost by that, when a link dies at the wrong moment, is repaired by
                 comparing digests: on every new connection, after every death, and now and then
two ways         a link counts while both its ends list it (section 16.1 step 2b), so whoever notices a death first
                 spares the other the wait; a PoP counts while there is a live way to it

Pure: time comes in, LSAs go out. Times are seconds, by the clock of this PoP alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import msgspec

from routing.api import Exit, MeasuredLink
from routing.lsa import HIGHEST_SEQ, Answer, Digest, Lsa, LsaExit, LsaLink, Version, version
from routing.news import is_news, link_is_news, load_is_news, tells_of_death

# What the ages of links may lag behind: in a storm of news the same links are asked for time and again.
_AGES_S = 1.0
# What a PoP that restarts may find that it once said, at one a second for half a year. A liar who says more would
# silence another for good: nothing may follow the highest number.
LONGEST_JUMP = 2**24


@dataclass(frozen=True, slots=True)
class Timing:
    min_interval_s: float = 1.0
    refresh_s: float = 30.0
    max_age_s: float = 100.0


class News(NamedTuple):
    """What was learnt. `fresh`: LSAs to pass on. `urgent`: one of them tells of a death. `moved`: connections of ours
    that another PoP holds now, with that PoP. `changed`: what routes are computed from is different."""

    fresh: list[Lsa]
    urgent: bool
    moved: list[tuple[str, str]]
    changed: bool


class Timed(NamedTuple):
    """What time has brought. `own`: to be told to everybody; `urgent`: it tells of a death. `expired`: words of others
    that count no more."""

    own: Lsa | None
    urgent: bool
    expired: list[str]


class _Entry:
    __slots__ = ("born", "links", "links_at", "lsa", "reaches", "version")

    def __init__(self, lsa: Lsa, born: float, which: Version) -> None:
        self.lsa = lsa
        self.born = born  # on our clock, were all its age spent here
        self.version = which
        self.reaches = frozenset(link.to for link in lsa.links)
        self.links: list[MeasuredLink] = []
        self.links_at = -inf

    def measured(self, now: float) -> list[MeasuredLink]:
        if now - self.links_at >= _AGES_S:
            origin, age_s = self.lsa.origin, max(0.0, now - self.born)
            self.links_at = now
            self.links = [
                MeasuredLink(
                    origin,
                    link.to,
                    link.rtt_us / 1e6,
                    link.jitter_us / 1e6,
                    link.loss,
                    link.samples,
                    age_s + link.age_ms / 1e3,
                )
                for link in self.lsa.links
            ]
        return self.links


def _same(one: Lsa, other: Lsa) -> bool:
    """All that their versions are made of."""
    return (
        one.links == other.links
        and one.exits == other.exits
        and one.load == other.load
        and one.withdrawn == other.withdrawn
    )


@dataclass(frozen=True, slots=True)
class LsaSnapshot:
    """One LSA as it stands here. `usable`: links that both ends list. `reachable`: there is a live way to its PoP."""

    lsa: Lsa
    age_s: float
    reachable: bool
    usable: tuple[str, ...]

    def __str__(self) -> str:
        lsa = self.lsa
        state = "withdrawn" if lsa.withdrawn else "" if self.reachable else "unreachable"
        what = f"{len(lsa.links)} links, {len(lsa.exits)} exits, load {lsa.load:g}"
        return f"{lsa.origin} #{lsa.seq} {self.age_s:.1f} s old: {what} {state}".rstrip()


@dataclass(frozen=True, slots=True)
class LsdbSnapshot:
    me: str
    lsas: tuple[LsaSnapshot, ...]

    def __str__(self) -> str:
        return "\n".join(str(one) for one in self.lsas) or f"{self.me}: nothing is known"


class Lsdb:
    """`members`: whose words count; None: everybody's. Whoever changes anything looks at `next_at` afterwards."""

    def __init__(
        self,
        me: str,
        *,
        rng: random.Random,
        timing: Timing | None = None,
        members: Iterable[str] | None = None,
    ) -> None:
        self.me = me
        self.timing = timing or Timing()
        self._members = None if members is None else frozenset(members) | {me}
        self._rng = rng
        self._known: dict[str, _Entry] = {}
        self._seq = 0
        self._local: Lsa | None = None  # what is true here now, whatever was told
        self._told_at = -inf
        self._due = inf
        self._expiry = inf
        self._reachable: tuple[str, ...] | None = None

    # What is true here

    @property
    def own(self) -> Lsa | None:
        """What was last told."""
        entry = self._known.get(self.me)
        return None if entry is None else entry.lsa

    @property
    def next_at(self) -> float:
        """When `handle_timer` has something to do."""
        return min(self._due, self._expiry)

    def set_local(
        self, links: Iterable[LsaLink], exits: Iterable[LsaExit], load: float, now: float
    ) -> None:
        """What is true here now. It is told when it is due, which may be now: see `next_at`."""
        links = tuple(sorted(links, key=lambda link: link.to))
        self._local = Lsa(
            self.me, max(1, self._seq), load=float(load), links=links, exits=tuple(exits)
        )
        own = self.own
        if own is None or tells_of_death(own, self._local):
            due = now
        elif is_news(own, self._local):
            due = max(now, self._told_at + self.timing.min_interval_s)
        else:
            return
        self._due = min(self._due, due)

    def load_differs(self, load: float) -> bool:
        """Whether it is worth calling `set_local` for this load."""
        entry = self._known.get(self.me)
        return entry is None or load_is_news(entry.lsa.load, load)

    def link_differs(self, link: LsaLink) -> bool:
        """Whether it is worth calling `set_local` for this link."""
        entry = self._known.get(self.me)
        told = entry.lsa.links if entry is not None else ()
        return all(one.to != link.to or link_is_news(one, link) for one in told)

    def handle_timer(self, now: float) -> Timed:
        own, urgent = None, False
        if self._due <= now and self._local is not None:
            before = self.own
            own = self._originate(self._local, now)
            urgent = before is not None and tells_of_death(before, own)
        expired = self._expire(now) if self._expiry <= now else []
        return Timed(own, urgent, expired)

    def withdraw(self, now: float) -> Lsa:
        """This PoP leaves: the last that is to be told."""
        leaving = Lsa(self.me, 1, withdrawn=True)
        own = self._originate(leaving, now)
        self._local, self._due = None, inf
        return own

    def _originate(self, what: Lsa, now: float) -> Lsa:
        self._seq += 1
        lsa = msgspec.structs.replace(what, seq=self._seq, age_ms=0)
        self._known[self.me] = _Entry(lsa, now, version(lsa))
        self._told_at = now
        self._reachable = None
        # Not all in the same second for ever after, because they were all started in the same one.
        self._due = now + self.timing.refresh_s * self._rng.uniform(0.9, 1.0)
        return lsa

    # What others say

    def receive(self, lsas: Iterable[Lsa], now: float) -> News:
        fresh: list[Lsa] = []
        moved: list[tuple[str, str]] = []
        urgent = changed = False
        max_age_ms = self.timing.max_age_s * 1e3
        for lsa in lsas:
            if lsa.origin == self.me:
                self._meet_former_self(lsa, now)
                continue
            if self._members is not None and lsa.origin not in self._members:
                continue
            known = self._known.get(lsa.origin)
            if lsa.age_ms >= max_age_ms or (known is not None and lsa.seq < known.version.seq):
                continue
            if known is not None and lsa.seq - known.version.seq > LONGEST_JUMP:
                continue
            # Most words come several times: equal ones are told apart from others without a checksum.
            if known is not None and lsa.seq == known.version.seq and _same(lsa, known.lsa):
                continue
            which = version(lsa)
            if known is not None and which <= known.version:
                continue
            born = now - lsa.age_ms / 1e3
            entry = self._known[lsa.origin] = _Entry(lsa, born, which)
            self._expiry = min(self._expiry, born + self.timing.max_age_s)
            fresh.append(lsa)
            if known is None:
                changed = True
            else:
                moved += [(name, lsa.origin) for name in self._moved(known.lsa, lsa)]
                urgent = urgent or tells_of_death(known.lsa, lsa)
                changed = changed or which.checksum != known.version.checksum
            if known is None or known.reaches != entry.reaches:
                self._reachable = None
        return News(fresh, urgent, moved, changed)

    def _meet_former_self(self, lsa: Lsa, now: float) -> None:
        own = self._known.get(self.me)
        if lsa.seq >= HIGHEST_SEQ or not 0 <= lsa.seq - self._seq <= LONGEST_JUMP:
            return
        if own is not None and version(lsa) == own.version:
            return
        self._seq = lsa.seq
        if self._local is not None:
            self._due = min(self._due, max(now, self._told_at + self.timing.min_interval_s))
        elif own is not None:
            # We have left, and somebody still believes what we said before.
            self._local, self._due = own.lsa, now

    def _moved(self, before: Lsa, lsa: Lsa) -> list[str]:
        """Connections of ours that appear at another PoP: the connector lost us and dialled again.

        When anycast moves under a live connection its packets stop coming here, and nothing tells us so
        before a ping goes unanswered for too long. Only what is new in `lsa` counts: after a
        partition heals nobody can say which of two claims is the older one.
        """
        own = self._local or self.own
        if own is None or not own.exits:
            return []
        new = {leave.connection for leave in lsa.exits} - {e.connection for e in before.exits}
        return sorted(new & {leave.connection for leave in own.exits})

    def _expire(self, now: float) -> list[str]:
        oldest = now - self.timing.max_age_s
        expired = sorted(
            origin
            for origin, entry in self._known.items()
            if entry.born <= oldest and origin != self.me
        )
        for origin in expired:
            del self._known[origin]
        if expired:
            self._reachable = None
        others = [entry.born for origin, entry in self._known.items() if origin != self.me]
        self._expiry = min(others, default=inf) + self.timing.max_age_s
        return expired

    # Flooding and repair

    def beyond(self, lsa: Lsa, sender: str, neighbors: Sequence[str]) -> list[str]:
        """Those of our neighbours to whom we must pass on what `sender` told us."""
        told = {sender, lsa.origin}
        for name in (sender, lsa.origin):
            entry = self._known.get(name)
            if entry is not None:
                told |= entry.reaches
        return [name for name in neighbors if name not in told]

    def aged(self, lsas: Iterable[Lsa], now: float) -> list[Lsa]:
        """The same LSAs, or newer ones of their origins, with the age they have now."""
        found = []
        for lsa in lsas:
            entry = self._known.get(lsa.origin)
            if entry is not None:
                age_ms = max(0, round((now - entry.born) * 1e3))
                found.append(msgspec.structs.replace(entry.lsa, age_ms=age_ms))
        return found

    def digest(self) -> Digest:
        return {origin: self._known[origin].version for origin in sorted(self._known)}

    def answer(self, theirs: Digest, now: float) -> Answer:
        """To a digest of somebody else."""
        newer = [
            entry.lsa
            for origin, entry in sorted(self._known.items())
            if origin not in theirs or entry.version > theirs[origin]
        ]
        wanted = [
            origin
            for origin, which in sorted(theirs.items())
            if (self._members is None or origin in self._members)
            and (origin not in self._known or which > self._known[origin].version)
        ]
        return Answer(tuple(self.aged(newer, now)), tuple(wanted))

    def selected(self, origins: Iterable[str], now: float) -> list[Lsa]:
        """What we have of these, as somebody wants it."""
        return self.aged([self._known[one].lsa for one in origins if one in self._known], now)

    # What follows

    def __len__(self) -> int:
        """How many PoPs have spoken."""
        return len(self._known)

    def get(self, origin: str) -> Lsa | None:
        entry = self._known.get(origin)
        return None if entry is None else entry.lsa

    def _both_ways(self, here: str, there: str) -> bool:
        other = self._known.get(there)
        return other is not None and here in other.reaches

    def reachable(self) -> tuple[str, ...]:
        """The PoPs with a live way from here, this one first, nearest in hops first."""
        if self._reachable is None:
            found = [self.me]
            seen = {self.me}
            for pop in found:
                entry = self._known.get(pop)
                for link in entry.lsa.links if entry is not None else ():
                    if link.to not in seen and self._both_ways(pop, link.to):
                        seen.add(link.to)
                        found.append(link.to)
            self._reachable = tuple(found)
        return self._reachable

    def links(self, now: float) -> list[MeasuredLink]:
        """Every directed link that is alive and can be reached."""
        known = self._known
        found = []
        for pop in self.reachable():
            entry = known.get(pop)
            if entry is not None:
                found += [
                    link
                    for link in entry.measured(now)
                    if (other := known.get(link.destination)) is not None and pop in other.reaches
                ]
        return found

    def exits(self) -> dict[str, list[Exit]]:
        """Tunnel -> where it can be left, over all PoPs that can be reached."""
        found: dict[str, list[Exit]] = {}
        for pop in sorted(self.reachable()):
            entry = self._known.get(pop)
            for leave in entry.lsa.exits if entry is not None else ():
                found.setdefault(leave.tunnel, []).append(
                    Exit(
                        pop,
                        leave.connection,
                        leave.rtt_us / 1e6,
                        leave.load,
                        leave.draining,
                        leave.up,
                        leave.check_us / 1e6,
                    )
                )
        return found

    def loads(self, now: float) -> dict[str, tuple[float, float]]:
        """PoP -> its load, and the age of that word."""
        return {
            pop: (entry.lsa.load, max(0.0, now - entry.born))
            for pop in self.reachable()
            if (entry := self._known.get(pop)) is not None
        }

    def ages(self, now: float) -> dict[str, float]:
        return {origin: max(0.0, now - self._known[origin].born) for origin in sorted(self._known)}

    def snapshot(self, now: float) -> LsdbSnapshot:
        reachable = set(self.reachable())
        return LsdbSnapshot(
            self.me,
            tuple(
                LsaSnapshot(
                    entry.lsa,
                    max(0.0, now - entry.born),
                    origin in reachable,
                    tuple(to for to in sorted(entry.reaches) if self._both_ways(origin, to)),
                )
                for origin, entry in sorted(self._known.items())
            ),
        )

"""What becomes of an IP packet that a node sends: the fabric says where to, the links when, ICMP why not.

`submit` is called for every packet, and puts what is to happen later into a heap of `(time, sequence number,
target, packet)`: the target is a Path when the packet is to be written to the node at its end, else something
with a method `due`. The sequence number keeps the order of packets that are due at the same time.

A packet passes two routers, the one of its sender's end and the one of its receiver's: TTL falls by two,
traceroute shows both, and a private node's router is the last hop that a stranger sees.
"""

from __future__ import annotations

from heapq import heappush
from itertools import count
from typing import Protocol

from wan.fabric import Fabric
from wan.link import Link
from wan.packet import (
    Header,
    Packet,
    echo_reply,
    forward,
    fragments,
    glance,
    hops_left,
    parse,
    time_exceeded,
    too_big,
    unreachable,
)
from wan.ways import Door, Flow, Path, Refusal

HOPS = 2
# Packets on their way, of all links together: some 150 MB. More is not a network but a leak.
MOST_PENDING = 100_000


class Stage(Protocol):
    """Something else than a delivery that happens to a packet on its way."""

    def due(self, at: float, packet: Packet) -> None: ...


Pending = list[tuple[float, int, "Path | Stage", Packet]]


class _Arrival:
    """A packet reaches the access line of its receiver: what is queued there only then can be known."""

    __slots__ = ("_down", "_flow", "_path", "_router")

    def __init__(self, router: Router, flow: Flow, path: Path, down: Link) -> None:
        self._router = router
        self._flow = flow
        self._path = path
        self._down = down

    def due(self, at: float, packet: Packet) -> None:
        self._router.descend(self._flow, self._path, self._down, packet, at)


class _Bounce:
    """A packet reaches the router of the far end, which answers it (too many hops, a ping)."""

    __slots__ = ("_answer", "_path", "_router")

    def __init__(self, router: Router, path: Path, answer: bytes | None) -> None:
        self._router = router
        self._path = path
        self._answer = answer

    def due(self, at: float, packet: Packet) -> None:
        self._path.link.delivered += 1
        if self._answer is not None:
            self._router.originate(self._path.destination, self._answer, at)


class Router:
    """Judges packets. `pending` is shared with the carrier, which takes from it what is due."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.pending: Pending = []
        self._next = count().__next__

    def submit(self, door: Door, packet: bytes, now: float) -> None:
        """A node sends a packet. Whatever is counted or drawn for it at its own end happens here."""
        key = glance(packet)
        if key is None:
            self._read(door, packet, now)
            return
        flow = door.flows.get(key)
        if flow is None:
            self._read(door, packet, now)
            return
        path = flow.path
        size = len(packet)
        if size > path.limit or hops_left(packet) <= HOPS:
            self._read(door, packet, now)
            return
        opener = flow.opener
        if opener is not None:
            if now - opener.seen > opener.open_s:
                self._read(door, packet, now)
                return
            opener.seen = now
        flow.seen = now
        if path.plain:
            at = path.link.judge(size, now, flow)
            if isinstance(at, float):
                heappush(self.pending, (at, self._next(), path, forward(packet, HOPS)))
            elif isinstance(at, tuple):
                copy = forward(packet, HOPS)
                heappush(self.pending, (at[0], self._next(), path, copy))
                heappush(self.pending, (at[1], self._next(), path, copy))
        else:
            self._climb(flow, path, forward(packet, HOPS), now, None)

    def overloaded(self, door: Door, packet: bytes, now: float) -> None:
        """A node sends a packet while too many others are on their way."""
        door.drop("overload")

    def _read(self, door: Door, packet: Packet, now: float) -> None:
        """The long way, for packets that are not just one more of a known flow."""
        header = parse(packet)
        if isinstance(header, str):
            if header:
                door.drop(header)
            return
        for tap in door.taps:
            tap(packet, now)
        if door.vanished:
            door.drop("vanished")
            return
        flow = self.fabric.flow(door, header.key, now, quoted=header.quoted, piece=header.piece)
        if isinstance(flow, Refusal):
            self._refuse(door, header, packet, flow, now)
            return
        path = flow.path
        for tap in path.sent:
            tap(packet, now)
        if path.refusal:
            path.link.refuse(header.size, path.refusal)
        elif header.ttl <= HOPS:
            self._expire(door, path.destination, header, packet, now)
        elif header.size <= path.mtu:
            self._climb(flow, path, forward(packet, HOPS), now, None)
        elif header.dont_fragment:
            path.link.refuse(header.size, "mtu")
            self._answer(door, header, too_big(door.router, packet, path.mtu), now)
        else:
            for piece in fragments(packet, path.mtu):
                self._climb(flow, path, forward(piece, HOPS), now, None)

    def _refuse(self, door: Door, header: Header, packet: Packet, why: Refusal, now: float) -> None:
        near = self.fabric.router(header.destination)
        if why.link is not None and header.ttl <= HOPS:
            # A private node's router speaks even to those whom it does not let through.
            private = self.fabric.locate(door, header.destination)
            assert private is not None, "a link leads somewhere"
            self._expire(door, private, header, packet, now)
        elif why.link is not None:
            why.link.refuse(header.size, why.reason)
        elif near is not None and why.reason == "no-route":
            self._call_router(door, near, header, packet, now)
        else:
            door.drop(why.reason)
            if why.code is not None:
                self._answer(door, header, unreachable(door.router, packet, why.code), now)

    def _expire(self, door: Door, far: Door, header: Header, packet: Packet, now: float) -> None:
        """The TTL does not last: the router at which it ends says so."""
        if header.ttl <= 1:
            door.drop("ttl")
            self._answer(door, header, time_exceeded(door.router, packet), now)
        else:
            answer = time_exceeded(far.router, packet) if header.answerable else None
            self._bounce(door, far, header, packet, now, answer)

    def _call_router(
        self, door: Door, far: Door, header: Header, packet: Packet, now: float
    ) -> None:
        """Routers answer pings and nothing else."""
        answer = echo_reply(packet)
        if far is door:
            if answer is not None:
                self.originate(door, answer, now)
        elif header.ttl <= 1:
            self._expire(door, far, header, packet, now)
        else:
            self._bounce(door, far, header, packet, now, answer)

    def _bounce(
        self,
        door: Door,
        far: Door,
        header: Header,
        packet: Packet,
        now: float,
        answer: bytes | None,
    ) -> None:
        """Carry a packet as far as the router of the other end."""
        path = self.fabric.detour(door, far)
        if path.refusal:
            path.link.refuse(header.size, path.refusal)
            return
        flow = self.fabric.flows.of(door, header.key, path, now)
        self._climb(flow, path, packet, now, _Bounce(self, path, answer))

    def _answer(self, door: Door, header: Header, error: bytes, now: float) -> None:
        """The router of a node's own end tells it what is wrong."""
        if header.answerable:
            self.originate(door, error, now)

    def originate(self, door: Door, packet: Packet, now: float) -> None:
        """The router at a node's end sends a packet of its own."""
        header = parse(packet)
        assert isinstance(header, Header), "routers send no nonsense"
        if header.destination in door.own:
            path = self.fabric.near(door)
            flow = self.fabric.flows.of(door, header.key, path, now)
            self._land(flow, path, packet, now)
            return
        way = self.fabric.flow(door, header.key, now, by_router=True)
        if isinstance(way, Flow) and not way.path.refusal:
            self._cross(way, way.path, forward(packet, 1), now, None)

    # The stages of a way: up the sender's access, across the link, down the receiver's access

    def _climb(self, flow: Flow, path: Path, packet: Packet, now: float, end: Stage | None) -> None:
        if path.up is None:
            self._cross(flow, path, packet, now, end)
            return
        for at in _times(path.up, flow, packet, now):
            path.up.delivered += 1
            self._cross(flow, path, packet, at, end)

    def _cross(self, flow: Flow, path: Path, packet: Packet, now: float, end: Stage | None) -> None:
        for at in _times(path.link, flow, packet, now):
            if end is not None:
                heappush(self.pending, (at, self._next(), end, packet))
            else:
                self._land(flow, path, packet, at)

    def _land(self, flow: Flow, path: Path, packet: Packet, now: float) -> None:
        target: Path | Stage
        target = path if path.down is None else _Arrival(self, flow, path, path.down)
        heappush(self.pending, (now, self._next(), target, packet))

    def descend(self, flow: Flow, path: Path, down: Link, packet: Packet, now: float) -> None:
        for at in _times(down, flow, packet, now):
            down.delivered += 1
            heappush(self.pending, (at, self._next(), path, packet))


def _times(link: Link, flow: Flow, packet: Packet, now: float) -> tuple[float, ...]:
    """When a packet gets to the end of a link: never, once or twice."""
    verdict = link.judge(len(packet), now, flow)
    if isinstance(verdict, float):
        return (verdict,)
    return verdict if isinstance(verdict, tuple) else ()

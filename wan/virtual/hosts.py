"""Hosts and the ways between them: the fabric judges, the loop waits, hosts take what arrives.

A packet is a cargo with a size: nobody here reads bytes. What the carrier does with IP packets, `Way.send` does
with cargoes, by the same fabric, links and rules: TTL, ICMP and captures apart, which have nothing to read here.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from heapq import heappush
from typing import Any, Protocol

from wan import packet
from wan.fabric import Fabric
from wan.virtual.doors import Listener
from wan.virtual.programs import Turns
from wan.virtual.segment import Segment
from wan.ways import Door, Flow, Path, Refusal

Endpoint = tuple[bytes, int]

_FIRST_PORT, _LAST_PORT = 32768, 60999
_MTU = 1500


class TakesSegments(Protocol):
    """A connection (wan.virtual.tcp)."""

    def take(self, segment: Segment) -> None: ...


class TakesDatagrams(Protocol):
    """An open UDP port (wan.virtual.transports)."""

    def take(self, data: bytes, sender: tuple[str, int], address: bytes) -> None: ...


def oserror(number: int, what: str = "") -> OSError:
    text = os.strerror(number)
    return OSError(number, f"{what}: {text}" if what else text)


class Host:
    """A node as its kernel sees it: addresses, ports, what listens and what is connected.

    `hosts`: all of the fabric, by name. `accept(host, listener, segment)`: somebody dialled, and was welcome.
    """

    def __init__(
        self,
        loop: Turns,
        fabric: Fabric,
        hosts: Mapping[str, Host],
        door: Door,
        accept: Callable[[Host, Listener, Segment], None],
    ) -> None:
        self.loop = loop
        self.fabric = fabric
        self.hosts = hosts
        self.door = door
        self._accept = accept
        self.name = door.name
        self.listeners: dict[Endpoint, Listener] = {}
        self.unix: dict[str, Listener] = {}
        self.connections: dict[bytes, TakesSegments] = {}
        self.datagrams: dict[Endpoint, TakesDatagrams] = {}
        self._port = _FIRST_PORT
        self._used: set[int] = set()

    def owns(self, address: bytes) -> bool:
        return address in self.door.own or address[:1] == b"\x7f"

    def port(self) -> int:
        """An ephemeral port: the next, in order. What is in use is skipped."""
        for _ in range(_LAST_PORT - _FIRST_PORT):
            port = self._port
            self._port = _FIRST_PORT if port >= _LAST_PORT else port + 1
            if port not in self._used:
                self._used.add(port)
                return port
        raise oserror(errno.EADDRNOTAVAIL, "no ephemeral port is left")

    def free(self, port: int) -> None:
        self._used.discard(port)

    def way(self, key: bytes, *, datagrams: bool = False) -> Way:
        """For packets of the flow `key`, from here."""
        return Way(self, key, datagrams=datagrams)

    def listener(self, address: bytes, port: int) -> Listener | None:
        return self.listeners.get((address, port)) or self.listeners.get((b"", port))

    def take(self, segment: Segment) -> None:
        """A segment arrives."""
        door = self.door
        if door.fd == -1:
            door.drop("vanished" if door.vanished else "detached")
            return
        connection = self.connections.get(segment.key)
        if connection is not None:
            connection.take(segment)
            return
        if segment.opens:
            _, address = packet.addresses_of(segment.key)
            listener = self.listener(address, int.from_bytes(segment.key[10:12]))
            if listener is not None and listener.welcome():
                self._accept(self, listener, segment)
                return
        if not segment.reset:
            self._refuse(segment)

    def _refuse(self, segment: Segment) -> None:
        """Nobody is there for this segment: say so (RFC 9293 section 3.10.7.1)."""
        way = self.way(packet.reverse(segment.key))
        answer = Segment(way.key)
        answer.reset = answer.rare = True
        way.send(Segment.HEADER, answer)

    def take_datagram(self, cargo: tuple[bytes, bytes]) -> None:
        key, data = cargo
        if self.door.fd == -1:
            self.door.drop("vanished" if self.door.vanished else "detached")
            return
        source, address = packet.addresses_of(key)
        port = int.from_bytes(key[10:12])
        door = self.datagrams.get((address, port)) or self.datagrams.get((b"", port))
        if door is not None:
            door.take(data, (packet.show_address(source), int.from_bytes(key[8:10])), address)


class Way:
    """One direction of a conversation: from a host to wherever the fabric brings its packets."""

    __slots__ = ("_arrive", "_datagrams", "_flow", "_host", "_loop", "key")

    def __init__(self, host: Host, key: bytes, *, datagrams: bool) -> None:
        self.key = key
        self._datagrams = datagrams
        self._loop = host.loop
        self._host = host
        self._flow: Flow | None = None
        # What takes a cargo at the other end.
        self._arrive: Callable[[Any], None] = host.take

    @property
    def mtu(self) -> int:
        flow = self._flow
        return _MTU if flow is None else flow.path.mtu

    def send(self, size: int, cargo: Any) -> Refusal | None:
        """Let a packet of `size` bytes on its way, to whichever host it gets.

        A refusal with a code is what the sender's own router tells it; everything else is silence.
        """
        loop = self._loop
        now = loop.now
        flow = self._flow
        if flow is None or size > flow.path.limit:
            return self._look(size, cargo, now)
        opener = flow.opener
        if opener is not None:
            if now - opener.seen > opener.open_s:
                return self._look(size, cargo, now)
            opener.seen = now
        flow.seen = now
        path = flow.path
        if not path.plain:
            self._climb(flow, path, size, cargo, now)
            return None
        verdict = path.link.judge(size, now, flow)
        if verdict.__class__ is float:
            path.link.delivered += 1
            heappush(loop.agenda, (verdict, loop.next(), self._arrive, cargo))
        elif verdict.__class__ is tuple:
            self._land(path, self._arrive, cargo, verdict)
        return None

    def _look(self, size: int, cargo: Any, now: float) -> Refusal | None:
        """The long way: routes, rules and limits are asked."""
        door = self._host.door
        if door.vanished or door.fd == -1:
            door.drop("vanished" if door.vanished else "detached")
            return None
        flow = self._host.fabric.flow(door, self.key, now)
        if isinstance(flow, Refusal):
            self._flow = None
            if flow.link is not None:
                flow.link.refuse(size, flow.reason)
            else:
                door.drop(flow.reason)
            return flow
        self._flow = flow
        path = flow.path
        to = self._host.hosts[path.destination.name]
        self._arrive = to.take_datagram if self._datagrams else to.take
        if path.refusal:
            path.link.refuse(size, path.refusal)
            return None
        if size <= path.mtu:
            self._climb(flow, path, size, cargo, now)
        else:
            self._pieces(flow, path, size, cargo, now)
        return None

    def _pieces(self, flow: Flow, path: Path, size: int, cargo: Any, now: float) -> None:
        """What is too large goes in pieces, and arrives with the last of them or not at all."""
        arrived: list[float] = []
        count = -(-size // path.mtu)
        for number in range(count):
            part = size // count + (number < size % count)
            verdict = path.link.judge(part, now, flow)
            if isinstance(verdict, str):
                continue
            arrived.append(verdict if isinstance(verdict, float) else verdict[0])
        if len(arrived) == count:
            self._land(path, self._arrive, cargo, (max(arrived),))

    def _climb(self, flow: Flow, path: Path, size: int, cargo: Any, now: float) -> None:
        """Access line, link, access line: each as soon as the packet is there."""
        times: tuple[float, ...] = (now,)
        if path.up is not None:
            times = _times(path.up.judge(size, now, flow))
            path.up.delivered += len(times)
        for at in times:
            reached = _times(path.link.judge(size, at, flow))
            if path.down is None:
                self._land(path, self._arrive, cargo, reached)
                continue
            for again in reached:
                self._loop.at(again, _descend, (self, flow, path, size, self._arrive, cargo, again))

    def descend(
        self,
        flow: Flow,
        path: Path,
        size: int,
        arrive: Callable[[Any], None],
        cargo: Any,
        now: float,
    ) -> None:
        assert path.down is not None
        times = _times(path.down.judge(size, now, flow))
        path.down.delivered += len(times)
        self._land(path, arrive, cargo, times)

    def _land(
        self, path: Path, arrive: Callable[[Any], None], cargo: Any, times: tuple[float, ...]
    ) -> None:
        path.link.delivered += len(times)
        for at in times:
            self._loop.at(at, arrive, cargo)


def _times(verdict: float | tuple[float, float] | str) -> tuple[float, ...]:
    if isinstance(verdict, float):
        return (verdict,)
    return verdict if isinstance(verdict, tuple) else ()


def _descend(
    what: tuple[Way, Flow, Path, int, Callable[[Any], None], Any, float],
) -> None:
    way, flow, path, size, arrive, cargo, now = what
    way.descend(flow, path, size, arrive, cargo, now)

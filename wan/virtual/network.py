"""Hosts and what lies between them: the fabric judges, the loop waits, hosts take what arrives.

A packet is a cargo with a size: nobody here reads bytes. What the carrier does with IP packets, `Way.send` does
with cargoes, by the same fabric, links and rules: TTL, ICMP and captures apart, which have nothing to read here.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
from collections.abc import Callable
from heapq import heappush
from typing import TYPE_CHECKING, Any

from wan import packet
from wan.fabric import Fabric
from wan.virtual import local
from wan.virtual.doors import Listener, VirtualServer
from wan.virtual.loop import VirtualLoop
from wan.virtual.programs import Program, here
from wan.virtual.secure import app_transport, heard
from wan.virtual.tcp import Connection, Segment
from wan.virtual.transports import DatagramDoor, StreamTransport
from wan.ways import Door, Flow, Path, Refusal

if TYPE_CHECKING:
    from wan.virtual.flights import Flights

Factory = Callable[[], asyncio.BaseProtocol]
Secure = Callable[..., asyncio.BaseProtocol]
Endpoint = tuple[bytes, int]

_FIRST_PORT, _LAST_PORT = 32768, 60999
_ANY = (None, "", "0.0.0.0", "::")
_MTU = 1500


def oserror(number: int, what: str = "") -> OSError:
    text = os.strerror(number)
    return OSError(number, f"{what}: {text}" if what else text)


class Host:
    """A node as its kernel sees it: addresses, ports, what listens and what is connected."""

    def __init__(self, network: Network, door: Door) -> None:
        self.network = network
        self.door = door
        self.name = door.name
        self.listeners: dict[Endpoint, Listener] = {}
        self.unix: dict[str, Listener] = {}
        self.connections: dict[bytes, Connection] = {}
        self.datagrams: dict[Endpoint, DatagramDoor] = {}
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
                self.network.accept(self, listener, segment)
                return
        if not segment.reset:
            self.network.refuse(self, segment)

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

    __slots__ = ("_arrive", "_datagrams", "_flow", "_host", "_loop", "_network", "key")

    def __init__(self, network: Network, host: Host, key: bytes, *, datagrams: bool) -> None:
        self.key = key
        self._datagrams = datagrams
        self._network = network
        self._loop = network.loop
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
        flow = self._network.fabric.flow(door, self.key, now)
        if isinstance(flow, Refusal):
            self._flow = None
            if flow.link is not None:
                flow.link.refuse(size, flow.reason)
            else:
                door.drop(flow.reason)
            return flow
        self._flow = flow
        path = flow.path
        to = self._network.hosts[path.destination.name]
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


class Network:
    """All hosts of a fabric on one loop. `flights`: a stand-in for TLS, or None for the real one."""

    def __init__(self, loop: VirtualLoop, fabric: Fabric, flights: Flights | None = None) -> None:
        self.loop = loop
        self.fabric = fabric
        self.flights = flights
        self.hosts = {name: Host(self, door) for name, door in fabric.doors.items()}
        loop.network = self
        for name in self.hosts:
            fabric.attach(name, 0)

    def program(self, node: str, name: str = "program") -> Program:
        """A new process on a node. KeyError when there is no such node."""
        return Program(self.loop, self.hosts[node], name)

    def way(self, host: Host, key: bytes, *, datagrams: bool = False) -> Way:
        """For packets of the flow `key`, from `host`."""
        return Way(self, host, key, datagrams=datagrams)

    # What the loop asks for

    def listen(
        self, factory: Factory, address: str | None, port: int, secure: Secure | None
    ) -> VirtualServer:
        program = here()
        host = program.host
        wanted = b"" if address in _ANY else _literal(address)
        if wanted and not host.owns(wanted):
            raise oserror(errno.EADDRNOTAVAIL, f"listening on {address}:{port}")
        port = port or host.port()
        if (wanted, port) in host.listeners:
            raise oserror(errno.EADDRINUSE, f"listening on {address}:{port}")
        listener = Listener(program, factory, secure, host.listeners, (wanted, port))
        return VirtualServer(self.loop, listener, (packet.show_address(wanted or bytes(4)), port))

    def listen_unix(self, factory: Factory, path: str) -> VirtualServer:
        program = here()
        if path in program.host.unix:
            raise oserror(errno.EADDRINUSE, path)
        listener = Listener(program, factory, None, program.host.unix, path)
        return VirtualServer(self.loop, listener, path)

    async def connect_unix(self, factory: Factory, path: str) -> tuple[asyncio.Transport, Any]:
        program = here()
        listener = program.host.unix.get(path)
        if listener is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        protocol = factory()
        transport = local.pair(program, protocol, listener, path, path)
        await asyncio.sleep(0)
        return transport, protocol

    async def connect(
        self,
        factory: Factory,
        address: str,
        port: int,
        *,
        secure: Secure | None = None,
        local: tuple[str, int] | None = None,
    ) -> tuple[asyncio.Transport, Any]:
        program = here()
        host = program.host
        target = _literal(address)
        protocol = factory()
        waiter: asyncio.Future[None] | None = None
        outer = protocol
        if secure is not None:
            waiter = heard(self.loop.create_future())
            outer = secure(protocol, waiter)
        transport: Any
        if host.owns(target) or len(target) != 4:
            transport = self._connect_locally(program, outer, target, port)
            # Protocols are told of their transport before their caller is.
            await asyncio.sleep(0)
        else:
            transport = await self._connect_afar(program, outer, target, port, local)
        if waiter is None:
            return transport, protocol
        try:
            await waiter
        except BaseException:
            transport.abort()
            raise
        return app_transport(outer), protocol

    def _connect_locally(
        self, program: Program, protocol: asyncio.BaseProtocol, target: bytes, port: int
    ) -> Any:
        text = packet.show_address(target)
        listener = program.host.listener(target, port)
        if listener is None or not program.host.owns(target):
            raise oserror(errno.ECONNREFUSED, f"{text}:{port}")
        mine = text, program.host.port()
        return local.pair(program, protocol, listener, mine, (text, port))

    async def _connect_afar(
        self,
        program: Program,
        protocol: asyncio.BaseProtocol,
        target: bytes,
        port: int,
        bound: tuple[str, int] | None,
    ) -> StreamTransport:
        host = program.host
        source = host.door.address if bound is None else _literal(bound[0])
        if source not in host.door.own:
            raise oserror(errno.EADDRNOTAVAIL, f"from {packet.show_address(source)}")
        own = bound[1] if bound is not None and bound[1] else host.port()
        key = packet.flow_key(packet.TCP, source, target, own, port)
        connection = Connection(self, host, key)
        made: asyncio.Future[None] = self.loop.create_future()
        transport = StreamTransport(program, connection, protocol, made)
        connection.open(transport)
        try:
            await made
        except asyncio.CancelledError:
            connection.orphan(discard=True)
            raise
        return transport

    def datagrams(
        self,
        factory: Factory,
        local: tuple[str, int] | None,
        remote: tuple[str, int] | None,
    ) -> tuple[DatagramDoor, asyncio.BaseProtocol]:
        program = here()
        host = program.host
        address, port = local if local is not None else ("", 0)
        wanted = b"" if address in _ANY else _literal(address)
        if wanted and not host.owns(wanted):
            raise oserror(errno.EADDRNOTAVAIL, f"{address}:{port}")
        if (wanted, port) in host.datagrams:
            raise oserror(errno.EADDRINUSE, f"{address}:{port}")
        protocol = factory()
        door = DatagramDoor(self, program, protocol, (wanted, port or host.port()), remote)
        return door, protocol

    # What arrives

    def accept(self, host: Host, listener: Listener, segment: Segment) -> None:
        connection = Connection(self, host, packet.reverse(segment.key))
        connection.accept(listener, segment)

    def refuse(self, host: Host, segment: Segment) -> None:
        """Nobody is there for this segment: say so (RFC 9293 section 3.10.7.1)."""
        way = self.way(host, packet.reverse(segment.key))
        answer = Segment(way.key)
        answer.reset = answer.rare = True
        way.send(Segment.HEADER, answer)


def _literal(address: str | None) -> bytes:
    if address == "localhost":
        return b"\x7f\0\0\1"
    try:
        return ipaddress.ip_address(address or "").packed
    except ValueError:
        raise oserror(
            errno.EINVAL, f"{address!r} is no IP literal, and this loop looks nothing up"
        ) from None

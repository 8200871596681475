"""What the loop asks of the network: who listens, who is connected, and where datagrams come in."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
from typing import Any

from wan import packet
from wan.fabric import Fabric
from wan.virtual import local
from wan.virtual.doors import Listener, VirtualServer
from wan.virtual.hosts import Host, oserror
from wan.virtual.loop import Factory, Layer, VirtualLoop
from wan.virtual.programs import Program, here
from wan.virtual.secure import Flights, app_transport, heard
from wan.virtual.segment import Segment
from wan.virtual.tcp import Connection
from wan.virtual.transports import DatagramDoor, StreamTransport

_ANY = (None, "", "0.0.0.0", "::")


class Network:
    """All hosts of a fabric on one loop. `flights`: a stand-in for TLS, or None for the real one."""

    def __init__(self, loop: VirtualLoop, fabric: Fabric, flights: Flights | None = None) -> None:
        self.loop = loop
        self.fabric = fabric
        self.flights = flights
        self.hosts: dict[str, Host] = {}
        for name, door in fabric.doors.items():
            self.hosts[name] = Host(loop, fabric, self.hosts, door, self._accept)
        loop.network = self
        for name in self.hosts:
            fabric.attach(name, 0)

    def program(self, node: str, name: str = "program") -> Program:
        """A new process on a node. KeyError when there is no such node."""
        return Program(self.loop, self.hosts[node].name, name)

    def _host(self, program: Program) -> Host:
        return self.hosts[program.node]

    # What the loop asks for

    def listen(
        self, factory: Factory, address: str | None, port: int, secure: Layer | None
    ) -> VirtualServer:
        program = here()
        host = self._host(program)
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
        unix = self._host(program).unix
        if path in unix:
            raise oserror(errno.EADDRINUSE, path)
        listener = Listener(program, factory, None, unix, path)
        return VirtualServer(self.loop, listener, path)

    async def connect_unix(self, factory: Factory, path: str) -> tuple[asyncio.Transport, Any]:
        program = here()
        listener = self._host(program).unix.get(path)
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
        secure: Layer | None = None,
        local: tuple[str, int] | None = None,
    ) -> tuple[asyncio.Transport, Any]:
        program = here()
        host = self._host(program)
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
        host = self._host(program)
        text = packet.show_address(target)
        listener = host.listener(target, port)
        if listener is None or not host.owns(target):
            raise oserror(errno.ECONNREFUSED, f"{text}:{port}")
        mine = text, host.port()
        return local.pair(program, protocol, listener, mine, (text, port))

    async def _connect_afar(
        self,
        program: Program,
        protocol: asyncio.BaseProtocol,
        target: bytes,
        port: int,
        bound: tuple[str, int] | None,
    ) -> StreamTransport:
        host = self._host(program)
        source = host.door.address if bound is None else _literal(bound[0])
        if source not in host.door.own:
            raise oserror(errno.EADDRNOTAVAIL, f"from {packet.show_address(source)}")
        own = bound[1] if bound is not None and bound[1] else host.port()
        key = packet.flow_key(packet.TCP, source, target, own, port)
        connection = Connection(host, key)
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
        host = self._host(program)
        address, port = local if local is not None else ("", 0)
        wanted = b"" if address in _ANY else _literal(address)
        if wanted and not host.owns(wanted):
            raise oserror(errno.EADDRNOTAVAIL, f"{address}:{port}")
        if (wanted, port) in host.datagrams:
            raise oserror(errno.EADDRINUSE, f"{address}:{port}")
        protocol = factory()
        door = DatagramDoor(host, program, protocol, (wanted, port or host.port()), remote)
        return door, protocol

    # What arrives

    def _accept(self, host: Host, listener: Listener, segment: Segment) -> None:
        Connection(host, packet.reverse(segment.key)).accept(listener, segment)


def _literal(address: str | None) -> bytes:
    if address == "localhost":
        return b"\x7f\0\0\1"
    try:
        return ipaddress.ip_address(address or "").packed
    except ValueError:
        raise oserror(
            errno.EINVAL, f"{address!r} is no IP literal, and this loop looks nothing up"
        ) from None

"""Doors for visitors: TLS with ALPN (h2, http/1.1), and plain HTTP/1.1 with h2 by prior knowledge.

One `HttpServer` has many listeners and one `on_request`; what speaks behind it is each stream's own affair. It counts,
refuses above `max_connections`, and drains: no new connections, GOAWAY or `connection: close`, finish, close, and at
the deadline abort.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from runtime.http1_server import Http1ServerProtocol, Http1Timeouts
from runtime.http2 import Http2Connection, Http2Settings
from runtime.streams import Stream, StreamUser
from runtime.transports import Discard
from wire.http1 import Http1Limits
from wire.http2.engine import ErrorCode, Role
from wire.http2.engines import EngineName

_DISCARD = Discard()
# What one visitor can make a turn of the loop last: frames that cost work come at some 70 bytes each.
_READ_SIZE = 16 * 1024
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Listener:
    """An address to listen on. With `path` it is a Unix socket, with `sock` one that is bound already."""

    address: str = ""
    port: int = 0
    tls: ssl.SSLContext | None = None
    path: str | None = None
    sock: socket.socket | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingOptions:
    """How visitors are treated."""

    engine: EngineName = "ngh2"
    http2: Http2Settings = field(default_factory=Http2Settings)
    http1_limits: Http1Limits = field(default_factory=Http1Limits)
    http1_timeouts: Http1Timeouts = field(default_factory=Http1Timeouts)
    handshake_timeout_s: float = 10.0
    idle_timeout_s: float = 180.0
    max_connections: int = 10_000
    max_per_address: int = 10_000
    max_streams_per_address: int = 10_000
    backlog: int = 1024


@dataclass(frozen=True, slots=True)
class ServingSnapshot:
    connections: int
    streams: int
    accepted: int
    refused: int
    refused_by_address: int
    refused_streams: int
    cut: Mapping[str, int]
    draining: bool

    def __str__(self) -> str:
        state = "draining" if self.draining else "serving"
        return (
            f"{state}: {self.connections} connections, {self.streams} streams"
            f" ({self.accepted} accepted, {self.refused} refused)"
        )


class HttpServer:
    """All visitors of one process. `on_bad_request(status, reason)` hears of bytes that were no request."""

    def __init__(
        self,
        on_request: Callable[[Stream], StreamUser],
        options: ServingOptions | None = None,
        *,
        on_bad_request: Callable[[int, str], None] | None = None,
    ) -> None:
        self.on_request = on_request
        self.options = options or ServingOptions()
        self.on_bad_request = on_bad_request
        self.accepted = 0
        self.refused = self.refused_by_address = self.refused_streams = 0
        # HTTP/2 connections that we ended for what came on them, by error code.
        self.cut: dict[str, int] = {}
        self._by_address: dict[str, dict[Http2Connection | Http1ServerProtocol | _Door, None]] = {}
        self._servers: list[asyncio.Server] = []
        # In the order in which they came: a drain shall be the same in every run.
        self._live: dict[Http2Connection | Http1ServerProtocol | _Door, None] = {}
        self._draining = False
        self._emptied: asyncio.Event = asyncio.Event()

    async def listen(self, listeners: Sequence[Listener]) -> None:
        """Open these doors; may be called again for more. Raises OSError when an address cannot be had."""
        loop = asyncio.get_running_loop()
        for listener in listeners:
            timeout = self.options.handshake_timeout_s if listener.tls is not None else None
            if listener.path is not None:
                server = await loop.create_unix_server(
                    lambda: _Door(self), listener.path, backlog=self.options.backlog
                )
            elif listener.sock is not None:
                server = await loop.create_server(
                    lambda: _Door(self),
                    sock=listener.sock,
                    ssl=listener.tls,
                    ssl_handshake_timeout=timeout,
                    backlog=self.options.backlog,
                )
            else:
                server = await loop.create_server(
                    lambda: _Door(self),
                    listener.address,
                    listener.port,
                    ssl=listener.tls,
                    ssl_handshake_timeout=timeout,
                    backlog=self.options.backlog,
                    reuse_address=True,
                )
            self._servers.append(server)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """What is listened on, with the ports that were given for 0."""
        found = []
        for server in self._servers:
            for sock in server.sockets:
                name = sock.getsockname()
                if isinstance(name, tuple):
                    found.append((name[0], name[1]))
        return found

    @property
    def connections(self) -> int:
        return len(self._live)

    @property
    def streams(self) -> int:
        return sum(connection.streams for connection in self._live)

    def snapshot(self) -> ServingSnapshot:
        return ServingSnapshot(
            connections=self.connections,
            streams=self.streams,
            accepted=self.accepted,
            refused=self.refused,
            refused_by_address=self.refused_by_address,
            refused_streams=self.refused_streams,
            cut=dict(sorted(self.cut.items())),
            draining=self._draining,
        )

    async def drain(self, deadline_s: float) -> None:
        """Stop accepting, let what runs finish, and be closed after `deadline_s` at the latest."""
        self._draining = True
        for server in self._servers:
            server.close()
        for connection in list(self._live):
            connection.drain()
        if self._live:
            try:
                async with asyncio.timeout(deadline_s):
                    await self._emptied.wait()
            except TimeoutError:
                self.abort()

    def abort(self) -> None:
        """Close everything now."""
        self._draining = True
        for server in self._servers:
            server.close()
        for connection in list(self._live):
            connection.abort()

    # Inside

    def _protocol_for(
        self, alpn: str | None, preface: bool
    ) -> Http2Connection | Http1ServerProtocol:
        protocol: Http2Connection | Http1ServerProtocol
        if alpn == "h2" or preface:
            protocol = Http2Connection(
                Role.SERVER,
                engine=self.options.engine,
                settings=self.options.http2,
                on_request=self._requested,
                on_lost=lambda reason: self._gone(protocol),
                read_size=_READ_SIZE,
                settings_timeout_s=self.options.handshake_timeout_s,
                idle_timeout_s=self.options.idle_timeout_s,
            )
        else:
            protocol = Http1ServerProtocol(
                on_request=self.on_request,
                on_lost=lambda reason: self._gone(protocol),
                on_refused=self.on_bad_request,
                limits=self.options.http1_limits,
                timeouts=self.options.http1_timeouts,
            )
        return protocol

    def _requested(self, stream: Stream) -> StreamUser:
        """One more stream of HTTP/2. All connections of an address together may have only so many: what they hold
        open at a connector, with bodies that do not come, is everybody's."""
        address = stream.peer.address
        # Who is alone on its address keeps within its own connection's limit.
        theirs = self._by_address.get(address, ())
        if len(theirs) > 1:
            most = self.options.max_streams_per_address
            if sum(connection.streams for connection in theirs) > most:
                self.refused_streams += 1
                stream.reset(ErrorCode.REFUSED_STREAM)
                return _DISCARD
        return self.on_request(stream)

    def _came(self, door: _Door, address: str) -> bool:
        if self._draining or len(self._live) >= self.options.max_connections:
            self.refused += 1
            return False
        theirs = self._by_address.setdefault(address, {})
        if address and len(theirs) >= self.options.max_per_address:
            self.refused += 1
            self.refused_by_address += 1
            return False
        self.accepted += 1
        self._live[door] = theirs[door] = None
        return True

    def _steps_aside(self, door: _Door, protocol: Http2Connection | Http1ServerProtocol) -> None:
        theirs = self._by_address[door.address]
        self._live[protocol] = theirs[protocol] = None
        del self._live[door], theirs[door]

    def _gone(self, connection: Http2Connection | Http1ServerProtocol | _Door) -> None:
        if connection not in self._live:
            return  # refused
        del self._live[connection]
        address = _address(connection)
        theirs = self._by_address[address]
        del theirs[connection]
        if not theirs:
            del self._by_address[address]
        if isinstance(connection, Http2Connection) and connection.cut is not None:
            self.cut[connection.cut] = self.cut.get(connection.cut, 0) + 1
        if self._draining and not self._live:
            self._emptied.set()


def _address(connection: Http2Connection | Http1ServerProtocol | _Door) -> str:
    return connection.address if isinstance(connection, _Door) else connection.peer.address


class _Door(asyncio.Protocol):
    """Stands at an accepted connection until it is known what is spoken, then steps aside."""

    streams = 0
    address = ""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        remote = transport.get_extra_info("peername")
        self.address = remote[0] if isinstance(remote, tuple) else ""
        if not self._server._came(self, self.address):
            self._transport.abort()
            return
        tls = transport.get_extra_info("ssl_object")
        alpn = tls.selected_alpn_protocol() if tls is not None else None
        if alpn is not None:
            self._step_aside(alpn, preface=False)
            return
        timeout = self._server.options.http1_timeouts.head_s
        self._timer = asyncio.get_running_loop().call_later(timeout, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Without ALPN the first bytes tell: HTTP/2 begins with its preface, whose start no HTTP/1.1 request has."""
        self._bytes += data
        size = min(len(self._bytes), len(_PREFACE))
        preface = self._bytes[:size] == _PREFACE[:size]
        if not preface or size == len(_PREFACE):
            self._step_aside(None, preface)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._server._gone(self)

    def drain(self) -> None:
        self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _step_aside(self, alpn: str | None, preface: bool) -> None:
        transport = self._transport
        assert transport is not None
        if self._timer is not None:
            self._timer.cancel()
        protocol = self._server._protocol_for(alpn, preface)
        self._server._steps_aside(self, protocol)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if self._bytes:
            protocol.data_received(self._bytes)

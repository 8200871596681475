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
from functools import partial

from runtime.door import Door, Handshakes, Spoken
from runtime.http1.server import Http1ServerProtocol, Http1Timeouts
from runtime.http2 import Http2Connection, Http2Settings
from runtime.penalties import Penalties
from runtime.streams import Peer, Stream, StreamUser
from runtime.transports import Discard
from wire.http1 import Http1Error, Http1Limits
from wire.http2.engine import ErrorCode, Role
from wire.http2.engines import EngineName

Connection = Http2Connection | Http1ServerProtocol | Door

_DISCARD = Discard()
# What one visitor can make a turn of the loop last: frames that cost work come at some 70 bytes each.
_READ_SIZE = 16 * 1024
# Ends of HTTP/2 connections that are nobody's fault.
_BLAMELESS = frozenset(("NO_ERROR", "SETTINGS_TIMEOUT", "INTERNAL_ERROR"))
# Heads beyond what is still answered in peace.
_TOO_LARGE = frozenset((414, 431))


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
    penalty_s: float = 0.0
    """How long an address stays outside after a flood; 0: not at all. For doors of strangers only."""


@dataclass(frozen=True, slots=True)
class ServingSnapshot:
    connections: int
    streams: int
    accepted: int
    refused: int
    refused_by_address: int
    streams_refused_by_address: int
    streams_refused_by_connection: int
    refused_by_penalty: int
    penalties: int
    cut: Mapping[str, int]
    draining: bool

    def __str__(self) -> str:
        state = "draining" if self.draining else "serving"
        return (
            f"{state}: {self.connections} connections, {self.streams} streams"
            f" ({self.accepted} accepted, {self.refused} refused)"
        )


class HttpServer:
    """All visitors of one process. `on_bad_request(status, reason)` hears of bytes that were no request,
    `on_penalty(address, reason)` of who has to stay outside for a while."""

    def __init__(
        self,
        on_request: Callable[[Stream], StreamUser],
        options: ServingOptions | None = None,
        *,
        on_bad_request: Callable[[int, str], None] | None = None,
        on_penalty: Callable[[str, str], None] | None = None,
    ) -> None:
        self.on_request = on_request
        self.options = options or ServingOptions()
        self.on_bad_request = on_bad_request
        self.accepted = 0
        self.on_penalty = on_penalty
        self.refused = self.refused_by_address = self.refused_by_penalty = 0
        self.streams_refused_by_address = 0
        # On connections that are gone; those that live count for themselves.
        self._streams_refused_before = 0
        self.handshakes = Handshakes()
        self.penalties = Penalties(self.options.penalty_s)
        # HTTP/2 connections that we ended for what came on them, by error code.
        self.cut: dict[str, int] = {}
        self._by_address: dict[str, dict[Connection, None]] = {}
        self._servers: list[asyncio.Server] = []
        # In the order in which they came: a drain shall be the same in every run.
        self._live: dict[Connection, None] = {}
        self._draining = False
        self._emptied: asyncio.Event = asyncio.Event()

    async def listen(self, listeners: Sequence[Listener]) -> None:
        """Open these doors; may be called again for more. Raises OSError when an address cannot be had."""
        loop = asyncio.get_running_loop()
        for listener in listeners:
            # TLS is begun by the door, so that it can look who comes first.
            make = partial(
                Door,
                self,
                listener.tls,
                handshake_timeout_s=self.options.handshake_timeout_s,
                patience_s=self.options.http1_timeouts.head_s,
            )
            backlog = self.options.backlog
            if listener.path is not None:
                server = await loop.create_unix_server(make, listener.path, backlog=backlog)
            elif listener.sock is not None:
                server = await loop.create_server(make, sock=listener.sock, backlog=backlog)
            else:
                server = await loop.create_server(
                    make, listener.address, listener.port, backlog=backlog, reuse_address=True
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

    @property
    def streams_refused_by_connection(self) -> int:
        """Streams above what their own connection may have open."""
        living = sum(one.refused for one in self._live if isinstance(one, Http2Connection))
        return self._streams_refused_before + living

    def snapshot(self) -> ServingSnapshot:
        return ServingSnapshot(
            connections=self.connections,
            streams=self.streams,
            accepted=self.accepted,
            refused=self.refused,
            refused_by_address=self.refused_by_address,
            streams_refused_by_address=self.streams_refused_by_address,
            streams_refused_by_connection=self.streams_refused_by_connection,
            refused_by_penalty=self.refused_by_penalty,
            penalties=self.penalties.given,
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

    def hand_on(self, door: Door, alpn: str | None, preface: bool) -> Spoken:
        protocol: Http2Connection | Http1ServerProtocol
        if alpn == "h2" or preface:
            protocol = Http2Connection(
                Role.SERVER,
                engine=self.options.engine,
                settings=self.options.http2,
                on_request=self._requested,
                on_lost=lambda reason: self._gone(protocol),
                on_cut=lambda code: self._cut(protocol.peer.address, code),
                read_size=_READ_SIZE,
                metered=True,
                settings_timeout_s=self.options.handshake_timeout_s,
                idle_timeout_s=self.options.idle_timeout_s,
            )
        else:
            protocol = Http1ServerProtocol(
                on_request=self.on_request,
                on_lost=lambda reason: self._gone(protocol),
                on_refused=self._refused,
                limits=self.options.http1_limits,
                timeouts=self.options.http1_timeouts,
            )
        theirs = self._by_address[door.address]
        self._live[protocol] = theirs[protocol] = None
        del self._live[door], theirs[door]
        return protocol

    def left(self, door: Door) -> None:
        self._gone(door)

    def _requested(self, stream: Stream) -> StreamUser:
        """One more stream of HTTP/2. All connections of an address together may have only so many: what they hold
        open at a connector, with bodies that do not come, is everybody's."""
        address = stream.peer.address
        # Who is alone on its address keeps within its own connection's limit.
        theirs = self._by_address.get(address, ())
        if len(theirs) > 1:
            most = self.options.max_streams_per_address
            if sum(connection.streams for connection in theirs) > most:
                self.streams_refused_by_address += 1
                stream.reset(ErrorCode.REFUSED_STREAM)
                return _DISCARD
        return self.on_request(stream)

    def _cut(self, address: str, code: str) -> None:
        """What came on a connection of HTTP/2 ended it."""
        now = asyncio.get_running_loop().time()
        if code == ErrorCode.ENHANCE_YOUR_CALM.name:
            punished = self.penalties.give(address, now)
        else:
            punished = code not in _BLAMELESS and self.penalties.strike(address, now)
        if punished and self.on_penalty is not None:
            self.on_penalty(address, code)

    def _refused(self, peer: Peer, error: Http1Error) -> None:
        """What came on a connection of HTTP/1.1 was no request, or no end of it."""
        now = asyncio.get_running_loop().time()
        if error.flood:
            punished = self.penalties.give(peer.address, now)
        else:
            punished = error.status in _TOO_LARGE and self.penalties.strike(peer.address, now)
        if punished and self.on_penalty is not None:
            self.on_penalty(peer.address, error.reason)
        if self.on_bad_request is not None:
            self.on_bad_request(error.status, error.reason)

    def let_in(self, door: Door, address: str) -> bool:
        if self._draining or len(self._live) >= self.options.max_connections:
            self.refused += 1
            return False
        if self.penalties.keeps_out(address, asyncio.get_running_loop().time()):
            self.refused += 1
            self.refused_by_penalty += 1
            return False
        theirs = self._by_address.setdefault(address, {})
        if address and len(theirs) >= self.options.max_per_address:
            self.refused += 1
            self.refused_by_address += 1
            return False
        self.accepted += 1
        self._live[door] = theirs[door] = None
        return True

    def _gone(self, connection: Connection) -> None:
        if connection not in self._live:
            return  # refused
        del self._live[connection]
        address = _address(connection)
        theirs = self._by_address[address]
        del theirs[connection]
        if not theirs:
            del self._by_address[address]
        if isinstance(connection, Http2Connection):
            self._streams_refused_before += connection.refused
            if connection.cut is not None:
                self.cut[connection.cut] = self.cut.get(connection.cut, 0) + 1
        if self._draining and not self._live:
            self._emptied.set()


def _address(connection: Connection) -> str:
    return connection.address if isinstance(connection, Door) else connection.peer.address

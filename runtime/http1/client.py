"""HTTP/1.1 towards origins: a pool of kept-alive connections over TCP, TLS and Unix sockets, each exchange a `Stream`.

`open` gives a stream at once; it takes an idle connection or dials one when its request head is sent, and holds body
bytes until then. When it is lost, `stream.reason` says why as an `OriginError`, with the operating system's and TLS's
errors already translated:

    OriginUnreachableError   could not connect            lost(CONNECT_ERROR)
    OriginTimeoutError       did not connect in time      lost(CONNECT_ERROR)
    OriginProtocolError      answered with nonsense       lost(PROTOCOL_ERROR)
    OriginClosedError        hung up half-way             lost(INTERNAL_ERROR)

An idle connection may die at the moment it is taken. A request without a body and with an idempotent method is then
sent once more on a fresh connection (RFC 9110 section 9.2.2); every other one is lost.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

from runtime.http1.client_connection import OriginConnection
from runtime.http1.client_stream import Http1ClientStream
from runtime.http1.origin import (
    Origin,
    OriginClosedError,
    OriginError,
    OriginProtocolError,
    OriginTimeoutError,
    OriginUnreachableError,
)
from runtime.streams import StreamUser
from runtime.tls import explain
from wire.http1 import Http1Limits
from wire.http2.engine import ErrorCode

__all__ = [
    "Http1Client",
    "Http1ClientStream",
    "Origin",
    "OriginClosedError",
    "OriginError",
    "OriginProtocolError",
    "OriginTimeoutError",
    "OriginUnreachableError",
]

Resolve = Callable[[str], Awaitable[Sequence[str]]]


class Http1Client:
    """The connections of one process to its origins."""

    def __init__(
        self,
        *,
        resolve: Resolve | None = None,
        connect_timeout_s: float = 30.0,
        keep_alive_s: float = 90.0,
        max_idle: int = 100,
        limits: Http1Limits | None = None,
    ) -> None:
        self.limits = limits or Http1Limits()
        self.loop = asyncio.get_running_loop()
        self._resolve = resolve
        self._connect_timeout_s = connect_timeout_s
        self._keep_alive_s = keep_alive_s
        self._max_idle = max_idle
        # The most recently used last: it is taken first, so that the others can grow old and go.
        self._idle: dict[Origin, list[OriginConnection]] = {}
        self._connections: set[OriginConnection] = set()
        self._dials: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False
        self.opened = 0
        self.requests = 0

    def open(self, user: StreamUser, origin: Origin) -> Http1ClientStream:
        """A new exchange; nothing happens before `send_headers`."""
        return Http1ClientStream(self, user, origin)

    @property
    def idle(self) -> int:
        return sum(len(idle) for idle in self._idle.values())

    @property
    def connections(self) -> int:
        return len(self._connections)

    def __str__(self) -> str:
        return (
            f"http/1.1 client {self.connections} connections ({self.idle} idle, {len(self._dials)} dialling),"
            f" {self.requests} requests, {self.opened} connections so far"
        )

    def close(self) -> None:
        """Drop everything; streams under way are lost."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for task in sorted(self._dials, key=lambda task: task.get_name()):
            task.cancel()
        for connection in list(self._connections):
            connection.abort()

    # Inside

    def begin(self, stream: Http1ClientStream) -> None:
        self.requests += 1
        idle = self._idle.get(stream.origin)
        while idle:
            connection = idle.pop()
            if connection.alive:
                connection.reused = True
                connection.start(stream)
                return
        self.dial_for(stream)

    def dial_for(self, stream: Http1ClientStream) -> None:
        if self._closed:
            self.lose_soon(stream, ErrorCode.CONNECT_ERROR, OriginUnreachableError("shutting down"))
            return
        self.opened += 1
        task = self.loop.create_task(self._dial(stream), name=f"dial {self.opened} {stream.origin}")
        stream._dial = task
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _dial(self, stream: Http1ClientStream) -> None:
        origin = stream.origin
        error: OriginError
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                connection = await self._connect(origin)
        except TimeoutError:
            error = OriginTimeoutError(
                f"{origin}: no connection within {self._connect_timeout_s:g} s"
            )
        except (OSError, ssl.SSLError) as failure:
            error = OriginUnreachableError(f"{origin}: {explain(failure)}")
        except OriginError as failure:
            error = failure
        except asyncio.CancelledError:
            # Ours to end here: cancelled by `close` or by the stream's reset, awaited by nobody.
            stream._dial = None
            if not stream._over:
                self._lose(stream, ErrorCode.CONNECT_ERROR, OriginUnreachableError("shutting down"))
            raise
        else:
            stream._dial = None
            if stream._over:
                connection.hang_up()
            elif not connection.alive:
                error = OriginClosedError(f"{origin}: closed at once")
                self._lose(stream, ErrorCode.INTERNAL_ERROR, error)
            else:
                connection.start(stream)
            return
        stream._dial = None
        self._lose(stream, ErrorCode.CONNECT_ERROR, error)

    async def _connect(self, origin: Origin) -> OriginConnection:
        def factory() -> OriginConnection:
            return OriginConnection(self, origin)

        server_name = (origin.server_name or origin.host) if origin.tls is not None else None
        if origin.unix_path is not None:
            _, connection = await self.loop.create_unix_connection(
                factory, origin.unix_path, ssl=origin.tls, server_hostname=server_name
            )
        else:
            connection = await self._connect_any(origin, factory, server_name)
        self._connections.add(connection)
        return connection

    async def _connect_any(
        self, origin: Origin, factory: Callable[[], OriginConnection], server_name: str | None
    ) -> OriginConnection:
        """Try the origin's addresses in order; the last one's error counts."""
        failure: OSError | None = None
        for address in await self._addresses(origin.host):
            try:
                _, connection = await self.loop.create_connection(
                    factory, address, origin.port, ssl=origin.tls, server_hostname=server_name
                )
            except ssl.SSLError:
                raise
            except OSError as error:
                failure = error
            else:
                return connection
        raise failure or OriginUnreachableError(f"{origin.host}: the name has no address")

    async def _addresses(self, host: str) -> Sequence[str]:
        # Only literals reach the loop: its getaddrinfo would be a thread, and a look-up that escapes the lab.
        try:
            ip_address(host)
        except ValueError:
            pass
        else:
            return (host,)
        if host == "localhost":
            return ("127.0.0.1", "::1")
        if self._resolve is None:
            raise OriginUnreachableError(f"{host}: there is no resolver for names")
        return await self._resolve(host)

    def release(self, connection: OriginConnection) -> None:
        idle = self._idle.setdefault(connection.origin, [])
        if self._closed or len(idle) >= self._max_idle:
            connection.hang_up()
            return
        connection.idle_since = self.loop.time()
        idle.append(connection)
        if self._sweep is None:
            self._sweep = self.loop.call_later(self._keep_alive_s, self._sweep_idle)

    def _sweep_idle(self) -> None:
        self._sweep = None
        oldest: float | None = None
        now = self.loop.time()
        for origin, idle in list(self._idle.items()):
            kept = []
            for connection in idle:
                # The same sum as in `call_at`: on a clock that jumps, another rounding would never get past it.
                if connection.idle_since + self._keep_alive_s <= now:
                    connection.hang_up()
                else:
                    kept.append(connection)
                    if oldest is None or connection.idle_since < oldest:
                        oldest = connection.idle_since
            if kept:
                self._idle[origin] = kept
            else:
                del self._idle[origin]
        if oldest is not None:
            self._sweep = self.loop.call_at(oldest + self._keep_alive_s, self._sweep_idle)

    def gone(self, connection: OriginConnection) -> None:
        self._connections.discard(connection)
        idle = self._idle.get(connection.origin)
        if idle is not None and connection in idle:
            idle.remove(connection)

    def forget(self, stream: Http1ClientStream) -> None:
        connection, stream._connection = stream._connection, None
        if stream._dial is not None:
            stream._dial.cancel()
        elif connection is not None:
            connection.drop()

    def _lose(self, stream: Http1ClientStream, code: int, error: OriginError) -> None:
        if stream._over:
            return
        stream._over = True
        stream.reason = error
        stream.user.lost(code)

    def lose_soon(self, stream: Http1ClientStream, code: int, error: OriginError) -> None:
        """From within a method of the stream: its user hears of it in the next turn."""
        stream._over = True
        stream.reason = error
        self.forget(stream)
        self.loop.call_soon(_tell_lost, stream, code)


def _tell_lost(stream: Http1ClientStream, code: int) -> None:
    # The user of this moment: the stream may have been coupled since.
    stream.user.lost(code)

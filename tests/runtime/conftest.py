"""A loop whose time jumps and whose network is two queues: connections are driven without a socket and without waiting.

`Loop` is an asyncio loop whose selector advances a clock instead of sleeping, so `await asyncio.sleep(1)` means "let
everything happen that happens within a second". `create_connection` and `create_server`, and their Unix twins, hand
out `Pipe` ends.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from runtime.http2 import Http2Connection, Http2Stream
from runtime.streams import Headers, Stream, StreamUser

REQUEST: Headers = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"app.example.com"),
    (b":path", b"/"),
]
POST: Headers = [(b":method", b"POST"), *REQUEST[1:]]


class _Selector(selectors.BaseSelector):
    """Nothing ever becomes readable; waiting is what moves the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, _fd(fileobj), events, data)
        self._keys[key.fd] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(_fd(fileobj))

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[_fd(fileobj)]

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "everything waits and nothing will happen"
        self.now += max(0.0, timeout)
        return []

    def get_map(self) -> Any:
        return self._keys


def _fd(fileobj: Any) -> int:
    return fileobj if isinstance(fileobj, int) else int(fileobj.fileno())


class Pipe(asyncio.Transport):
    """One end of a connection in memory. What is written arrives `delay` later, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str, delay: float = 0.0) -> None:
        super().__init__({"peername": ("192.0.2.9", 9), "sockname": ("192.0.2.1", 80)})
        self.loop = loop
        self.name = name
        self.delay = delay
        self.other: Pipe | None = None
        self.protocol: Any = None
        self.written = 0
        self.chunks: list[bytes] = []
        self.aborted = False
        self.eof_written = False
        self._in_flight: list[bytes | None] = []
        self._inbox: list[bytes | None] = []
        self._buffered = 0
        self._high, self._low = 64 * 1024, 16 * 1024
        self._writing_paused = False
        self._reading = True
        self._closing = False
        self._lost = False

    def write(self, data: Any) -> None:
        if self._closing or not data:
            return
        assert not self.eof_written
        data = bytes(data)
        self.written += len(data)
        self.chunks.append(data)
        self._buffered += len(data)
        self._send(data)
        if self._buffered > self._high and not self._writing_paused:
            self._writing_paused = True
            self.protocol.pause_writing()

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def _send(self, item: bytes | None) -> None:
        # Timers of the same moment fire in any order, so what arrives is taken from a queue.
        self._in_flight.append(item)
        if self.delay:
            self.loop.call_later(self.delay, self._arrive)
        else:
            self.loop.call_soon(self._arrive)

    def _arrive(self) -> None:
        assert self.other is not None
        self.other._inbox.append(self._in_flight.pop(0))
        self.other._deliver()

    def _deliver(self) -> None:
        while self._inbox and self._reading and not self._lost:
            item = self._inbox.pop(0)
            if item is None:
                if not self._closing and not self.protocol.eof_received():
                    self.close()
                continue
            assert self.other is not None
            self.other._taken(len(item))
            if not self._closing:
                self._give(item)

    def _give(self, item: bytes) -> None:
        if isinstance(self.protocol, asyncio.BufferedProtocol):
            view = memoryview(item)
            while view:
                buffer = self.protocol.get_buffer(len(view))
                part = view[: len(buffer)]
                buffer[: len(part)] = part
                self.protocol.buffer_updated(len(part))
                view = view[len(part) :]
        else:
            self.protocol.data_received(item)

    def _taken(self, size: int) -> None:
        self._buffered -= size
        if self._writing_paused and self._buffered <= self._low:
            self._writing_paused = False
            self.protocol.resume_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high if high is not None else 64 * 1024
        self._low = low if low is not None else self._high // 4

    def get_write_buffer_size(self) -> int:
        return self._buffered

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self.loop.call_soon(self._deliver)

    def is_reading(self) -> bool:
        return self._reading

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self.eof_written and not self._closing:
            self.eof_written = True
            self._send(None)

    def is_closing(self) -> bool:
        return self._closing

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def close(self) -> None:
        if not self._closing:
            if not self.eof_written:
                self._send(None)
            self._closing = True
            self.loop.call_soon(self._say_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self._closing = True
        self.loop.call_soon(self._say_lost, None)
        assert self.other is not None
        self.loop.call_later(self.delay, self.other._reset)

    def _reset(self) -> None:
        self._closing = True
        self._inbox.clear()
        self.loop.call_soon(self._say_lost, ConnectionResetError("reset by peer"))

    def _say_lost(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self.protocol.connection_lost(error)


class Loop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)
        self.doors: dict[Any, Callable[[], Any]] = {}
        self.pipes: list[tuple[Pipe, Pipe]] = []
        self.failures: list[dict[str, Any]] = []
        self.dial_delay = 0.0
        self.set_exception_handler(lambda _, context: self.failures.append(context))

    def time(self) -> float:
        return self._clock.now

    def join(self, left: Any, right: Any, delay: float = 0.0) -> tuple[Pipe, Pipe]:
        """Connect two protocols."""
        near, far = Pipe(self, "near", delay), Pipe(self, "far", delay)
        near.other, far.other = far, near
        near.protocol, far.protocol = left, right
        self.pipes.append((near, far))
        right.connection_made(far)
        left.connection_made(near)
        return near, far

    async def _dial(self, factory: Callable[[], Any], where: Any) -> tuple[Pipe, Any]:
        await asyncio.sleep(self.dial_delay)
        if where not in self.doors:
            raise ConnectionRefusedError(111, "Connection refused")
        protocol = factory()
        near, _ = self.join(protocol, self.doors[where]())
        return near, near.protocol

    async def create_connection(
        self, factory: Any, host: Any = None, port: Any = None, **_: Any
    ) -> Any:  # type: ignore[override]
        return await self._dial(factory, (host, port))

    async def create_unix_connection(self, factory: Any, path: Any = None, **_: Any) -> Any:  # type: ignore[override]
        return await self._dial(factory, path)

    async def create_server(
        self, factory: Any, host: Any = None, port: Any = None, **_: Any
    ) -> Any:  # type: ignore[override]
        return self._open((host, port), factory)

    async def create_unix_server(self, factory: Any, path: Any = None, **_: Any) -> Any:  # type: ignore[override]
        return self._open(path, factory)

    def _open(self, where: Any, factory: Any) -> Any:
        self.doors[where] = factory

        class Server:
            sockets = ()

            @staticmethod
            def close() -> None:
                self.doors.pop(where, None)

        return Server()


class Recorder:
    """A user that writes down what it hears. It gives credit at once unless `stingy`."""

    def __init__(self, stream: Stream | None = None, *, stingy: bool = False) -> None:
        self.stream = stream
        self.stingy = stingy
        self.events: list[Any] = []
        self.body = bytearray()
        self.held = 0
        self.on_headers: Callable[[Headers, bool], None] | None = None

    def headers_received(self, headers: Headers, end: bool) -> None:
        self.events.append(
            ("headers", dict(headers).get(b":status") or dict(headers)[b":path"], end)
        )
        self.headers = headers
        if self.on_headers is not None:
            self.on_headers(headers, end)

    def data_received(self, data: bytes, end: bool) -> None:
        self.body += data
        if end:
            self.events.append("end")
        if self.stingy:
            self.held += len(data)
        elif self.stream is not None:
            self.stream.credit(len(data))

    def pay(self) -> None:
        held, self.held = self.held, 0
        assert self.stream is not None
        self.stream.credit(held)

    def trailers_received(self, headers: Headers) -> None:
        self.events.append(("trailers", headers))

    def drained(self) -> None:
        self.events.append("drained")

    def lost(self, code: int) -> None:
        self.events.append(("lost", code))


class Site:
    """A server side that keeps what arrives: `site.take` is an `on_request`."""

    def __init__(self) -> None:
        self.exchanges: list[Recorder] = []
        self.stingy = False
        self.handler: Callable[[Recorder, Headers, bool], None] | None = None

    def take(self, stream: Stream) -> StreamUser:
        recorder = Recorder(stream, stingy=self.stingy)
        if self.handler is not None:
            handler = self.handler
            recorder.on_headers = lambda headers, end: handler(recorder, headers, end)
        self.exchanges.append(recorder)
        return recorder

    @property
    def last(self) -> Recorder:
        return self.exchanges[-1]


class Http2Pair:
    """A client and a server connection joined in memory."""

    def __init__(
        self,
        loop: Loop,
        *,
        delay: float = 0.0,
        client: Any = None,
        server: Any = None,
        take: Any = None,
    ) -> None:
        self.site = Site()
        self.lost: list[tuple[str, str]] = []
        self.client = Http2Connection(
            "client", on_lost=lambda reason: self.lost.append(("client", reason)), **(client or {})
        )
        self.server = Http2Connection(
            "server",
            on_request=take or self.site.take,
            on_lost=lambda reason: self.lost.append(("server", reason)),
            **(server or {}),
        )
        self.near, self.far = loop.join(self.client, self.server, delay)

    def request(
        self, headers: Headers | None = None, *, end: bool = True, stingy: bool = False
    ) -> tuple[Http2Stream, Recorder]:
        user = Recorder(stingy=stingy)
        stream = self.client.open(user)
        user.stream = stream
        stream.send_headers(headers or REQUEST, end=end)
        return stream, user


Main = Callable[[Loop], Coroutine[Any, Any, None]]


@pytest.fixture
def run() -> Callable[[Main], None]:
    """Run an async test body on a `Loop`; whatever its users did wrong fails the test."""

    def runner(main: Main) -> None:
        loop = Loop()
        try:
            asyncio.set_event_loop(loop)
            loop.run_until_complete(main(loop))
            assert loop.failures == []
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    return runner


@pytest.fixture
def http2_pair() -> type[Http2Pair]:
    return Http2Pair


@pytest.fixture
def recorder() -> type[Recorder]:
    return Recorder


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture(params=["ngh2", "h2"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)

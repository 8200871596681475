"""HTTP/1.1 with whoever dialled us, one exchange after the other, each a `Stream`.

The parser (`wire.http1`) holds pipelined requests back; they are served in order. A request that offers an upgrade
arrives with an `upgrade` field and is not ended: answer 101 and both directions are raw bytes; answer anything else
and the request ends as if it had never offered.

A head that does not come in time is answered 408, one that is too large 431, one that is no HTTP 400; then the
connection is closed, for after such a thing nobody knows where the next request starts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from runtime.http1.server_stream import NO_PEER, Http1ServerStream
from runtime.streams import HIGH_WATER, LOW_WATER, Headers, Peer, Stream, StreamUser
from runtime.transports import Discard, peer_of
from wire import http1
from wire.http1 import Http1Error, Http1Limits, RequestParser
from wire.http2.engine import ErrorCode
from wire.http2.fields import MalformedFieldError

_DISCARD = Discard()
_JOIN_LIMIT = 16 * 1024
# What is worth a turn of the loop: lines are fields or chunks, and each is a call or two.
_LINES = 512
_CUT_LINGER_S = 0.05
# Where every connection of the process reads into; see runtime/http2/connection.py. Copied at once, for bodies are
# passed on as they are. Smaller than there: chunks of a byte are thousands of calls in one turn of the loop.
_BUFFER = memoryview(bytearray(32 * 1024))


@dataclass(frozen=True, slots=True, kw_only=True)
class Http1Timeouts:
    """Seconds a connection may take."""

    head_s: float = 10.0
    """From the first byte of a request (or the connection's start) to the end of its head."""
    idle_s: float = 75.0
    """Between an answer and the next request."""
    linger_s: float = 2.0
    """After an early answer: how long the rest of the request is read and thrown away before we hang up."""


class Http1ServerProtocol(asyncio.BufferedProtocol):
    """One accepted connection. `on_request(stream)` returns the user of a new exchange; `on_lost(reason)` comes once.

    `on_refused(peer, error)` tells of bytes that never became an exchange.
    """

    def __init__(
        self,
        *,
        on_request: Callable[[Stream], StreamUser],
        on_lost: Callable[[str], None] | None = None,
        on_refused: Callable[[Peer, Http1Error], None] | None = None,
        limits: Http1Limits | None = None,
        timeouts: Http1Timeouts | None = None,
        scheme: str | None = None,
    ) -> None:
        self._on_request = on_request
        self._on_lost = on_lost
        self._on_refused = on_refused
        self._limits = limits or Http1Limits()
        self._timeouts = timeouts or Http1Timeouts()
        self._scheme = scheme
        self.peer = NO_PEER
        self.requests = 0
        self._transport: asyncio.Transport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._parser: RequestParser | None = None
        self._stream: Http1ServerStream | None = None
        # A head waits here for the first piece of its body, at most until the end of the turn.
        self._head = b""
        self._flush_due = False
        self._closing = False
        self._draining = False
        self._reading_paused = False
        # What was read and waits for its turn; meanwhile nothing more is read.
        self._kept: deque[bytes] = deque()
        self._turn_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None

    @property
    def busy(self) -> bool:
        """Whether an exchange is under way."""
        return self._stream is not None

    @property
    def streams(self) -> int:
        return 1 if self._stream is not None else 0

    def drain(self) -> None:
        """Close after the exchange under way, or now."""
        self._draining = True
        if self._stream is None:
            self._close()

    def close(self) -> None:
        self._close()

    def abort(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def __str__(self) -> str:
        state = "busy" if self.busy else "idle"
        return (
            f"http/1.1 server {self.peer.address}:{self.peer.port} {state} ({self.requests} so far)"
        )

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        self.peer = peer_of(self._transport, "http/1.1")
        self._transport.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)
        self._parser = RequestParser(self, self._scheme or self.peer.scheme, self._limits)
        self._expect_within(self._timeouts.head_s)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(_BUFFER[:nbytes]))

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        assert self._parser is not None
        lines = 0 if self._parser.only_body(len(data)) else data.count(b"\n")
        if lines <= _LINES and not self._kept:
            self._feed(data)
            return
        step = max(1, len(data) * _LINES // max(_LINES, lines))
        self._kept += [data[at : at + step] for at in range(0, len(data), step)]
        self.adjust_reading()

    def _next_turn(self) -> None:
        self._turn_due = False
        if self._closing:
            self._kept.clear()
        elif self._kept and self._parser is not None and not self._parser.waiting:
            self._feed(self._kept.popleft())

    def _feed(self, data: bytes) -> None:
        assert self._parser is not None
        try:
            self._parser.feed(data)
        except Http1Error as error:
            self._refuse(error)
            return
        if self._stream is None and self._parser.in_head and not self._head_begun:
            self._head_begun = True
            self._expect_within(self._timeouts.head_s)
        self.adjust_reading()

    _head_begun = False

    def eof_received(self) -> bool:
        stream = self._stream
        if stream is not None and stream._raw and not stream._peer_ended:
            stream._peer_ended = True
            stream.user.data_received(b"", True)
            return not stream._ended and not self.peer.tls
        # A client that closes its half is taken to be gone, as most servers do: an event stream would otherwise be
        # fed until a write fails.
        return False

    def pause_writing(self) -> None:
        if self._stream is not None:
            self._stream._waits = True

    def resume_writing(self) -> None:
        stream = self._stream
        if stream is not None and stream._waits:
            stream._waits = False
            if not stream._ended:
                stream.user.drained()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        stream, self._stream = self._stream, None
        if stream is not None:
            self._lose(stream, ErrorCode.CANCEL)
        if self._on_lost is not None:
            self._on_lost((str(exc) or type(exc).__name__) if exc is not None else "closed")

    # What the parser calls (wire.http1.MessageSink)

    def head_received(self, headers: Headers, end: bool, upgrade: bool) -> None:
        self._deadline = None
        self._head_begun = False
        self.requests += 1
        stream = Http1ServerStream(self)
        stream._peer_ended = end
        stream._upgrade = upgrade
        self._stream = stream
        try:
            stream.user = self._on_request(stream)
            stream.user.headers_received(headers, end)
        except Exception as error:  # noqa: BLE001  a bug in one exchange ends that exchange
            self._user_failed(stream, error)
            return
        assert self._parser is not None
        if (
            self._parser.traits.expects_continue
            and not end
            and not stream._final
            and not self._closing
        ):
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def body_received(self, data: bytes, end: bool) -> None:
        stream = self._stream
        if stream is None:
            return
        stream._held += len(data)
        stream._peer_ended = end
        try:
            stream.user.data_received(data, end)
        except Exception as error:  # noqa: BLE001
            self._user_failed(stream, error)
            return
        if end:
            self._maybe_next(stream)

    def trailers_received(self, headers: Headers) -> None:
        stream = self._stream
        if stream is None:
            return
        stream._peer_ended = True
        try:
            stream.user.trailers_received(headers)
        except Exception as error:  # noqa: BLE001
            self._user_failed(stream, error)
            return
        self._maybe_next(stream)

    # What exchanges ask (runtime.http1.server_stream.Carrier)

    def send_headers(self, stream: Http1ServerStream, headers: Headers, end: bool) -> None:
        assert not stream._final, "two final heads"
        assert self._parser is not None
        assert self._loop is not None
        traits = self._parser.traits
        status = headers[0][1]
        if status[:1] == b"1" and status != b"101":
            if traits.version == "1.1":
                with contextlib.suppress(MalformedFieldError):
                    self._write(http1.response_head(headers, chunked=False, close=False))
            return
        stream._final = True
        close = self._draining or not traits.keep_alive
        stream._no_body = http1.has_no_body(status, traits.head_only)
        length = http1.content_length(headers)
        if status == b"101":
            stream._no_body = False
            stream._raw = stream._upgrade
            close = not stream._upgrade
        elif not stream._no_body:
            stream._remaining = length
            if length is None:
                if end:
                    headers = [*headers, (b"content-length", b"0")]
                    stream._remaining = 0
                elif traits.version == "1.1":
                    stream._chunked = True
                else:
                    close = True
        if close:
            self._draining = True
        try:
            head = http1.response_head(headers, chunked=stream._chunked, close=close)
        except MalformedFieldError:
            self._fail(stream)
            return
        if traits.version == "1.0" and not close:
            head = head[:-2] + b"connection: keep-alive\r\n\r\n"
        self._head = head
        if end:
            self._finish(stream, b"")
        elif not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)
        if stream._raw:
            self._flush()
            self._parser.accept_upgrade()
        elif stream._upgrade and not stream._peer_ended:
            self._loop.call_soon(self._end_request, stream)

    def send_data(self, stream: Http1ServerStream, data: bytes, end: bool) -> None:
        assert stream._final, "body before the head"
        if stream._no_body:
            data = b""
        if stream._remaining is not None:
            stream._remaining -= len(data)
            if stream._remaining < 0:
                self._fail(stream)
                return
        if stream._chunked and data:
            if len(data) > _JOIN_LIMIT:
                self._write_many([self._take_head() + b"%x\r\n" % len(data), data, b"\r\n"])
                data = b""
            else:
                data = b"%x\r\n%b\r\n" % (len(data), data)
        if end:
            self._finish(stream, data + b"0\r\n\r\n" if stream._chunked else data)
        elif data:
            self._write(data)

    def send_trailers(self, stream: Http1ServerStream, headers: Headers) -> None:
        assert stream._final, "trailers before the head"
        # Without chunks there is no place for trailers: RFC 9110 section 6.5.1 lets them be dropped.
        self._finish(stream, http1.last_chunk(headers) if stream._chunked else b"")

    def _finish(self, stream: Http1ServerStream, last: bytes) -> None:
        """Our direction ends with these bytes."""
        if stream._remaining and not stream._no_body:
            self._fail(
                stream
            )  # less than was promised: the next answer must not be read as the rest
            return
        stream._ended = True
        if last or self._head:
            self._write(last)
        if stream._raw:
            self._end_raw(stream)
        else:
            self._maybe_next(stream)

    def _end_raw(self, stream: Http1ServerStream) -> None:
        transport = self._transport
        if transport is None:
            return
        if stream._peer_ended or not transport.can_write_eof():
            self._close()
        else:
            transport.write_eof()

    def _end_request(self, stream: Http1ServerStream) -> None:
        """An offered upgrade was not taken, so the request is over."""
        if stream._connection is None or stream._peer_ended:
            return
        stream._peer_ended = True
        stream.user.data_received(b"", True)
        self._maybe_next(stream)

    def _maybe_next(self, stream: Http1ServerStream) -> None:
        """Go on when both directions have ended."""
        if not (stream._ended and stream._peer_ended) or stream._connection is None:
            return
        stream._connection = None
        if self._stream is stream:
            self._stream = None
        if stream._raw or self._draining:
            self._close()
            return
        self._expect_within(self._timeouts.idle_s)
        assert self._parser is not None
        assert self._loop is not None
        if stream._upgrade or self._parser.waiting:
            # In a turn of its own: a thousand pipelined requests must not become a thousand nested calls.
            self._loop.call_soon(self._next_message, stream._upgrade)
        else:
            self._parser.next_message()

    def _next_message(self, refused_upgrade: bool) -> None:
        if self._closing or self._stream is not None:
            return
        assert self._parser is not None
        try:
            if refused_upgrade:
                self._parser.refuse_upgrade()
            self._parser.next_message()
        except Http1Error as error:
            self._refuse(error)
            return
        self.adjust_reading()

    def reset_stream(self, stream: Http1ServerStream, code: int) -> None:
        stream._connection = None
        stream.user = _DISCARD
        if self._stream is stream:
            self._stream = None
        if code == ErrorCode.NO_ERROR and stream._ended:
            self._linger()
        else:
            self._flush()
            self.abort()

    def _linger(self) -> None:
        """The answer is out, the request is not all in: closing now could destroy the answer on its way."""
        self._flush()
        self._closing = True
        transport = self._transport
        if transport is None:
            return
        assert self._loop is not None
        if transport.can_write_eof():
            transport.write_eof()
        if self._reading_paused:
            self._reading_paused = False
            transport.resume_reading()
        self._loop.call_later(self._timeouts.linger_s, transport.close)

    def _cut(self) -> None:
        """Nothing more is read; the answer has a moment to leave, which a reset at once would not give it."""
        self._closing = True
        transport = self._transport
        if transport is not None and not transport.is_closing():
            assert self._loop is not None
            if not self._reading_paused:
                transport.pause_reading()
            self._loop.call_later(_CUT_LINGER_S, transport.abort)

    # Inside

    @property
    def backlog(self) -> int:
        transport = self._transport
        if transport is None:
            return 0
        return transport.get_write_buffer_size() + len(self._head)

    def _take_head(self) -> bytes:
        head, self._head = self._head, b""
        return head

    def _write(self, data: bytes) -> None:
        if self._head:
            data = self._take_head() + data
        if self._transport is not None:
            self._transport.write(data)

    def _write_many(self, parts: list[bytes]) -> None:
        if self._transport is not None:
            self._transport.writelines(parts)

    def _flush(self) -> None:
        self._flush_due = False
        if self._head:
            self._write(b"")

    def adjust_reading(self) -> None:
        transport = self._transport
        if transport is None or self._closing:
            return
        assert self._parser is not None
        stream = self._stream
        held = stream._held if stream is not None else 0
        waiting = self._parser.waiting
        if self._kept and not waiting and not self._turn_due and held < HIGH_WATER:
            assert self._loop is not None
            self._turn_due = True
            self._loop.call_soon(self._next_turn)
        if self._reading_paused:
            if held < LOW_WATER and not waiting and not self._kept:
                self._reading_paused = False
                transport.resume_reading()
        elif held > HIGH_WATER or waiting or self._kept:
            self._reading_paused = True
            transport.pause_reading()

    def _close(self) -> None:
        self._flush()
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def _refuse(self, error: Http1Error) -> None:
        """Answer what is no request, if nothing of another answer is out yet, and hang up."""
        if self._on_refused is not None:
            self._on_refused(self.peer, error)
        stream, self._stream = self._stream, None
        if stream is None or not stream._final:
            body = error.reason.encode() + b"\n"
            head: Headers = [
                (b":status", b"%d" % error.status),
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", b"%d" % len(body)),
            ]
            self._head = b""
            self._write(http1.response_head(head, chunked=False, close=True) + body)
        if stream is not None:
            self._lose(stream, ErrorCode.PROTOCOL_ERROR)
        if error.flood:
            self._cut()
        else:
            self._linger()

    def _fail(self, stream: Http1ServerStream) -> None:
        """The user broke the message's framing: end the connection so that nobody takes it for whole."""
        user = stream.user
        self._head = b""
        self.reset_stream(stream, ErrorCode.INTERNAL_ERROR)
        if self._loop is not None:
            self._loop.call_soon(user.lost, ErrorCode.INTERNAL_ERROR)

    def _lose(self, stream: Http1ServerStream, code: int) -> None:
        if stream._connection is None:
            return
        stream._connection = None
        if not (stream._ended and stream._peer_ended):
            stream.user.lost(code)

    def _user_failed(self, stream: Http1ServerStream, error: Exception) -> None:
        assert self._loop is not None
        self._loop.call_exception_handler(
            {"message": "a stream's user failed", "exception": error, "protocol": self}
        )
        if stream._connection is not None:
            user = stream.user
            self.reset_stream(stream, ErrorCode.INTERNAL_ERROR)
            user.lost(ErrorCode.INTERNAL_ERROR)

    def _expect_within(self, seconds: float) -> None:
        """Something must happen in time. One timer, re-armed when it fires: a request costs an assignment."""
        assert self._loop is not None
        self._deadline = self._loop.time() + seconds
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._timer_fired)
        elif self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = self._loop.call_later(seconds, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        if self._deadline is None or self._closing:
            return
        assert self._loop is not None
        assert self._parser is not None
        if self._deadline > self._loop.time():
            self._timer = self._loop.call_at(self._deadline, self._timer_fired)
        elif self._parser.in_head:
            self._refuse(Http1Error(408, "the head of the request did not come in time"))
        else:
            self._close()

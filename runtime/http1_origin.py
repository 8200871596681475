"""One connection to an origin and the exchange it carries, as `runtime.http1_client` pools them."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from runtime.streams import HIGH_WATER, LOW_WATER, Headers, Peer, StreamUser
from runtime.tls import explain
from runtime.transports import Discard, peer_of
from wire import http1
from wire.http1 import Http1Error, ResponseParser
from wire.http2.engine import ErrorCode
from wire.http2.fields import MalformedFieldError

if TYPE_CHECKING:
    from runtime.http1_client import Http1Client

_DISCARD = Discard()
_JOIN_LIMIT = 16 * 1024
_IDEMPOTENT = (b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE")
_NO_PEER = Peer("", 0, "", 0, "http/1.1", tls=False)


class OriginError(Exception):
    """Why an exchange with an origin failed; the text is for an error page and the log."""


class OriginUnreachableError(OriginError):
    pass


class OriginTimeoutError(OriginError):
    pass


class OriginProtocolError(OriginError):
    pass


class OriginClosedError(OriginError):
    pass


@dataclass(frozen=True, slots=True)
class Origin:
    """Where to connect. With `unix_path` host and port do not matter; with `tls` the server's name is checked."""

    host: str = ""
    port: int = 0
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    unix_path: str | None = None

    def __str__(self) -> str:
        if self.unix_path is not None:
            return f"unix:{self.unix_path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


class Http1ClientStream:
    """One request to an origin and its answer. See `runtime.streams.Stream`."""

    __slots__ = (
        "_chunked",
        "_client",
        "_connection",
        "_dial",
        "_early",
        "_early_size",
        "_ended",
        "_head",
        "_held",
        "_method",
        "_over",
        "_peer_ended",
        "_remaining",
        "_retriable",
        "_upgrade",
        "_waits",
        "origin",
        "reason",
        "user",
    )

    def __init__(self, client: Http1Client, user: StreamUser, origin: Origin) -> None:
        self.user = user
        self.origin = origin
        self.reason: OriginError | None = None
        self._client = client
        self._connection: OriginConnection | None = None
        self._dial: asyncio.Task[None] | None = None
        self._over = False
        self._ended = False
        self._peer_ended = False
        self._head = b""
        self._method = b""
        self._upgrade = False
        self._chunked = False
        self._remaining: int | None = None
        self._retriable = False
        self._early: list[bytes] = []
        self._early_size = 0
        self._held = 0
        self._waits = False

    @property
    def peer(self) -> Peer:
        return self._connection.peer if self._connection is not None else _NO_PEER

    @property
    def lost(self) -> bool:
        return self._over

    @property
    def backlog(self) -> int:
        connection = self._connection
        if connection is not None:
            return connection._backlog()
        return self._early_size

    def send_headers(self, headers: Headers, *, end: bool = False) -> None:
        if self._over:
            return
        assert not self._head, "two request heads"
        upgrade = False
        for name, value in headers:
            if name == b":method":
                self._method = value
            elif name == b"upgrade":
                upgrade = True
        self._upgrade = upgrade
        self._ended = end
        self._remaining = http1.content_length(headers)
        if upgrade:
            self._remaining = None
        elif end:
            if self._remaining is None and self._method in (b"POST", b"PUT", b"PATCH"):
                headers = [*headers, (b"content-length", b"0")]
            self._remaining = None
        else:
            self._chunked = self._remaining is None
        self._retriable = end and self._method in _IDEMPOTENT
        try:
            self._head = http1.request_head(headers, chunked=self._chunked)
        except MalformedFieldError as error:
            self._client._lose_soon(self, ErrorCode.PROTOCOL_ERROR, OriginProtocolError(str(error)))
            return
        self._client._begin(self)

    def send_data(self, data: bytes, *, end: bool = False) -> None:
        if self._over:
            return
        assert not self._ended, "body after its end"
        if self._remaining is not None:
            self._remaining -= len(data)
            if self._remaining < 0 or (end and self._remaining):
                self._framing_broken()
                return
        if end:
            self._ended = True
        if self._chunked:
            if len(data) > _JOIN_LIMIT:
                self._put(b"%x\r\n" % len(data))
                self._put(data)
                self._put(b"\r\n0\r\n\r\n" if end else b"\r\n")
            else:
                self._put(http1.chunk(data) + (b"0\r\n\r\n" if end else b""))
        elif data:
            self._put(data)
        if end:
            self._sent_all()

    def send_trailers(self, headers: Headers) -> None:
        if self._over:
            return
        assert not self._ended, "trailers after the end"
        if self._remaining:
            self._framing_broken()
            return
        self._ended = True
        if self._chunked:
            self._put(http1.last_chunk(headers))
        self._sent_all()

    def reset(self, code: int) -> None:
        if self._over:
            return
        self._over = True
        self.user = _DISCARD
        self._client._forget(self)

    def credit(self, size: int) -> None:
        self._held -= size
        connection = self._connection
        if connection is not None and connection._reading_paused:
            connection._adjust_reading()

    def _put(self, data: bytes) -> None:
        if not data:
            return
        if self._connection is not None:
            self._connection._write(data)
        else:
            self._early.append(data)
            self._early_size += len(data)
            if self._early_size > HIGH_WATER:
                self._waits = True

    def _sent_all(self) -> None:
        if self._connection is not None and self._upgrade:
            self._connection._end_raw(self)

    def _framing_broken(self) -> None:
        error = OriginProtocolError("the request body has another length than declared")
        self._client._lose_soon(self, ErrorCode.PROTOCOL_ERROR, error)


class OriginConnection(asyncio.Protocol):
    """One connection to an origin: idle in the pool, or carrying one exchange."""

    def __init__(self, client: Http1Client, origin: Origin) -> None:
        self._client = client
        self.origin = origin
        self.peer = _NO_PEER
        self.reused = False
        self.idle_since = 0.0
        self._parser = ResponseParser(self, client.limits)
        self._transport: asyncio.Transport | None = None
        self._stream: Http1ClientStream | None = None
        self._head = b""
        self._reading_paused = False
        self._writing_paused = False

    def start(self, stream: Http1ClientStream) -> None:
        """Carry this exchange: write its head, and what body came before there was a connection."""
        self._stream = stream
        stream._connection = self
        self._parser.expect(stream._method, upgrade=stream._upgrade)
        early, stream._early = stream._early, []
        stream._early_size = 0
        if early or stream._ended:
            assert self._transport is not None
            self._transport.write(b"".join([stream._head, *early]))
            if stream._waits and not stream._ended:
                self._client.loop.call_soon(self._drained_early, stream)
        else:
            # The first piece of the body is likely to come within this turn: one write for both.
            self._head = stream._head
            self._client.loop.call_soon(self._flush_head)

    def _drained_early(self, stream: Http1ClientStream) -> None:
        if not stream._over and stream._waits and not self._writing_paused:
            stream._waits = False
            stream.user.drained()

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)
        self.peer = peer_of(self._transport, "http/1.1")

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed(data)
        except Http1Error as error:
            self._broken(OriginProtocolError(error.reason))
            return
        if self._stream is not None:
            self._adjust_reading()

    def eof_received(self) -> bool:
        stream = self._stream
        if stream is None:
            return False
        try:
            self._parser.eof()
        except Http1Error as error:
            self._closed_early(error.reason)
            return False
        return self._stream is not None and not stream._ended and self.origin.tls is None

    def pause_writing(self) -> None:
        self._writing_paused = True
        if self._stream is not None:
            self._stream._waits = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        stream = self._stream
        if stream is not None and stream._waits:
            stream._waits = False
            if not stream._ended:
                stream.user.drained()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._client._gone(self)
        if self._stream is not None:
            self._closed_early(explain(exc) if exc is not None else "the connection was closed")

    # What the parser calls (wire.http1.MessageSink)

    def head_received(self, headers: Headers, end: bool, upgrade: bool) -> None:
        stream = self._stream
        if stream is None:
            return
        if end:
            self._answered(stream)
        stream.user.headers_received(headers, end)
        if end:
            self._after_answer(stream)

    def body_received(self, data: bytes, end: bool) -> None:
        stream = self._stream
        if stream is None:
            return
        stream._held += len(data)
        if end:
            self._answered(stream)
        stream.user.data_received(data, end)
        if end:
            self._after_answer(stream)

    def trailers_received(self, headers: Headers) -> None:
        stream = self._stream
        if stream is None:
            return
        self._answered(stream)
        stream.user.trailers_received(headers)
        self._after_answer(stream)

    # Inside

    def _answered(self, stream: Http1ClientStream) -> None:
        """The answer is complete. The connection is free before the user hears, who may want it again at once."""
        stream._peer_ended = True
        if not stream._upgrade and stream._ended:
            stream._over = True
            stream._connection = None
            self._stream = None
            if self._reading_paused and self._transport is not None:
                self._reading_paused = False
                self._transport.resume_reading()
            if self._parser.reusable and self._transport is not None:
                self._client._release(self)
            else:
                self.hang_up()

    def _after_answer(self, stream: Http1ClientStream) -> None:
        if stream._over or stream._connection is not self:
            return
        if stream._upgrade:
            if stream._ended:
                stream._over = True
                self._stream = None
                self.hang_up()
            return
        # Answered before our body was complete: it wants no more of it, and this connection has no future.
        stream._over = True
        stream._connection = None
        self._stream = None
        self.hang_up()
        stream.user.lost(ErrorCode.NO_ERROR)

    def _end_raw(self, stream: Http1ClientStream) -> None:
        transport = self._transport
        if transport is None:
            return
        self._flush_head()
        if stream._peer_ended or not transport.can_write_eof():
            stream._over = stream._peer_ended
            transport.close()
        else:
            transport.write_eof()

    def _closed_early(self, reason: str) -> None:
        stream = self._stream
        if stream is None:
            return
        if self.reused and stream._retriable and not self._parser.begun:
            stream._retriable = False
            stream._connection = None
            self._stream = None
            self._client._dial_for(stream)
            return
        self._lose(ErrorCode.INTERNAL_ERROR, OriginClosedError(f"{self.origin}: {reason}"))

    def _broken(self, error: OriginError) -> None:
        self._lose(ErrorCode.PROTOCOL_ERROR, error)
        self.hang_up()

    def _lose(self, code: int, error: OriginError) -> None:
        stream, self._stream = self._stream, None
        if stream is None or stream._over:
            return
        stream._over = True
        stream._connection = None
        stream.reason = error
        if not (stream._ended and stream._peer_ended):
            stream.user.lost(code)

    def drop(self) -> None:
        """The stream was reset: nobody may take this connection again."""
        self._stream = None
        if self._transport is not None:
            self._transport.abort()

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.close()

    @property
    def alive(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def _backlog(self) -> int:
        if self._transport is None:
            return 0
        return self._transport.get_write_buffer_size() + len(self._head)

    def _write(self, data: bytes) -> None:
        if self._transport is None:
            return
        if self._head:
            head, self._head = self._head, b""
            if len(data) > _JOIN_LIMIT:
                self._transport.write(head)
            else:
                data = head + data
        self._transport.write(data)

    def _flush_head(self) -> None:
        if self._head:
            self._write(b"")

    def _adjust_reading(self) -> None:
        transport, stream = self._transport, self._stream
        if transport is None or stream is None:
            return
        if self._reading_paused:
            if stream._held < LOW_WATER:
                self._reading_paused = False
                transport.resume_reading()
        elif stream._held > HIGH_WATER:
            self._reading_paused = True
            transport.pause_reading()

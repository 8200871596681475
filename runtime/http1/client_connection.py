"""One connection to an origin: idle in the pool, or carrying one exchange."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from runtime.http1.client_stream import JOIN_LIMIT, NO_PEER, Http1ClientStream
from runtime.http1.origin import Origin, OriginClosedError, OriginError, OriginProtocolError
from runtime.streams import HIGH_WATER, LOW_WATER, Headers
from runtime.tls import explain
from runtime.transports import peer_of
from wire.http1 import Http1Error, Http1Limits, ResponseParser
from wire.http2.engine import ErrorCode


class ConnectionPool(Protocol):
    """What a connection asks of its client."""

    limits: Http1Limits
    loop: asyncio.AbstractEventLoop

    def release(self, connection: OriginConnection) -> None:
        """Its exchange is over, and it is fit for another."""

    def dial_for(self, stream: Http1ClientStream) -> None:
        """Its connection died idle: try once more with a fresh one."""

    def gone(self, connection: OriginConnection) -> None: ...


class OriginConnection(asyncio.Protocol):
    """One connection to an origin: idle in the pool, or carrying one exchange."""

    def __init__(self, client: ConnectionPool, origin: Origin) -> None:
        self._client = client
        self.origin = origin
        self.peer = NO_PEER
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
            self.adjust_reading()

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
        self._client.gone(self)
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
                self._client.release(self)
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

    def end_raw(self, stream: Http1ClientStream) -> None:
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
            self._client.dial_for(stream)
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
        self._stream = None
        self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.close()

    @property
    def alive(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def backlog(self) -> int:
        if self._transport is None:
            return 0
        return self._transport.get_write_buffer_size() + len(self._head)

    def write(self, data: bytes) -> None:
        if self._transport is None:
            return
        if self._head:
            head, self._head = self._head, b""
            if len(data) > JOIN_LIMIT:
                self._transport.write(head)
            else:
                data = head + data
        self._transport.write(data)

    def _flush_head(self) -> None:
        if self._head:
            self.write(b"")

    def adjust_reading(self) -> None:
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

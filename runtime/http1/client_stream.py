"""One request to an origin and its answer, as its user holds it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from runtime.http1.origin import Origin, OriginError, OriginProtocolError
from runtime.streams import HIGH_WATER, Headers, Peer, StreamUser
from runtime.transports import Discard
from wire import http1
from wire.http2.engine import ErrorCode
from wire.http2.fields import MalformedFieldError

NO_PEER = Peer("", 0, "", 0, "http/1.1", tls=False)
JOIN_LIMIT = 16 * 1024
_DISCARD = Discard()
_IDEMPOTENT = (b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE")


class Pool(Protocol):
    """What an exchange asks of its client."""

    def begin(self, stream: Http1ClientStream) -> None:
        """Its head is ready: find or dial a connection."""

    def forget(self, stream: Http1ClientStream) -> None:
        """Nobody wants it any more, nor what carries it."""

    def lose_soon(self, stream: Http1ClientStream, code: int, error: OriginError) -> None:
        """From within a method of the exchange: its user hears of it in the next turn."""


class Carrier(Protocol):
    """What an exchange asks of its connection."""

    peer: Peer

    @property
    def backlog(self) -> int:
        """Bytes that have not left this process."""

    def write(self, data: bytes) -> None: ...

    def end_raw(self, stream: Http1ClientStream) -> None:
        """Our half of an upgraded connection ends."""

    def adjust_reading(self) -> None:
        """Somebody gave credit: look whether to read again."""

    def drop(self) -> None:
        """The exchange was reset: nobody may take this connection again."""


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

    def __init__(self, client: Pool, user: StreamUser, origin: Origin) -> None:
        self.user = user
        self.origin = origin
        self.reason: OriginError | None = None
        self._client = client
        self._connection: Carrier | None = None
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
        return self._connection.peer if self._connection is not None else NO_PEER

    @property
    def lost(self) -> bool:
        return self._over

    @property
    def backlog(self) -> int:
        connection = self._connection
        if connection is not None:
            return connection.backlog
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
            self._client.lose_soon(self, ErrorCode.PROTOCOL_ERROR, OriginProtocolError(str(error)))
            return
        self._client.begin(self)

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
            if len(data) > JOIN_LIMIT:
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
        self._client.forget(self)

    def credit(self, size: int) -> None:
        self._held -= size
        connection = self._connection
        if connection is not None:
            connection.adjust_reading()

    def _put(self, data: bytes) -> None:
        if not data:
            return
        if self._connection is not None:
            self._connection.write(data)
        else:
            self._early.append(data)
            self._early_size += len(data)
            if self._early_size > HIGH_WATER:
                self._waits = True

    def _sent_all(self) -> None:
        if self._connection is not None and self._upgrade:
            self._connection.end_raw(self)

    def _framing_broken(self) -> None:
        error = OriginProtocolError("the request body has another length than declared")
        self._client.lose_soon(self, ErrorCode.PROTOCOL_ERROR, error)

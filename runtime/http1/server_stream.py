"""One request of a visitor over HTTP/1.1 and its answer, as its user holds it."""

from __future__ import annotations

from typing import Protocol

from runtime.streams import Headers, Peer, StreamUser
from runtime.transports import Discard

_DISCARD = Discard()
NO_PEER = Peer("", 0, "", 0, "http/1.1", tls=False)


class Carrier(Protocol):
    """What an exchange asks of its connection."""

    peer: Peer

    @property
    def backlog(self) -> int:
        """Bytes that have not left this process."""

    def send_headers(self, stream: Http1ServerStream, headers: Headers, end: bool) -> None: ...

    def send_data(self, stream: Http1ServerStream, data: bytes, end: bool) -> None: ...

    def send_trailers(self, stream: Http1ServerStream, headers: Headers) -> None: ...

    def reset_stream(self, stream: Http1ServerStream, code: int) -> None: ...

    def adjust_reading(self) -> None:
        """Somebody gave credit: look whether to read again."""


class Http1ServerStream:
    """One request and its answer. See `runtime.streams.Stream`."""

    __slots__ = (
        "_chunked",
        "_connection",
        "_ended",
        "_final",
        "_held",
        "_no_body",
        "_peer_ended",
        "_raw",
        "_remaining",
        "_upgrade",
        "_waits",
        "user",
    )

    def __init__(self, connection: Carrier) -> None:
        self.user: StreamUser = _DISCARD
        self._connection: Carrier | None = connection
        self._ended = False
        self._peer_ended = False
        self._final = False
        self._raw = False
        self._upgrade = False
        self._chunked = False
        self._no_body = False
        # Bytes of a declared length that are still to be sent; None when none was declared.
        self._remaining: int | None = None
        self._held = 0
        self._waits = False

    @property
    def peer(self) -> Peer:
        connection = self._connection
        return connection.peer if connection is not None else NO_PEER

    @property
    def lost(self) -> bool:
        return self._connection is None

    @property
    def backlog(self) -> int:
        connection = self._connection
        return connection.backlog if connection is not None else 0

    def send_headers(self, headers: Headers, *, end: bool = False) -> None:
        if self._connection is not None:
            self._connection.send_headers(self, headers, end)

    def send_data(self, data: bytes, *, end: bool = False) -> None:
        if self._connection is not None:
            self._connection.send_data(self, data, end)

    def send_trailers(self, headers: Headers) -> None:
        if self._connection is not None:
            self._connection.send_trailers(self, headers)

    def reset(self, code: int) -> None:
        if self._connection is not None:
            self._connection.reset_stream(self, code)

    def credit(self, size: int) -> None:
        self._held -= size
        connection = self._connection
        if connection is not None:
            connection.adjust_reading()

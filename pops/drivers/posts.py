"""Small whole messages between PoPs: a POST with a body that fits into memory, and its answer."""

from __future__ import annotations

from collections.abc import Callable

from runtime.http2 import ErrorCode, Http2Connection
from runtime.splice import answer
from runtime.streams import Headers, Stream


class SendPost:
    """Sends one; `on_done` comes once, with the answer's body, or None when it was refused or lost or is longer than
    `largest`. A small body needs no watch on the backlog."""

    def __init__(
        self,
        http2: Http2Connection,
        path: bytes,
        body: bytes,
        on_done: Callable[[bytes | None], None],
        *,
        largest: int = 64 * 1024,
    ) -> None:
        self._on_done: Callable[[bytes | None], None] | None = on_done
        self._ok = False
        self._largest = largest
        self._answer = bytearray()
        self._stream = http2.open(self)
        self._stream.send_headers(
            [
                (b":method", b"POST"),
                (b":scheme", b"https"),
                (b":authority", b"popnet"),
                (b":path", path),
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
            ]
        )
        self._stream.send_data(body, end=True)

    def headers_received(self, headers: Headers, end: bool) -> None:
        self._ok = headers[0][1][:1] == b"2"
        if end:
            self._done(self._ok)

    def data_received(self, data: bytes, end: bool) -> None:
        self._stream.credit(len(data))
        self._answer += data
        if len(self._answer) > self._largest:
            self._stream.reset(ErrorCode.CANCEL)
            self._done(False)
        elif end:
            self._done(self._ok)

    def trailers_received(self, headers: Headers) -> None:
        self._done(self._ok)

    def drained(self) -> None: ...

    def lost(self, code: int) -> None:
        self._done(False)

    def _done(self, ok: bool) -> None:
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            on_done(bytes(self._answer) if ok else None)


class CollectPost:
    """Receives one; `on_body` returns the status and the body to answer with."""

    def __init__(
        self, stream: Stream, largest: int, on_body: Callable[[bytes], tuple[int, bytes]]
    ) -> None:
        self._stream = stream
        self._largest = largest
        self._on_body = on_body
        self._body = bytearray()

    def headers_received(self, headers: Headers, end: bool) -> None: ...

    def data_received(self, data: bytes, end: bool) -> None:
        self._body += data
        self._stream.credit(len(data))
        if len(self._body) > self._largest:
            answer(self._stream, [(b":status", b"413")])
        elif end:
            self._answer()

    def trailers_received(self, headers: Headers) -> None:
        self._answer()

    def _answer(self) -> None:
        status, body = self._on_body(bytes(self._body))
        self._stream.send_headers([(b":status", b"%d" % status)], end=not body)
        if body:
            self._stream.send_data(body, end=True)

    def drained(self) -> None: ...

    def lost(self, code: int) -> None: ...

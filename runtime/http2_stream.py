"""A stream of an HTTP/2 connection, as its user holds it; and what an operator sees of a connection.

Everything a stream does it asks of its connection and that one's engine: this is the half of `runtime.http2` that is
made per request, so it is small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.streams import HIGH_WATER, Headers, Peer, StreamUser
from wire.http2 import fields
from wire.http2.engine import ErrorCode, Role

if TYPE_CHECKING:
    from runtime.http2 import Http2Connection

NO_PEER = Peer("", 0, "", 0, "h2", tls=False)


class Http2Stream:
    """See `runtime.streams.Stream`. Made by `Http2Connection` only."""

    __slots__ = ("_connection", "_early", "_ended", "_held", "_peer_ended", "stream_id", "user")

    def __init__(self, connection: Http2Connection, stream_id: int, user: StreamUser) -> None:
        self.user = user
        self.stream_id = stream_id
        # None once the stream is over: every method is then a quiet no-op.
        self._connection: Http2Connection | None = connection
        self._ended = False
        self._peer_ended = False
        # Bytes handed to the user and not yet credited.
        self._held = 0
        # Body given before the peer had room for the stream, or None when the stream is on the wire.
        self._early: list[tuple[str, Any, bool]] | None = None

    @property
    def peer(self) -> Peer:
        connection = self._connection
        return connection.peer if connection is not None else NO_PEER

    @property
    def lost(self) -> bool:
        """Whether the stream is over, for whatever reason."""
        return self._connection is None

    @property
    def backlog(self) -> int:
        connection = self._connection
        if connection is None:
            return 0
        if self._early is not None:
            return sum(len(item) for kind, item, _ in self._early if kind == "data")
        return connection._engine.backlog(self.stream_id)

    def send_headers(self, headers: Headers, *, end: bool = False) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            headers = fields.safe(headers)
        except fields.MalformedFieldError:
            connection._fail_stream(self, ErrorCode.INTERNAL_ERROR)
            return
        if connection.role is Role.CLIENT:
            connection._open(self, headers, end)
        elif headers[0][1][:1] == b"1":
            connection._engine.send_informational(self.stream_id, headers)
        else:
            if end:
                self._ended = True
            connection._engine.send_response(self.stream_id, headers, end)
        if not connection._flush_due:
            connection._schedule_flush()

    def send_data(self, data: bytes, *, end: bool = False) -> None:
        connection = self._connection
        if connection is None:
            return
        if end:
            self._ended = True
        if self._early is not None:
            self._early.append(("data", data, end))
            return
        engine = connection._engine
        engine.send_data(self.stream_id, data, end)
        if not end and engine.backlog(self.stream_id) > HIGH_WATER:
            # Looked at after this turn's flush, and then whenever the peer gives credit.
            connection._clogged[self.stream_id] = self
            connection._moved.add(self.stream_id)
        if not connection._flush_due:
            connection._schedule_flush()

    def send_trailers(self, headers: Headers) -> None:
        connection = self._connection
        if connection is None:
            return
        self._ended = True
        try:
            headers = fields.safe([field for field in headers if not field[0].startswith(b":")])
        except fields.MalformedFieldError:
            headers = []
        if self._early is not None:
            self._early.append(("trailers", headers, True))
            return
        if headers:
            connection._engine.send_trailers(self.stream_id, headers)
        else:
            connection._engine.send_data(self.stream_id, b"", True)
        if not connection._flush_due:
            connection._schedule_flush()

    def reset(self, code: int) -> None:
        connection = self._connection
        if connection is not None:
            connection._reset(self, code)

    def credit(self, size: int) -> None:
        # After the peer's end nobody waits for stream credit; what is held is settled when the stream closes.
        connection = self._connection
        if connection is None or self._peer_ended:
            return
        self._held -= size
        connection._engine.acknowledge(self.stream_id, size)
        if not connection._flush_due:
            connection._schedule_flush()


@dataclass(frozen=True, slots=True)
class Http2Snapshot:
    """What an operator wants to know of a connection."""

    role: str
    peer: str
    state: str
    streams: int
    waiting: int
    peer_max_streams: int
    opened: int
    rtt_s: float | None
    bytes_in: int
    bytes_out: int

    def __str__(self) -> str:
        rtt = "-" if self.rtt_s is None else f"{self.rtt_s * 1000:.1f} ms"
        return (
            f"h2 {self.role} {self.peer} {self.state} streams {self.streams}/{self.peer_max_streams}"
            f" (+{self.waiting} waiting, {self.opened} so far) rtt {rtt} in {self.bytes_in} out {self.bytes_out}"
        )


def tell_lost(stream: Http2Stream, code: int) -> None:
    # The user of this moment: the stream may have been coupled since.
    stream.user.lost(code)

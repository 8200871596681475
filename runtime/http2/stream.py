"""A stream of an HTTP/2 connection, as its user holds it; and what an operator sees of a connection.

Everything a stream does it asks of its connection and that one's engine: this is the half that is made per request,
so it is small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from runtime.streams import HIGH_WATER, Headers, Peer, StreamUser
from wire.http2 import fields
from wire.http2.engine import Engine, ErrorCode, Role

NO_PEER = Peer("", 0, "", 0, "h2", tls=False)


class Carrier(Protocol):
    """What a stream asks of its connection."""

    role: Role
    engine: Engine

    @property
    def peer(self) -> Peer:
        """The connection's other end."""

    def flush_soon(self) -> None:
        """Something was given to the engine: write it at the end of this turn of the loop."""

    def begin(self, stream: Http2Stream, headers: Headers, end: bool) -> None:
        """Put a new stream on the wire, now or when the peer has room (client role)."""

    def watch(self, stream: Http2Stream) -> None:
        """Tell the stream's user when its backlog is low again."""

    def reset_stream(self, stream: Http2Stream, code: int) -> None:
        """The user wants no more of it."""

    def fail_stream(self, stream: Http2Stream, code: int) -> None:
        """The user did what cannot be sent: it hears `lost` in the next turn."""


class Http2Stream:
    """See `runtime.streams.Stream`. Made by `Http2Connection` only."""

    __slots__ = ("_connection", "_early", "_ended", "_held", "_peer_ended", "stream_id", "user")

    def __init__(self, connection: Carrier, stream_id: int, user: StreamUser) -> None:
        self.user = user
        self.stream_id = stream_id
        # None once the stream is over: every method is then a quiet no-op.
        self._connection: Carrier | None = connection
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
        return connection.engine.backlog(self.stream_id)

    def say_early(self) -> None:
        """The peer has room for it now: say what its user said before."""
        early, self._early = self._early or (), None
        for kind, item, end in early:
            if kind == "data":
                self.send_data(item, end=end)
            else:
                self.send_trailers(item)
        size = sum(len(item) for kind, item, _ in early if kind == "data")
        if size > HIGH_WATER and self._connection is not None:
            self._connection.watch(self)

    def send_headers(self, headers: Headers, *, end: bool = False) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            headers = fields.safe(headers)
        except fields.MalformedFieldError:
            connection.fail_stream(self, ErrorCode.INTERNAL_ERROR)
            return
        if connection.role is Role.CLIENT:
            connection.begin(self, headers, end)
        elif headers[0][1][:1] == b"1":
            connection.engine.send_informational(self.stream_id, headers)
        else:
            if end:
                self._ended = True
            connection.engine.send_response(self.stream_id, headers, end)
        connection.flush_soon()

    def send_data(self, data: bytes, *, end: bool = False) -> None:
        connection = self._connection
        if connection is None:
            return
        if end:
            self._ended = True
        if self._early is not None:
            self._early.append(("data", data, end))
            return
        engine = connection.engine
        engine.send_data(self.stream_id, data, end)
        if not end and engine.backlog(self.stream_id) > HIGH_WATER:
            connection.watch(self)
        connection.flush_soon()

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
            connection.engine.send_trailers(self.stream_id, headers)
        else:
            connection.engine.send_data(self.stream_id, b"", True)
        connection.flush_soon()

    def reset(self, code: int) -> None:
        connection = self._connection
        if connection is not None:
            connection.reset_stream(self, code)

    def credit(self, size: int) -> None:
        # After the peer's end nobody waits for stream credit; what is held is settled when the stream closes.
        connection = self._connection
        if connection is None or self._peer_ended:
            return
        self._held -= size
        connection.engine.acknowledge(self.stream_id, size)
        connection.flush_soon()


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

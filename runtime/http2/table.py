"""The streams of one HTTP/2 connection: who they are, who waits for room, and what the engine says of each.

Back-pressure towards the peer: body that it has no credit for stays in the engine, per stream, where `Stream.backlog`
sees it. A user that waits for less of it is told after the flush in which it left.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Protocol

from runtime.http2.stream import Http2Stream
from runtime.streams import LOW_WATER, Headers, Peer, Stream, StreamUser
from runtime.transports import Discard
from wire.http2 import fields
from wire.http2.engine import Engine, ErrorCode, Http2Settings, Role

_DISCARD = Discard()


class Owner(Protocol):
    """What the table asks of its connection."""

    peer: Peer
    draining: bool
    """No new streams of ours."""
    closing: bool
    """No new streams at all."""

    def flush_soon(self) -> None: ...

    def emptied(self) -> None:
        """The last open stream ended."""


class StreamTable:
    """All streams of a connection, by their identifiers. The engine's `StreamSink`, and every stream's `Carrier`.

    `on_request(stream)` returns the user of a stream that the peer opened.
    """

    engine: Engine

    def __init__(
        self,
        owner: Owner,
        role: Role,
        settings: Http2Settings,
        on_request: Callable[[Stream], StreamUser] | None,
        max_waiting: int,
    ) -> None:
        self.role = role
        self.opened = 0
        self.answered = 0
        self.flush_soon = owner.flush_soon
        self._owner = owner
        self._settings = settings
        # See wire/http2/engines/ngh2.py: what stalled streams hold back may be half of the connection's window.
        self._bearable = 2**30 // settings.stream_window
        self._on_request = on_request
        self._max_waiting = max_waiting
        self._streams: dict[int, Http2Stream] = {}
        # Streams the peer has no room for yet, in order.
        self._waiting: deque[tuple[Http2Stream, Headers, bool]] = deque()
        # Streams whose users wait for `drained`, and those of them that may have moved since the last look.
        self._clogged: dict[int, Http2Stream] = {}
        self._moved: set[int] = set()
        # Streams to be reset with NO_ERROR when what they queued has left.
        self._parting: set[int] = set()

    def __len__(self) -> int:
        """Streams open now."""
        return len(self._streams)

    @property
    def peer(self) -> Peer:
        return self._owner.peer

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def peer_max_streams(self) -> int:
        """How many streams we may have open: what the peer lets us, within what our connection window bears."""
        return min(self.engine.peer_max_streams, self._bearable)

    @property
    def available(self) -> int:
        """How many could be opened now without waiting."""
        return max(0, self.peer_max_streams - len(self._streams) - len(self._waiting))

    # What the connection asks

    def open(self, user: StreamUser) -> Http2Stream:
        """A new stream (client role); it reaches the wire with `send_headers`."""
        stream = Http2Stream(self, 0, user)
        if self._owner.closing:
            stream._connection = None
            asyncio.get_running_loop().call_soon(_tell_lost, stream, ErrorCode.REFUSED_STREAM)
        return stream

    def open_waiting(self) -> None:
        """The peer may have room for more."""
        if not self._waiting:
            return
        while self._waiting and len(self._streams) < self.peer_max_streams:
            stream, headers, end = self._waiting.popleft()
            if not stream.lost:
                self._start(stream, headers, end)
                stream.say_early()
        self.flush_soon()

    def refuse_waiting(self) -> None:
        """The peer takes no more streams. One it never saw may be tried again elsewhere."""
        waiting, self._waiting = self._waiting, deque()
        for stream, _, _ in waiting:
            self._lose(stream, ErrorCode.REFUSED_STREAM)

    def refuse_above(self, last_stream_id: int) -> None:
        """The peer will never look at these. In order, and before the engine reports them: libnghttp2's order is that
        of a hash table."""
        for stream_id in [i for i in self._streams if i > last_stream_id]:
            self._lose(self._streams[stream_id], ErrorCode.REFUSED_STREAM)

    def lose_all(self, code: int) -> None:
        """There is no connection any more."""
        streams = list(self._streams.values())
        for stream in streams:
            self._lose(stream, code)
        self._streams.clear()
        self._clogged.clear()
        self._parting.clear()

    def unclog(self) -> None:
        """The transport, or the peer's settings, may have let something through on any stream."""
        self._moved.update(self._clogged)

    def flushed(self) -> None:
        """What could leave has left: see who may go on, and who may go."""
        if self._parting:
            for stream_id in sorted(self._parting):
                if self.engine.backlog(stream_id) == 0:
                    self._parting.discard(stream_id)
                    self.engine.reset(stream_id, ErrorCode.NO_ERROR)
                    self.flush_soon()
        if self._moved:
            moved, self._moved = self._moved, set()
            for stream_id in sorted(moved):
                stream = self._clogged.get(stream_id)
                if stream is not None and self.engine.backlog(stream_id) < LOW_WATER:
                    del self._clogged[stream_id]
                    if not stream._ended:
                        stream.user.drained()

    # What streams ask (runtime.http2.stream.Carrier)

    def begin(self, stream: Http2Stream, headers: Headers, end: bool) -> None:
        assert stream.stream_id == 0
        assert stream._early is None
        if end:
            stream._ended = True
        if self._owner.draining or self._owner.closing:
            self.fail_stream(stream, ErrorCode.REFUSED_STREAM)
        elif len(self._streams) < self.peer_max_streams and not self._waiting:
            self._start(stream, headers, end)
        elif len(self._waiting) < self._max_waiting:
            stream._early = []
            self._waiting.append((stream, headers, end))
        else:
            self.fail_stream(stream, ErrorCode.REFUSED_STREAM)

    def watch(self, stream: Http2Stream) -> None:
        # Looked at after this turn's flush, and then whenever the peer gives credit.
        self._clogged[stream.stream_id] = stream
        self._moved.add(stream.stream_id)

    def reset_stream(self, stream: Http2Stream, code: int) -> None:
        stream._connection = None
        stream.user = _DISCARD
        if not stream.stream_id:
            return  # never reached the wire
        if stream._held:
            self.engine.acknowledge(stream.stream_id, stream._held)
            stream._held = 0
        self._clogged.pop(stream.stream_id, None)
        if code == ErrorCode.NO_ERROR and stream._ended:
            self._parting.add(stream.stream_id)
        else:
            self.engine.reset(stream.stream_id, code)
        self.flush_soon()

    def fail_stream(self, stream: Http2Stream, code: int) -> None:
        user = stream.user
        if stream.stream_id:
            self.reset_stream(stream, code)
            stream.user = user
        stream._connection = None
        asyncio.get_running_loop().call_soon(_tell_lost, stream, code)

    # What the engine says (wire.http2.engine.StreamSink)

    def request_received(self, stream_id: int, headers: Headers, end: bool) -> None:
        stream = Http2Stream(self, stream_id, _DISCARD)
        self._streams[stream_id] = stream
        self.opened += 1
        stream._peer_ended = end
        settings = self._settings
        if (
            len(headers) > settings.max_header_count
            or fields.list_size(headers) > settings.max_header_list_size
        ):
            stream.send_headers([(b":status", b"431")], end=True)
            stream.reset(ErrorCode.NO_ERROR)
            return
        if self._on_request is None or self._owner.closing:
            stream.reset(ErrorCode.REFUSED_STREAM)
            return
        try:
            stream.user = self._on_request(stream)
            stream.user.headers_received(headers, end)
        except Exception as error:  # noqa: BLE001  one exchange's bug must not take the others with it
            self._user_failed(stream, error)

    def response_received(self, stream_id: int, headers: Headers, end: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if end:
            stream._peer_ended = True
        try:
            stream.user.headers_received(headers, end)
        except Exception as error:  # noqa: BLE001
            self._user_failed(stream, error)

    def body_received(self, stream_id: int, data: bytes, end: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            if data:
                self.engine.acknowledge(stream_id, len(data))
            return
        stream._held += len(data)
        if end:
            stream._peer_ended = True
        try:
            stream.user.data_received(data, end)
        except Exception as error:  # noqa: BLE001
            self._user_failed(stream, error)

    def trailers_received(self, stream_id: int, headers: Headers) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        stream._peer_ended = True
        try:
            stream.user.trailers_received(headers)
        except Exception as error:  # noqa: BLE001
            self._user_failed(stream, error)

    def stream_closed(self, stream_id: int, code: int) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return
        if code == ErrorCode.NO_ERROR:
            self.answered += 1
        if stream._held:
            self.engine.acknowledge(stream_id, stream._held)
            stream._held = 0
        if self._clogged:
            self._clogged.pop(stream_id, None)
        if self._parting:
            self._parting.discard(stream_id)
        self._lose(stream, code)
        if self._waiting:
            self.open_waiting()
        if not self._streams:
            self._owner.emptied()

    def window_opened(self, stream_id: int) -> None:
        if self._clogged:
            if stream_id == 0:
                self.unclog()
            elif stream_id in self._clogged:
                self._moved.add(stream_id)

    # Inside

    def _start(self, stream: Http2Stream, headers: Headers, end: bool) -> None:
        stream_id = self.engine.send_request(headers, end)
        if not stream_id:
            self.fail_stream(stream, ErrorCode.REFUSED_STREAM)
            return
        stream.stream_id = stream_id
        self._streams[stream_id] = stream
        self.opened += 1

    def _lose(self, stream: Http2Stream, code: int) -> None:
        """The stream is over; tell its user unless both directions had ended."""
        if stream._connection is None:
            return
        stream._connection = None
        if stream._peer_ended and stream._ended:
            return
        try:
            stream.user.lost(code)
        except Exception as error:  # noqa: BLE001
            self._report(error)

    def _user_failed(self, stream: Http2Stream, error: Exception) -> None:
        self._report(error)
        if stream._connection is not None:
            user = stream.user
            self.reset_stream(stream, ErrorCode.INTERNAL_ERROR)
            with contextlib.suppress(Exception):
                user.lost(ErrorCode.INTERNAL_ERROR)

    def _report(self, error: Exception) -> None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": "a stream's user failed", "exception": error, "protocol": self._owner}
        )


def _tell_lost(stream: Http2Stream, code: int) -> None:
    # The user of this moment: the stream may have been coupled since.
    stream.user.lost(code)

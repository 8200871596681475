"""One HTTP/2 connection on an asyncio transport: many `Stream`s, either role, whoever dialled.

Feed, carry out, re-arm: bytes from the transport go to the engine, which calls this object back as its `Sink`; what
the engine has to say is written by one `call_soon` per connection and turn of the loop, so that everything that
happened in a turn leaves in one write. Only the loop's own interface is used (call_soon, call_later, transports).

Back-pressure towards the peer: while the transport is full (`pause_writing`) the engine is not asked for bytes, so
bodies stay queued in it per stream, where `Stream.backlog` sees them. The transport itself holds at most
`_TRANSPORT_HIGH` plus one flush.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import struct
from collections import deque
from collections.abc import Callable
from typing import cast

from runtime.http2_stream import NO_PEER, Http2Snapshot, Http2Stream, tell_lost
from runtime.streams import HIGH_WATER, LOW_WATER, Headers, Stream, StreamUser
from runtime.transports import Discard, peer_of
from wire.http2 import fields
from wire.http2.engine import ErrorCode, Http2Error, Http2Settings, Role, code_name
from wire.http2.engines import EngineName, create
from wire.http2.meter import COSTS, FrameMeter, income

__all__ = ["ErrorCode", "Http2Connection", "Http2Error", "Http2Settings", "Http2Stream", "Role"]

_FLUSH = 64 * 1024
_TRANSPORT_HIGH = 128 * 1024
_MAX_PINGS = 64
# A first and a final one are usual; each is looked at by all streams.
_MAX_GOAWAYS = 16
_DISCARD = Discard()


class Http2Connection(asyncio.BufferedProtocol):
    """One connection. `role` says who opens streams; it does not matter who dialled.

    Callbacks: `on_request(stream)` for a new stream of the peer (server role) returns its user; `on_made()` when there
    is a transport (TLS has shaken hands; without it no other callback comes, `on_lost` neither); `on_ready()` when the
    peer's SETTINGS came; `on_lost(reason)` once, after every stream was told; `on_cut(code)` when we
    end the connection for what came on it; `on_ping_ack(payload, rtt_s)`;
    `on_goaway(code)` when the peer announced that it leaves; `on_idle()` when the last open stream ended.
    `metered`, for strangers: what is read is judged first and worked on in turns.
    """

    def __init__(
        self,
        role: Role | str,
        *,
        engine: EngineName = "ngh2",
        settings: Http2Settings | None = None,
        on_request: Callable[[Stream], StreamUser] | None = None,
        on_made: Callable[[], None] | None = None,
        on_ready: Callable[[], None] | None = None,
        on_lost: Callable[[str], None] | None = None,
        on_cut: Callable[[str], None] | None = None,
        on_ping_ack: Callable[[bytes, float], None] | None = None,
        on_goaway: Callable[[int], None] | None = None,
        on_idle: Callable[[], None] | None = None,
        now: Callable[[], float] | None = None,
        settings_timeout_s: float | None = 10.0,
        idle_timeout_s: float | None = None,
        max_waiting: int = 1024,
        read_size: int = 64 * 1024,
        metered: bool = False,
    ) -> None:
        self.role = Role(role)
        self.settings = settings or Http2Settings()
        self.peer = NO_PEER
        self.rtt: float | None = None
        self.error: Http2Error | None = None
        # The code for which we cut the connection; None as long as we did not.
        self.cut: str | None = None
        self.opened = 0
        # What `bytes_in` was when somebody found that the peer answers no more; see `silent`.
        self.silent_at = -1
        self.bytes_in = 0
        self.bytes_out = 0
        self.writes = 0
        self.answered = 0
        self._engine = create(engine, self.role, self.settings, self)
        # See wire/http2/engines/ngh2.py: what stalled streams hold back may be half of the connection's window.
        self._bearable = 2**30 // self.settings.stream_window
        self._on_request = on_request
        self._on_made = on_made
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._on_cut = on_cut
        self._on_ping_ack = on_ping_ack
        self._on_goaway = on_goaway
        self._on_idle = on_idle
        self._now = now
        self._settings_timeout_s = settings_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._max_waiting = max_waiting
        self._buffer = _BUFFER[:read_size]
        self._meter: FrameMeter | None = None
        if metered:
            self._meter = FrameMeter(
                self.settings.flood_burst,
                self.settings.max_concurrent_streams,
                COSTS[engine],
                self._income,
            )
        # What was read and waits for its turn; meanwhile nothing more is read.
        self._kept: deque[bytes] = deque()
        self._goaways = 0
        self._parted = False
        self._streams: dict[int, Http2Stream] = {}
        # Streams the peer has no room for yet, in order.
        self._waiting: deque[tuple[Http2Stream, Headers, bool]] = deque()
        # Streams whose users wait for `drained`, and those of them that may have moved since the last look.
        self._clogged: dict[int, Http2Stream] = {}
        self._moved: set[int] = set()
        # Streams to be reset with NO_ERROR when what they queued has left.
        self._parting: set[int] = set()
        self._pings: dict[bytes, float] = {}
        self._ping_count = 0
        self._transport: asyncio.Transport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._made_at = 0.0
        self._flush_due = False
        self._paused = False
        self._ready = False
        self._draining = False
        self._closing = False
        self._closed = False

    # What the owner asks

    def open(self, user: StreamUser) -> Http2Stream:
        """A new stream (client role); it reaches the wire with `send_headers`."""
        assert self.role is Role.CLIENT
        stream = Http2Stream(self, 0, user)
        if self._closing or self._closed:
            stream._connection = None
            asyncio.get_running_loop().call_soon(tell_lost, stream, ErrorCode.REFUSED_STREAM)
        return stream

    @property
    def streams(self) -> int:
        """Streams open now."""
        return len(self._streams)

    @property
    def peer_max_streams(self) -> int:
        """How many streams we may have open: what the peer lets us, within what our connection window bears."""
        return min(self._engine.peer_max_streams, self._bearable)

    @property
    def available(self) -> int:
        """How many streams could be opened now without waiting."""
        if self._closing or self._closed or self._draining:
            return 0
        return max(0, self.peer_max_streams - len(self._streams) - len(self._waiting))

    @property
    def ready(self) -> bool:
        """Whether the peer's SETTINGS came, and the connection still lives."""
        return self._ready and not self._closed

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def silent(self) -> bool:
        """Whether the peer was found to answer no more, and nothing came from it since."""
        return self.silent_at == self.bytes_in

    @property
    def unanswered_since(self) -> float | None:
        """When the oldest PING left that has no answer yet."""
        return next(iter(self._pings.values()), None)

    def ping(self, payload: bytes | None = None) -> bytes:
        """Send a PING now; `on_ping_ack` gets the payload and the RTT. Returns the (eight-byte) payload."""
        if payload is None:
            self._ping_count += 1
            payload = struct.pack("!Q", self._ping_count)
        assert len(payload) == 8
        if self._transport is not None and not self._closing and len(self._pings) < _MAX_PINGS:
            self._engine.ping(payload)
            self._pings[payload] = self._time()
            self._flush()
        return payload

    def goaway(self, code: int = ErrorCode.NO_ERROR, debug: bytes = b"") -> None:
        """Tell the peer that no new streams are taken; open ones go on."""
        self._engine.goaway(code, debug)
        self._schedule_flush()

    def drain(self) -> None:
        """Take and open no new streams, let the open ones finish, then close.

        A server announces first and means it one round trip later (RFC 9113 section 6.8), so that requests on their
        way are still served.
        """
        if self._draining or self._closing or self._closed:
            return
        self._draining = True
        if self.role is Role.SERVER and self._transport is not None:
            self._engine.shutdown_notice()
            self.ping(_DRAIN_PING)
        else:
            self._engine.goaway(ErrorCode.NO_ERROR)
            self._finish_if_idle()
        self._schedule_flush()

    def close(self, code: int = ErrorCode.NO_ERROR) -> None:
        """Say GOAWAY and hang up. Open streams are lost."""
        if self._closing or self._closed:
            return
        self._closing = True
        self._engine.terminate(code)
        self._flush()
        self._hang_up()

    def abort(self) -> None:
        """Hang up without a word."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def snapshot(self) -> Http2Snapshot:
        if self._closed:
            state = "closed"
        elif self._draining or self._closing:
            state = "draining"
        else:
            state = "ready" if self._ready else "new"
        return Http2Snapshot(
            role=self.role.value,
            peer=f"{self.peer.address}:{self.peer.port}",
            state=state,
            streams=len(self._streams),
            waiting=len(self._waiting),
            peer_max_streams=self.peer_max_streams,
            opened=self.opened,
            rtt_s=self.rtt,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
        )

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        self.peer = peer_of(self._transport, "h2")
        self._made_at = self._time()
        if self._on_made is not None:
            self._on_made()
        if self._closing:
            # Given up while TLS was still shaking hands.
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=_TRANSPORT_HIGH, low=_TRANSPORT_HIGH // 4)
        self._engine.start()
        self._flush()
        if self._settings_timeout_s is not None:
            self._timer = self._loop.call_later(self._settings_timeout_s, self._settings_missing)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(_BUFFER[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        if self._closing or self._closed:
            return
        self.bytes_in += len(data)
        if self._meter is None:
            self._receive(data)
            return
        try:
            ends = self._meter.read(data, len(self._streams))
        except Http2Error as error:
            self._fail(error)
            return
        if ends is None and not self._kept:
            self._receive(data)
        else:
            self._take_turns(data, ends or [len(data)])

    def _income(self) -> float:
        """What the peer may spend on frames that cost only us."""
        since = self._time() - self._made_at
        return income(since, self.settings.flood_burst, self.answered, self.writes, self.bytes_out)

    def _receive(self, data: bytes | memoryview) -> None:
        try:
            self._engine.receive(data)
        except Http2Error as error:
            self._fail(error)
            return
        if not self._flush_due and self._engine.want_write:
            self._schedule_flush()

    def _take_turns(self, data: bytes | memoryview, ends: list[int]) -> None:
        """Work on a part now and on the rest in turns of the loop that follow, with other connections in between."""
        assert self._loop is not None
        begun = bool(self._kept)
        self._kept += [bytes(data[a:b]) for a, b in itertools.pairwise([0, *ends])]
        if not begun:
            if self._transport is not None:
                self._transport.pause_reading()
            self._next_turn()

    def _next_turn(self) -> None:
        if self._closing or self._closed:
            self._kept.clear()
            return
        self._receive(self._kept.popleft())
        if self._kept:
            assert self._loop is not None
            self._loop.call_soon(self._next_turn)
            return
        transport = self._transport
        if not self._closing and transport is not None and not transport.is_closing():
            transport.resume_reading()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._moved.update(self._clogged)
        self._schedule_flush()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._closed:
            return
        self._closed = True
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        if self.error is not None:
            reason = str(self.error)
        elif exc is not None:
            reason = str(exc) or type(exc).__name__
        else:
            reason = "closed" if self._closing else "closed by peer"
        code = self.error.code if self.error is not None else ErrorCode.INTERNAL_ERROR
        waiting = [stream for stream, _, _ in self._waiting]
        self._waiting.clear()
        for stream in [*self._streams.values(), *waiting]:
            # A stream the peer never saw may be tried again elsewhere.
            self._lose(stream, code if stream.stream_id else ErrorCode.REFUSED_STREAM)
        self._streams.clear()
        self._clogged.clear()
        self._parting.clear()
        self._pings.clear()
        if self._on_lost is not None:
            self._on_lost(reason)

    # What the engine calls (wire.http2.engine.Sink)

    def request_received(self, stream_id: int, headers: Headers, end: bool) -> None:
        stream = Http2Stream(self, stream_id, _DISCARD)
        self._streams[stream_id] = stream
        self.opened += 1
        stream._peer_ended = end
        if (
            len(headers) > self.settings.max_header_count
            or fields.list_size(headers) > self.settings.max_header_list_size
        ):
            stream.send_headers([(b":status", b"431")], end=True)
            stream.reset(ErrorCode.NO_ERROR)
            return
        if self._on_request is None or self._closing:
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
                self._engine.acknowledge(stream_id, len(data))
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
            self._engine.acknowledge(stream_id, stream._held)
            stream._held = 0
        if self._clogged:
            self._clogged.pop(stream_id, None)
        if self._parting:
            self._parting.discard(stream_id)
        self._lose(stream, code)
        if self._waiting:
            self._open_waiting()
        if not self._streams:
            self._now_idle()

    def window_opened(self, stream_id: int) -> None:
        if self._clogged:
            if stream_id == 0:
                self._moved.update(self._clogged)
            elif stream_id in self._clogged:
                self._moved.add(stream_id)

    def settings_received(self) -> None:
        self._moved.update(self._clogged)
        if not self._ready:
            self._ready = True
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if not self._streams:
                self._arm_idle()
            if self._on_ready is not None:
                self._on_ready()
        if self._waiting:
            self._open_waiting()

    def ping_acknowledged(self, payload: bytes) -> None:
        sent_at = self._pings.pop(payload, None)
        if sent_at is None:
            return
        self.rtt = self._time() - sent_at
        if payload == _DRAIN_PING:
            self._engine.goaway(ErrorCode.NO_ERROR)
            self._finish_if_idle()
        elif self._on_ping_ack is not None:
            self._on_ping_ack(payload, self.rtt)

    def goaway_received(self, last_stream_id: int, code: int, debug: bytes) -> None:
        self._draining = True
        self._goaways += 1
        if self._goaways > _MAX_GOAWAYS:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "it says GOAWAY and stays")
        if code != ErrorCode.NO_ERROR and self.error is None:
            self.error = Http2Error(code, f"said by the peer {debug[:200]!r}")
        if self.role is Role.CLIENT:
            # In order, and before the engine reports them: libnghttp2's order is that of a hash table.
            for stream_id in [i for i in self._streams if i > last_stream_id]:
                self._lose(self._streams[stream_id], ErrorCode.REFUSED_STREAM)
        waiting, self._waiting = self._waiting, deque()
        for stream, _, _ in waiting:
            self._lose(stream, ErrorCode.REFUSED_STREAM)
        if self._on_goaway is not None:
            self._on_goaway(code)
        if self.role is Role.CLIENT:
            self._finish_if_idle()

    def connection_closed(self, code: int, debug: bytes) -> None:
        if code != ErrorCode.NO_ERROR and self.error is None:
            self.error = Http2Error(code, debug.decode("ascii", "replace")[:200])
            if not self._closing:
                self._blame(code)
        self._closing = True
        self._schedule_flush()

    # Inside

    def _time(self) -> float:
        if self._now is not None:
            return self._now()
        assert self._loop is not None
        return self._loop.time()

    def _schedule_flush(self) -> None:
        if not self._flush_due and self._loop is not None:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        engine = self._engine
        try:
            while not self._paused:
                data = engine.data_to_send(_FLUSH)
                if not data:
                    break
                size = len(data)
                self.bytes_out += size
                transport.write(data)
                self.writes += 1
                if size < _FLUSH and not engine.want_write:
                    break
        except Http2Error as error:
            self._fail(error)
            return
        if self._closing and not self._paused:
            self._hang_up()
            return
        if self._parting and not self._paused:
            self._part()
        if self._moved:
            self._tell_drained()

    def _tell_drained(self) -> None:
        moved, self._moved = self._moved, set()
        for stream_id in sorted(moved):
            stream = self._clogged.get(stream_id)
            if stream is not None and self._engine.backlog(stream_id) < LOW_WATER:
                del self._clogged[stream_id]
                if not stream._ended:
                    stream.user.drained()

    def _part(self) -> None:
        """Reset the streams that wanted to leave politely and have nothing left to say."""
        for stream_id in sorted(self._parting):
            if self._engine.backlog(stream_id) == 0:
                self._parting.discard(stream_id)
                self._engine.reset(stream_id, ErrorCode.NO_ERROR)
                self._schedule_flush()

    def _open(self, stream: Http2Stream, headers: Headers, end: bool) -> None:
        assert stream.stream_id == 0
        assert stream._early is None
        if end:
            stream._ended = True
        if self._draining or self._closing:
            self._fail_stream(stream, ErrorCode.REFUSED_STREAM)
        elif len(self._streams) < self.peer_max_streams and not self._waiting:
            self._start_stream(stream, headers, end)
        elif len(self._waiting) < self._max_waiting:
            stream._early = []
            self._waiting.append((stream, headers, end))
        else:
            self._fail_stream(stream, ErrorCode.REFUSED_STREAM)

    def _start_stream(self, stream: Http2Stream, headers: Headers, end: bool) -> None:
        stream_id = self._engine.send_request(headers, end)
        if not stream_id:
            self._fail_stream(stream, ErrorCode.REFUSED_STREAM)
            return
        stream.stream_id = stream_id
        self._streams[stream_id] = stream
        self.opened += 1

    def _open_waiting(self) -> None:
        while self._waiting and len(self._streams) < self.peer_max_streams:
            stream, headers, end = self._waiting.popleft()
            if stream._connection is None:
                continue
            early = stream._early or []
            stream._early = None
            self._start_stream(stream, headers, end)
            for kind, item, item_end in early:
                if kind == "data":
                    stream.send_data(item, end=item_end)
                else:
                    stream.send_trailers(item)
            size = sum(len(item) for kind, item, _ in early if kind == "data")
            if size > HIGH_WATER and stream._connection is not None:
                self._clogged[stream.stream_id] = stream
                self._moved.add(stream.stream_id)
        self._schedule_flush()

    def _reset(self, stream: Http2Stream, code: int) -> None:
        stream._connection = None
        stream.user = _DISCARD
        if not stream.stream_id:
            return  # never reached the wire
        if stream._held:
            self._engine.acknowledge(stream.stream_id, stream._held)
            stream._held = 0
        self._clogged.pop(stream.stream_id, None)
        if code == ErrorCode.NO_ERROR and stream._ended:
            self._parting.add(stream.stream_id)
        else:
            self._engine.reset(stream.stream_id, code)
        self._schedule_flush()

    def _fail_stream(self, stream: Http2Stream, code: int) -> None:
        """Lose a stream from within one of its own methods: its user hears of it in the next turn, not inside."""
        user = stream.user
        if stream.stream_id:
            self._reset(stream, code)
            stream.user = user
        stream._connection = None
        if self._loop is not None:
            self._loop.call_soon(tell_lost, stream, code)

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
            self._reset(stream, ErrorCode.INTERNAL_ERROR)
            with contextlib.suppress(Exception):
                user.lost(ErrorCode.INTERNAL_ERROR)

    def _report(self, error: Exception) -> None:
        assert self._loop is not None
        self._loop.call_exception_handler(
            {"message": "a stream's user failed", "exception": error, "protocol": self}
        )

    def _now_idle(self) -> None:
        if self._draining:
            self._finish_if_idle()
        else:
            self._arm_idle()
        if self._on_idle is not None:
            self._on_idle()

    def _arm_idle(self) -> None:
        if self._idle_timeout_s is not None and self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(
                self._idle_timeout_s, self._idle_expired, self.opened
            )

    def _idle_expired(self, opened: int) -> None:
        # The timer is not touched by requests; it looks whether there were any, once per period.
        self._timer = None
        if self._closed or self._closing:
            return
        if self._streams or self.opened != opened:
            self._arm_idle()
        elif self._draining:
            # Asked to leave a period ago, and it did not even answer the PING.
            self.close()
        else:
            self.drain()
            if not self._closing and self._loop is not None:
                wait = min(_PARTING_S, self._idle_timeout_s or _PARTING_S)
                self._timer = self._loop.call_later(wait, self._idle_expired, self.opened)

    def _finish_if_idle(self) -> None:
        if not self._streams and not self._closing:
            self._closing = True
            self._schedule_flush()

    def _settings_missing(self) -> None:
        self._timer = None
        self._fail(Http2Error(ErrorCode.SETTINGS_TIMEOUT, "the peer sent no SETTINGS in time"))

    def _fail(self, error: Http2Error) -> None:
        self.error = error
        self._blame(error.code)
        self._closing = True
        self._engine.terminate(error.code)
        transport = self._transport
        if transport is not None:
            with contextlib.suppress(Http2Error):
                data = self._engine.data_to_send(_FLUSH)
                if data:
                    transport.write(data)
            self._hang_up()

    def _blame(self, code: int) -> None:
        self.cut = code_name(code)
        if self._on_cut is not None:
            self._on_cut(self.cut)

    def _hang_up(self) -> None:
        """Close once: asyncio's TLS transport takes a second close for an abort, and then breaks on a write."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        silent = self.cut == ErrorCode.SETTINGS_TIMEOUT.name
        if self.cut is None or silent or self.role is Role.CLIENT:
            transport.close()
            return
        # A polite close would go on decrypting whatever an attacker still sends. Its GOAWAY has a moment to arrive,
        # which a reset at once would not give it, and nothing more is read.
        if not self._parted:
            self._parted = True
            assert self._loop is not None
            transport.pause_reading()
            for stream in list(self._streams.values()):
                self._lose(stream, ErrorCode.CANCEL)
            self._streams.clear()
            self._loop.call_later(_CUT_LINGER_S, transport.abort)


# Where every connection of the process reads into. Loops fill it and call `buffer_updated` at once, and engines keep
# nothing of what they are fed. Otherwise uvloop's TLS makes a new object of 256 KB for every read, by mmap, and gives
# it back: more than a tenth of a relay's CPU. No larger than this, since libnghttp2 stops a flood only between reads.
_BUFFER = memoryview(bytearray(64 * 1024))
_DRAIN_PING = b"drained?"
# Enough for its reader: what comes behind it comes as much later, however long the way.
_CUT_LINGER_S = 0.05
# How long an idle peer may take to answer that PING: the longest round trip, and some.
_PARTING_S = 5.0

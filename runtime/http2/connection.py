"""One HTTP/2 connection on an asyncio transport: many `Stream`s, either role, whoever dialled.

Feed, carry out, re-arm: bytes from the transport go to the engine, which calls back the `StreamTable` for streams and
this object for the rest; what the engine has to say is written by one `call_soon` per connection and turn of the loop,
so that everything that happened in a turn leaves in one write. Only the loop's own interface is used (call_soon,
call_later, transports).

Back-pressure towards the peer: while the transport is full (`pause_writing`) the engine is not asked for bytes, so
bodies stay queued in it. The transport itself holds at most `_TRANSPORT_HIGH` plus one flush.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import cast

from runtime.http2.pings import Pings
from runtime.http2.stream import NO_PEER, Http2Snapshot, Http2Stream
from runtime.http2.table import StreamTable
from runtime.http2.turns import Turns
from runtime.streams import Stream, StreamUser
from runtime.transports import peer_of
from wire.http2.engine import ErrorCode, Http2Error, Http2Settings, Role, code_name
from wire.http2.engines import EngineName, create
from wire.http2.meter import COSTS, FrameMeter, income

_FLUSH = 64 * 1024
_TRANSPORT_HIGH = 128 * 1024
# A first and a final one are usual; each is looked at by all streams.
_MAX_GOAWAYS = 16


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
        self.draining = False
        self.closing = False
        # What `bytes_in` was when somebody found that the peer answers no more; see `silent`.
        self.silent_at = -1
        self.bytes_in = 0
        self.bytes_out = 0
        self.writes = 0
        self._table = StreamTable(self, self.role, self.settings, on_request, max_waiting)
        self._engine = create(engine, self.role, self.settings, self, self._table)
        self._table.engine = self._engine
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
        self._buffer = _BUFFER[:read_size]
        self._turns: Turns | None = None
        if metered:
            burst, most = self.settings.flood_burst, self.settings.max_concurrent_streams
            meter = FrameMeter(burst, most, COSTS[engine], self._income)
            self._turns = Turns(meter, self._receive, self._hold_reading)
        self._pings = Pings()
        self._goaways = 0
        self._parted = False
        self._transport: asyncio.Transport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._made_at = 0.0
        self._flush_due = False
        self._paused = False
        self._ready = False
        self._closed = False

    # What the owner asks

    def open(self, user: StreamUser) -> Http2Stream:
        """A new stream (client role); it reaches the wire with `send_headers`."""
        assert self.role is Role.CLIENT
        return self._table.open(user)

    @property
    def streams(self) -> int:
        """Streams open now."""
        return len(self._table)

    @property
    def opened(self) -> int:
        """Streams there have been."""
        return self._table.opened

    @property
    def refused(self) -> int:
        """Streams of the peer that the engine refused, or cut the connection for: they were too many (`metered`)."""
        return self._turns.above if self._turns is not None else 0

    @property
    def peer_max_streams(self) -> int:
        """How many streams we may have open at once."""
        return self._table.peer_max_streams

    @property
    def available(self) -> int:
        """How many streams could be opened now without waiting."""
        return 0 if self.closing or self.draining else self._table.available

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
        return self._pings.oldest

    def ping(self, payload: bytes | None = None) -> bytes:
        """Send a PING now; `on_ping_ack` gets the payload and the RTT. Returns the (eight-byte) payload."""
        payload = payload or self._pings.payload()
        assert len(payload) == 8
        alive = self._transport is not None and not self.closing
        if alive and self._pings.leave(payload, self._time()):
            self._engine.ping(payload)
            self._flush()
        return payload

    def goaway(self, code: int = ErrorCode.NO_ERROR, debug: bytes = b"") -> None:
        """Tell the peer that no new streams are taken; open ones go on."""
        self._engine.goaway(code, debug)
        self.flush_soon()

    def drain(self) -> None:
        """Take and open no new streams, let the open ones finish, then close.

        A server announces first and means it one round trip later (RFC 9113 section 6.8), so that requests on their
        way are still served.
        """
        if self.draining or self.closing:
            return
        self.draining = True
        if self.role is Role.SERVER and self._transport is not None:
            self._engine.shutdown_notice()
            self.ping(_DRAIN_PING)
        else:
            self._engine.goaway(ErrorCode.NO_ERROR)
            self._finish_if_idle()
        self.flush_soon()

    def close(self, code: int = ErrorCode.NO_ERROR) -> None:
        """Say GOAWAY and hang up. Open streams are lost."""
        if self.closing:
            return
        self.closing = True
        self._engine.terminate(code)
        self._flush()
        self._hang_up()

    def abort(self) -> None:
        """Hang up without a word."""
        self.closing = True
        if self._transport is not None:
            self._transport.abort()

    def snapshot(self) -> Http2Snapshot:
        if self._closed:
            state = "closed"
        elif self.draining or self.closing:
            state = "draining"
        else:
            state = "ready" if self._ready else "new"
        return Http2Snapshot(
            role=self.role.value,
            peer=f"{self.peer.address}:{self.peer.port}",
            state=state,
            streams=self.streams,
            waiting=self._table.waiting,
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
        if self.closing:
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
        if self.closing:
            return
        self.bytes_in += len(data)
        if self._turns is None:
            self._receive(data)
            return
        try:
            self._turns.take(data, len(self._table))
        except Http2Error as error:
            self._fail(error)

    def _receive(self, data: bytes | memoryview) -> None:
        if self.closing:
            return  # between two turns
        try:
            self._engine.receive(data)
        except Http2Error as error:
            self._fail(error)
            return
        if not self._flush_due and self._engine.want_write:
            self.flush_soon()

    def _hold_reading(self, hold: bool) -> None:
        transport = self._transport
        if transport is None:
            return
        if hold:
            transport.pause_reading()
        elif not self.closing and not transport.is_closing():
            transport.resume_reading()

    def _income(self) -> float:
        """What the peer may spend on frames that cost only us."""
        since = self._time() - self._made_at
        table = self._table
        burst = self.settings.flood_burst
        return income(since, burst, table.answered, self.writes, self.bytes_out)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._table.unclog()
        self.flush_soon()

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
            reason = "closed" if self.closing else "closed by peer"
        code = self.error.code if self.error is not None else ErrorCode.INTERNAL_ERROR
        self.closing = True
        self._table.lose_all(code)
        self._table.refuse_waiting()
        self._pings.clear()
        if self._on_lost is not None:
            self._on_lost(reason)

    # What the engine calls (wire.http2.engine.Sink)

    def settings_received(self) -> None:
        self._table.unclog()
        if not self._ready:
            self._ready = True
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if not self._table:
                self._arm_idle()
            if self._on_ready is not None:
                self._on_ready()
        self._table.open_waiting()

    def ping_acknowledged(self, payload: bytes) -> None:
        rtt_s = self._pings.came_back(payload, self._time())
        if rtt_s is None:
            return
        self.rtt = rtt_s
        if payload == _DRAIN_PING:
            self._engine.goaway(ErrorCode.NO_ERROR)
            self._finish_if_idle()
        elif self._on_ping_ack is not None:
            self._on_ping_ack(payload, rtt_s)

    def goaway_received(self, last_stream_id: int, code: int, debug: bytes) -> None:
        self.draining = True
        self._goaways += 1
        if self._goaways > _MAX_GOAWAYS:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "it says GOAWAY and stays")
        if code != ErrorCode.NO_ERROR and self.error is None:
            self.error = Http2Error(code, f"said by the peer {debug[:200]!r}")
        if self.role is Role.CLIENT:
            self._table.refuse_above(last_stream_id)
        self._table.refuse_waiting()
        if self._on_goaway is not None:
            self._on_goaway(code)
        if self.role is Role.CLIENT:
            self._finish_if_idle()

    def connection_closed(self, code: int, debug: bytes) -> None:
        if code != ErrorCode.NO_ERROR and self.error is None:
            self.error = Http2Error(code, debug.decode("ascii", "replace")[:200])
            if not self.closing:
                self._blame(code)
        self.closing = True
        self.flush_soon()

    # Inside

    def _time(self) -> float:
        if self._now is not None:
            return self._now()
        assert self._loop is not None
        return self._loop.time()

    def flush_soon(self) -> None:
        """The engine has something to say: write it at the end of this turn of the loop."""
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
        if self.closing and not self._paused:
            self._hang_up()
            return
        if not self._paused:
            self._table.flushed()

    def emptied(self) -> None:
        """The last open stream ended (runtime.http2.table.Owner)."""
        if self.draining:
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
        if self._closed or self.closing:
            return
        if self._table or self.opened != opened:
            self._arm_idle()
        elif self.draining:
            # Asked to leave a period ago, and it did not even answer the PING.
            self.close()
        else:
            self.drain()
            if not self.closing and self._loop is not None:
                wait = min(_PARTING_S, self._idle_timeout_s or _PARTING_S)
                self._timer = self._loop.call_later(wait, self._idle_expired, self.opened)

    def _finish_if_idle(self) -> None:
        if not self._table and not self.closing:
            self.closing = True
            self.flush_soon()

    def _settings_missing(self) -> None:
        self._timer = None
        self._fail(Http2Error(ErrorCode.SETTINGS_TIMEOUT, "the peer sent no SETTINGS in time"))

    def _fail(self, error: Http2Error) -> None:
        self.error = error
        self._blame(error.code)
        self.closing = True
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
            self._table.lose_all(ErrorCode.CANCEL)
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

"""The mesh: two connections dialled to each neighbour, and the door for those who dial us.

    control   link state (drivers/flooding), and probes (drivers/probes), which measure and notice the dead
    data      requests on their way; bulk on it cannot delay a probe on the other

HTTP/2 lets only the dialler open requests, so each PoP dials each of its neighbours. Both ends prove
their names by certificates of the overlay's CA. A lost connection is dialled again, with backoff. What
happened to one of the two happened to both: a neighbour is whole or gone, and the probes' verdict on the
control connection ends the other one too, so that needs no PINGs of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from pops.config import Overlay, Pop, Timeouts
from pops.drivers.flooding import PATHS
from pops.drivers.posts import CollectPost
from pops.drivers.records import PATH as RECORDS_PATH
from routing.lsa import LARGEST
from runtime.backoff import Backoff
from runtime.clock import Clock
from runtime.events import EventLog
from runtime.http2 import Http2Connection, Http2Settings
from runtime.splice import answer
from runtime.streams import Headers, Peer, Stream, StreamUser
from runtime.tls import explain, overlay_context
from wire.http2.engine import Role
from wire.http2.engines import EngineName

# A request's header fields grow on the way: what a visitor may send must still fit.
SETTINGS = Http2Settings(
    max_concurrent_streams=1024,
    max_header_list_size=512 * 1024,
    max_frame_size=65_536,
    reset_burst=100_000,  # those of all visitors of the neighbour
)


class Purpose(Enum):
    CONTROL = "control"
    DATA = "data"


class Neighbor:
    """One PoP we dial. `data` is the connection that requests go over, while there is one."""

    def __init__(self, overlay: OverlayMesh, pop: Pop) -> None:
        self._overlay = overlay
        self.pop = pop
        self.connections: dict[Purpose, Http2Connection] = {}
        self.first_try: dict[Purpose, asyncio.Event] = {p: asyncio.Event() for p in Purpose}
        self.error: str | None = "not tried yet"
        self._wake: dict[Purpose, asyncio.Event] = {}
        self._been_up = False
        self._verdict: str | None = None  # why we gave it up, before its connections hear of that

    @property
    def data(self) -> Http2Connection | None:
        return self.connections.get(Purpose.DATA)

    @property
    def up(self) -> bool:
        return len(self.connections) == len(Purpose)

    @property
    def tried(self) -> bool:
        """Both connections have been tried; they need not have come up."""
        return all(event.is_set() for event in self.first_try.values())

    async def keep(self, purpose: Purpose) -> None:
        """Dial, hold, and dial again, until cancelled."""
        overlay = self._overlay
        timeouts = overlay.timeouts
        backoff = Backoff(
            overlay.rng, base_s=timeouts.reconnect_first, cap_s=timeouts.reconnect_most
        )
        while True:
            lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            try:
                await self._dial(purpose, lost)
            except OSError as error:  # TLS failures and timeouts are OSErrors too
                self.error = explain(error)
                if not self.first_try[purpose].is_set():
                    self.first_try[purpose].set()
                    overlay.watch.changed(self.pop.name)
            else:
                self.first_try[purpose].set()
                backoff.reset()
                self.error = await lost
            wake = self._wake[purpose] = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff.next_delay()):
                    await wake.wait()

    def awake(self) -> None:
        for wake in self._wake.values():
            wake.set()

    async def _dial(self, purpose: Purpose, lost: asyncio.Future[str]) -> None:
        overlay = self._overlay
        timeouts = overlay.timeouts
        ready = asyncio.Event()

        def on_ready() -> None:
            ready.set()

        def on_lost(reason: str) -> None:
            reason = self._verdict or reason
            if not lost.done():
                lost.set_result(reason)
            ready.set()
            if self.connections.get(purpose) is http2:
                self._down(purpose, reason)

        def on_ping_ack(payload: bytes, rtt_s: float) -> None:
            overlay.watch.answered(self.pop.name, payload)

        http2 = Http2Connection(
            Role.CLIENT,
            engine=overlay.engine,
            settings=SETTINGS,
            on_ready=on_ready,
            on_lost=on_lost,
            on_ping_ack=on_ping_ack,
            on_goaway=lambda code: http2.close(),
            now=overlay.clock,
        )
        # While a whole world starts, handshakes wait for CPU. Later, a dial that fell into a dead link should not wait
        # for its next SYN, which comes ever later: a new dial begins with one.
        patience = timeouts.connect if self._been_up else timeouts.connect + timeouts.handshake
        async with asyncio.timeout(patience):
            await asyncio.get_running_loop().create_connection(
                lambda: http2,
                self.pop.address,
                self.pop.port or overlay.config.port,
                ssl=overlay.client_tls,
                server_hostname=self.pop.name,
                ssl_handshake_timeout=timeouts.handshake,
            )
            try:
                await ready.wait()
            except asyncio.CancelledError:
                http2.abort()
                raise
        if lost.done():
            raise ConnectionResetError(lost.result())
        self._up(purpose, http2)

    def _up(self, purpose: Purpose, http2: Http2Connection) -> None:
        self.connections[purpose] = http2
        self.error = self._verdict = None
        overlay = self._overlay
        if purpose is Purpose.CONTROL:
            overlay.watch.control_up(self.pop.name, http2)
        if self.up:
            self._been_up = True
            overlay.events.emit("overlay_up", neighbor=self.pop.name)
            overlay.watch.changed(self.pop.name)

    def _down(self, purpose: Purpose, reason: str) -> None:
        was_up = self.up
        del self.connections[purpose]
        overlay = self._overlay
        if purpose is Purpose.CONTROL:
            overlay.watch.control_down(self.pop.name)
        # What happened to one happened to both, most likely; and a neighbour is whole or gone.
        for other in list(self.connections.values()):
            other.abort()
        if was_up:
            overlay.events.emit("overlay_down", neighbor=self.pop.name, reason=reason)
            overlay.watch.changed(self.pop.name)

    def give_up(self, reason: str) -> None:
        """Both connections are dead, whatever TCP believes."""
        self._verdict = reason
        for http2 in list(self.connections.values()):
            http2.abort()

    def close(self) -> None:
        for http2 in list(self.connections.values()):
            http2.close()


class Watch(Protocol):
    """Who wants to know what happens to neighbours, and answers their POSTs."""

    def control_up(self, neighbor: str, control: Http2Connection) -> None: ...

    def control_down(self, neighbor: str) -> None: ...

    def answered(self, neighbor: str, payload: bytes) -> None: ...

    def changed(self, neighbor: str) -> None: ...

    def posted(self, sender: str, path: bytes, body: bytes) -> tuple[int, bytes]: ...


class OverlayMesh:
    """All neighbours, and those for whom we are one."""

    def __init__(
        self,
        me: str,
        config: Overlay,
        neighbors: list[Pop],
        *,
        timeouts: Timeouts,
        engine: EngineName,
        rng: random.Random,
        watch: Watch,
        on_request: Callable[[Stream], StreamUser],
        events: EventLog,
        clock: Clock,
    ) -> None:
        self.me = me
        self.config = config
        self.timeouts = timeouts
        self.engine = engine
        self.rng = rng
        self.watch = watch
        self.events = events
        self.clock = clock
        self.client_tls = overlay_context(config.certificate, config.ca, "client")
        self.server_tls = overlay_context(config.certificate, config.ca, "server")
        self.neighbors = {pop.name: Neighbor(self, pop) for pop in neighbors}
        self.accepted: dict[Http2Connection, None] = {}
        self.cut: dict[str, int] = {}
        self.strangers = 0
        self._on_request = on_request
        self._names = {pop.name.lower(): pop.name for pop in neighbors}

    def _name_of(self, peer: Peer) -> str:
        """The PoP that a certificate names. DNS names there have lost their case."""
        name = peer.certificate_name
        return self._names.get(name.lower(), name)

    def accept(self) -> Http2Connection:
        """The protocol of one more accepted connection."""

        def on_ready() -> None:
            # Who dials us is there, so whoever waits to dial it again need not wait.
            neighbor = self.neighbors.get(self._name_of(http2.peer))
            if neighbor is not None:
                neighbor.awake()

        def on_made() -> None:
            # Not before: a handshake that fails, for want of a certificate, ends without a word.
            self.accepted[http2] = None

        def on_lost(reason: str) -> None:
            self.accepted.pop(http2, None)
            if http2.cut is not None:
                self.cut[http2.cut] = self.cut.get(http2.cut, 0) + 1

        http2 = Http2Connection(
            Role.SERVER,
            engine=self.engine,
            settings=SETTINGS,
            on_request=self._requested,
            on_made=on_made,
            on_ready=on_ready,
            on_lost=on_lost,
            now=self.clock,
            settings_timeout_s=self.timeouts.handshake,
        )
        return http2

    def up(self) -> list[str]:
        return [name for name, neighbor in self.neighbors.items() if neighbor.up]

    def _requested(self, stream: Stream) -> StreamUser:
        return _Door(self, stream)

    def requested(self, stream: Stream, headers: Headers, end: bool) -> None:
        """A neighbour's request: link state, or something to pass on."""
        path = _post_path(headers)
        if path is not None:
            sender = self._name_of(stream.peer)
            if sender not in self.neighbors:
                # Its certificate is good, and still it is nobody whose word counts here.
                self.strangers += 1
                self.events.emit("overlay_stranger", name=sender, peer=stream.peer.address)
                answer(stream, [(b":status", b"403")])
                return
            stream.user = CollectPost(
                stream, LARGEST, lambda body: self.watch.posted(sender, path, body)
            )
            if end:
                stream.user.data_received(b"", True)
            return
        stream.user = self._on_request(stream)
        stream.user.headers_received(headers, end)

    def abort(self) -> None:
        for neighbor in self.neighbors.values():
            for http2 in list(neighbor.connections.values()):
                http2.abort()
        for http2 in list(self.accepted):
            http2.abort()

    def close(self) -> None:
        for neighbor in self.neighbors.values():
            neighbor.close()
        for http2 in list(self.accepted):
            http2.close()


_POSTS = PATHS | {RECORDS_PATH}


def _post_path(headers: Headers) -> bytes | None:
    """The path of a POST to the overlay itself."""
    if headers[0][1] == b"POST":
        for name, value in headers[:4]:
            if name == b":path" and value in _POSTS:
                return value
    return None


class _Door:
    """The user of a fresh stream until its head is known."""

    __slots__ = ("_overlay", "_stream")

    def __init__(self, overlay: OverlayMesh, stream: Stream) -> None:
        self._overlay = overlay
        self._stream = stream

    def headers_received(self, headers: Headers, end: bool) -> None:
        self._overlay.requested(self._stream, headers, end)

    def data_received(self, data: bytes, end: bool) -> None: ...

    def trailers_received(self, headers: Headers) -> None: ...

    def drained(self) -> None: ...

    def lost(self, code: int) -> None: ...

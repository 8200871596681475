"""The door for connectors: they dial, and then the PoP is the HTTP/2 client.

    accepted   TLS done; our preface and SETTINGS go out first, the connector's SETTINGS are awaited
    opened     the control stream is open: the connector must register on it in time
    registered requests may be sent; PINGs tell how far the connector is and whether it still lives
    draining   it unregistered (or this PoP leaves): no new requests; closed when none is running
    closing    refused: TCP stays a moment, so that the connector can read why

A connection that closes before it registers was a probe, and is not worth an event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType

from pops.config import Timeouts
from pops.core.registry import Connection, Registry
from pops.drivers.heartbeat import Heartbeat
from runtime.clock import Clock
from runtime.events import EventLog
from runtime.http2 import Http2Connection, Http2Settings
from runtime.streams import Headers, Stream
from wire.headers import UPGRADE, UPGRADE_CONTROL
from wire.http2.engine import ErrorCode, Role
from wire.http2.engines import EngineName
from wire.tunnel_rpc import (
    Aborted,
    ConnectionDetails,
    Refusal,
    RegisterConnection,
    RegistrationServer,
    RpcError,
    UnregisterConnection,
    UpdateLocalConfiguration,
)

# A connector ends its control stream after it unregistered; one that does not is not waited for.
_CONTROL_LINGER_S = 1.0
_LARGEST_MESSAGE_BACKLOG = 1024 * 1024

SETTINGS = Http2Settings(max_header_list_size=256 * 1024, max_frame_size=65_536)


class State(Enum):
    ACCEPTED = "accepted"
    OPENED = "opened"
    REGISTERED = "registered"
    DRAINING = "draining"
    CLOSING = "closing"
    GONE = "gone"


class Tunnels:
    """All connections that connectors made to this PoP. `on_change` is called when what other PoPs
    should know of them has changed. `places`: address -> name of a node."""

    def __init__(
        self,
        me: str,
        registry: Registry,
        *,
        timeouts: Timeouts,
        most: int,
        engine: EngineName,
        new_id: Callable[[], bytes],
        on_change: Callable[[], None],
        events: EventLog,
        clock: Clock,
        places: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.me = me
        self.places = places
        self.registry = registry
        self.timeouts = timeouts
        # Connections, registered or not: half of them may still be on their way to it.
        self.most = 2 * most
        self.cut: dict[str, int] = {}
        self.engine = engine
        self.new_id = new_id
        self.on_change = on_change
        self.events = events
        self.clock = clock
        self.links: dict[TunnelLink, None] = {}
        self.accepted = 0
        self.probes = 0
        self.refused: dict[str, int] = {}
        self.registered = 0
        self.lost = 0

    def accept(self) -> Http2Connection:
        """The protocol of one more accepted TLS connection."""
        return TunnelLink(self).http2

    def drain(self) -> None:
        for link in list(self.links):
            link.drain()

    def abort(self) -> None:
        for link in list(self.links):
            link.http2.abort()

    def moved_away(self, name: str, pop: str) -> None:
        """The connector holds this connection at another PoP now: ours is dead, whatever TCP believes."""
        for link in list(self.links):
            if link.connection is not None and link.connection.name == name:
                self.events.emit("tunnel_moved", connection=name, to=pop)
                link.http2.abort()

    def close(self) -> None:
        for link in list(self.links):
            link.http2.close()


class TunnelLink:
    """One connection; it is the `Carrier` of its `Connection`, and the user of its control stream."""

    def __init__(self, tunnels: Tunnels) -> None:
        self._tunnels = tunnels
        self.state: State = State.ACCEPTED
        self.connection: Connection | None = None
        self.configuration: bytes = b""  # as the connector last reported it, JSON
        self.http2 = Http2Connection(
            Role.CLIENT,
            engine=tunnels.engine,
            settings=SETTINGS,
            on_made=self._made,
            on_ready=self._ready,
            on_lost=self._lost,
            on_ping_ack=self._pinged,
            on_idle=self._idle,
            now=tunnels.clock,
            settings_timeout_s=tunnels.timeouts.register,
        )
        self._rpc = RegistrationServer()
        self._control: Stream | None = None
        self._heartbeat: Heartbeat | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rtt_s: float | None = None

    @property
    def streams(self) -> int:
        return self.http2.streams

    def silent(self) -> None:
        tunnels, connection = self._tunnels, self.connection
        if connection is not None and tunnels.registry.silenced(connection):
            self._told_off(connection, "it does not answer")

    def spoilt(self) -> None:
        tunnels, connection = self._tunnels, self.connection
        if connection is not None and tunnels.registry.spoilt(connection, tunnels.clock()):
            self._told_off(connection, f"{connection.errors} errors in a row")

    def _told_off(self, connection: Connection, reason: str) -> None:
        tunnels = self._tunnels
        tunnels.events.emit(
            "tunnel_avoided",
            tunnel=connection.tunnel_name,
            connection=connection.name,
            reason=reason,
        )
        tunnels.on_change()

    @property
    def _closing(self) -> bool:
        return self.state in (State.CLOSING, State.GONE)

    # The connection

    def _made(self) -> None:
        # Not before: a handshake that fails ends without a word.
        tunnels = self._tunnels
        tunnels.accepted += 1
        if len(tunnels.links) >= tunnels.most:
            tunnels.refused["too many"] = tunnels.refused.get("too many", 0) + 1
            self.state = State.CLOSING
            self.http2.abort()
        tunnels.links[self] = None

    def _ready(self) -> None:
        timeouts = self._tunnels.timeouts
        self.state = State.OPENED
        self._heartbeat = Heartbeat(
            self.http2,
            every_s=timeouts.tunnel_ping,
            deadline_s=timeouts.tunnel_ping_deadline,
            clock=self._tunnels.clock,
        )
        self._control = self.http2.open(self)
        self._control.send_headers(
            [
                (b":method", b"GET"),
                (b":scheme", b"https"),
                (b":authority", self._tunnels.me.lower().encode() + b".pops.popnet"),
                (b":path", b"/"),
                (UPGRADE, UPGRADE_CONTROL),
            ]
        )
        self._wait(timeouts.register, lambda: self._refuse("it did not register in time"))

    def _pinged(self, payload: bytes, rtt_s: float) -> None:
        self._rtt_s = rtt_s
        if self._heartbeat is not None:
            self._heartbeat.acknowledged()
        tunnels, connection = self._tunnels, self.connection
        if connection is not None and tunnels.registry.measured(connection, rtt_s, tunnels.clock()):
            tunnels.on_change()

    def _idle(self) -> None:
        if self.state is State.DRAINING:
            self.http2.close()

    def _lost(self, reason: str) -> None:
        tunnels = self._tunnels
        before, self.state = self.state, State.GONE
        tunnels.links.pop(self, None)
        if self.http2.cut is not None:
            tunnels.cut[self.http2.cut] = tunnels.cut.get(self.http2.cut, 0) + 1
        self._wait(None, None)
        if self._heartbeat is not None:
            self._heartbeat.stop()
        connection, self.connection = self.connection, None
        if connection is None:
            if before in (State.ACCEPTED, State.OPENED):
                tunnels.probes += 1
            return
        tunnels.registry.remove(connection)
        tunnels.lost += 1
        tunnels.events.emit(
            "tunnel_lost",
            tunnel=connection.tunnel_name,
            connection=connection.name,
            index=connection.index,
            drained=before is State.DRAINING,
            reason=reason,
        )
        tunnels.on_change()

    def _wait(self, delay: float | None, then: Callable[[], None] | None) -> None:
        """The one timer of this connection: at any moment it waits for one thing at most."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if delay is not None and then is not None:
            self._timer = asyncio.get_running_loop().call_later(delay, then)

    # The control stream

    def headers_received(self, headers: Headers, end: bool) -> None:
        if headers[0][1] != b"200" or end:
            self._refuse(f"control stream answered {headers[0][1].decode('latin-1')}")

    def data_received(self, data: bytes, end: bool) -> None:
        control = self._control
        if control is None or self._closing:
            return
        control.credit(len(data))
        try:
            for event in self._rpc.receive(data):
                if self._closing:
                    break
                match event:
                    case RegisterConnection():
                        self._register(event)
                    case UnregisterConnection():
                        self.drain()
                    case UpdateLocalConfiguration(config):
                        self.configuration = config
                    case Aborted(reason):
                        self._refuse(f"aborted: {reason}")
        except RpcError as error:
            self._refuse(str(error))
            return
        self._answer()
        if end:
            self._control_ended()

    def _answer(self) -> None:
        data = self._rpc.data_to_send()
        if data and self._control is not None:
            self._control.send_data(data)
            if self._control.backlog > _LARGEST_MESSAGE_BACKLOG:
                self._refuse("it asks and does not read")

    def trailers_received(self, headers: Headers) -> None:
        self._control_ended()

    def drained(self) -> None: ...

    def lost(self, code: int) -> None:
        self._control = None
        if self.state not in (State.CLOSING, State.GONE, State.DRAINING):
            # Nobody to tell of the end of this connection any more: let the connector dial again.
            self.drain()

    def _control_ended(self) -> None:
        control, self._control = self._control, None
        if control is not None:
            control.send_data(b"", end=True)
        if self.state is not State.DRAINING:
            self.drain()
        self._wait(self._tunnels.timeouts.drain, self.http2.close)
        self._close_if_done()

    def _register(self, event: RegisterConnection) -> None:
        tunnels = self._tunnels
        if self.connection is not None:
            self._rpc.fail(event.question, "this connection is registered already")
            return
        rtt_s = self._rtt_s or 0.0
        result = tunnels.registry.register(event.request, self, tunnels.clock(), rtt_s)
        if isinstance(result, Refusal):
            self._rpc.answer(event.question, result)
            self._answer()
            self._refuse(result.cause)
            return
        self.connection, older = result
        self.connection.origin_ip = address = self.http2.peer.address
        self.connection.site = tunnels.places.get(address, "")
        if older is not None and isinstance(older.carrier, TunnelLink):
            older.carrier.http2.close()
        self.state = State.REGISTERED
        self._wait(None, None)
        tunnels.registered += 1
        details = ConnectionDetails(tunnels.new_id(), tunnels.me)
        self._rpc.answer(event.question, details)
        tunnels.events.emit(
            "tunnel_connected",
            tunnel=self.connection.tunnel_name,
            connection=self.connection.name,
            index=self.connection.index,
            version=self.connection.version,
            peer=self.http2.peer.address,
            rtt_ms=round(rtt_s * 1e3, 3),
        )
        tunnels.on_change()

    def _refuse(self, reason: str) -> None:
        """Tell the operator, and close after the connector had time to read the answer."""
        tunnels = self._tunnels
        if self.state in (State.CLOSING, State.GONE):
            return
        self.state = State.CLOSING
        cause = reason.partition(":")[0]
        tunnels.refused[cause] = tunnels.refused.get(cause, 0) + 1
        tunnels.events.emit("tunnel_refused", reason=reason, peer=self.http2.peer.address)
        self._wait(tunnels.timeouts.refuse_linger, self.http2.close)

    # Leaving

    def drain(self) -> None:
        """No new requests; close TCP when none is running (only that makes a connector leave)."""
        if self.state in (State.DRAINING, State.CLOSING, State.GONE):
            return
        self.state = State.DRAINING
        if self.connection is not None:
            self.connection.draining = True
            self._tunnels.events.emit(
                "tunnel_draining",
                tunnel=self.connection.tunnel_name,
                connection=self.connection.name,
            )
            self._tunnels.on_change()
        self._wait(_CONTROL_LINGER_S, self._drop_control)
        self._close_if_done()

    def _drop_control(self) -> None:
        control, self._control = self._control, None
        if control is not None:
            control.reset(ErrorCode.CANCEL)
        self._wait(self._tunnels.timeouts.drain, self.http2.close)
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._control is None and self.http2.streams == 0:
            self.http2.close()

"""One connection to the edge: dialled by us, then served by us.

After TLS the roles turn: the edge is HTTP/2's client and opens every stream. The first is the
control stream, on which we ask (`wire.tunnel_rpc`): register, report, unregister. What else it
opens are requests.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from runtime.clock import Clock
from runtime.http2 import ErrorCode, Http2Connection, Http2Settings, Role
from runtime.streams import Headers, Stream, StreamUser
from runtime.tls import connector_context, explain
from tunnel_client.core import heads
from tunnel_client.core.addresses import Address
from tunnel_client.core.heads import Kind
from wire.srv import SERVER_NAME_HTTP2
from wire.tunnel_rpc import (
    Aborted,
    CallFailed,
    CallKind,
    ClientEvent,
    ConfigurationTaken,
    ConnectionDetails,
    Refusal,
    Refused,
    Registered,
    Registration,
    RegistrationClient,
    RpcError,
    Unregistered,
)

# As many streams as other connectors take; times the window of one, that bounds what stalled
# origins can cost. The edge passes on the resets of all its visitors: to cut it for those would
# let each of them cut off all others.
SETTINGS = Http2Settings(max_concurrent_streams=256, reset_burst=100_000)
_NO_ROUTE = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
)


class Owner(Protocol):
    """Who hears what happens to a connection. Called from the loop, never from within a call to it."""

    def dialled(self, edge: EdgeConnection) -> None: ...

    def failed(self, edge: EdgeConnection, reason: str, unreachable: bool) -> None: ...

    def registered(self, edge: EdgeConnection, details: ConnectionDetails) -> None: ...

    def refused(self, edge: EdgeConnection, refusal: Refusal) -> None: ...

    def unregistered(self, edge: EdgeConnection) -> None: ...

    def lost(self, edge: EdgeConnection, reason: str) -> None: ...


Serve = Callable[[Stream, Kind, Headers, bool], None]
MakeRegistration = Callable[[bytes], Registration]


class Dialler:
    """What all dials of the process have in common."""

    def __init__(
        self, *, ca: str | None = None, bind_address: str | None = None, clock: Clock
    ) -> None:
        self.context = connector_context(ca)
        self.bind_address = bind_address
        self.clock = clock


@dataclass(frozen=True, slots=True)
class EdgeSnapshot:
    index: int
    streams: int
    rtt_s: float | None
    bytes_in: int
    bytes_out: int


class EdgeConnection:
    """One attempt of one connection, from its dial to its end."""

    def __init__(
        self,
        index: int,
        attempt: int,
        owner: Owner,
        serve: Serve,
        make_registration: MakeRegistration,
        dialler: Dialler,
    ) -> None:
        self.index = index
        self.attempt = attempt
        self._owner = owner
        self._serve = serve
        self._make_registration = make_registration
        self._dialler = dialler
        self._control: _Control | None = None
        self._task: asyncio.Task[None] | None = None
        self._http2 = _EdgeHttp2(self)

    # What the owner asks

    def start(self, tasks: asyncio.TaskGroup, address: Address) -> None:
        name = f"dial connection {self.index} attempt {self.attempt} to {address}"
        self._task = tasks.create_task(self._dial(address), name=name)

    @property
    def received(self) -> int:
        """Bytes received so far."""
        return self._http2.bytes_in

    def ping(self) -> None:
        self._http2.ping()

    def report(self, configuration: bytes) -> None:
        if self._control is not None:
            self._control.report(configuration)

    def unregister(self) -> None:
        if self._control is None or not self._control.unregister():
            # Nobody to ask, so nothing to wait for.
            asyncio.get_running_loop().call_soon(self._owner.unregistered, self)

    def finish(self) -> None:
        """No more requests are expected: say so, let running ones end, and hang up."""
        if self._control is not None:
            self._control.end()
        self._http2.drain()

    def hang_up(self, *, politely: bool = True) -> None:
        if self._task is not None:
            self._task.cancel()
        if politely:
            self._http2.close()
        else:
            self._http2.abort()

    def snapshot(self) -> EdgeSnapshot:
        http2 = self._http2
        return EdgeSnapshot(self.index, http2.streams, http2.rtt, http2.bytes_in, http2.bytes_out)

    # What happens

    async def _dial(self, address: Address) -> None:
        loop = asyncio.get_running_loop()
        bind = self._dialler.bind_address
        try:
            await loop.create_connection(
                lambda: self._http2,
                address.host,
                address.port,
                ssl=self._dialler.context,
                server_hostname=SERVER_NAME_HTTP2,
                local_addr=(bind, 0) if bind else None,
            )
        except OSError as error:
            self._owner.failed(self, explain(error), error.errno in _NO_ROUTE)
        finally:
            self._task = None

    def made(self) -> None:
        self._owner.dialled(self)

    def gone(self, reason: str) -> None:
        self._owner.lost(self, reason)

    def stream_opened(self, stream: Stream, headers: Headers, end: bool) -> None:
        kind = heads.kind_of(headers)
        if kind is Kind.CONTROL and self._control is None and not end:
            self._control = _Control(self, stream)
            stream.user = self._control
            local = self._http2.peer.local_address
            self._control.register(self._make_registration(_ip_bytes(local)))
        else:
            self._serve(stream, kind, headers, end)

    def control_event(self, event: ClientEvent) -> None:
        owner = self._owner
        match event:
            case Registered(details):
                owner.registered(self, details)
            case Refused(refusal):
                owner.refused(self, refusal)
            case Unregistered() | CallFailed(kind=CallKind.UNREGISTER):
                owner.unregistered(self)
            case CallFailed(kind=CallKind.UPDATE_LOCAL_CONFIGURATION) | ConfigurationTaken():
                pass
            case CallFailed(reason=reason):
                owner.refused(self, Refusal(reason, should_retry=True))
            case Aborted(reason):
                self.control_lost(f"the edge ended the control stream: {reason}")

    def control_lost(self, reason: str) -> None:
        """Without it a registered connection still serves; one that is not registered never will be."""
        control = self._control
        if control is None or control.registered:
            return
        self._http2.close()
        self._owner.lost(self, reason)


class _EdgeHttp2(Http2Connection):
    """The HTTP/2 of one connection. Dialled by us, and yet the server."""

    def __init__(self, edge: EdgeConnection) -> None:
        super().__init__(
            Role.SERVER,
            settings=SETTINGS,
            on_request=lambda stream: _Opening(edge, stream),
            on_lost=edge.gone,
            now=edge._dialler.clock,
        )
        self._edge = edge

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Told from here and not after `create_connection` returned: the edge's first bytes may
        # have been served by then.
        super().connection_made(transport)
        self._edge.made()


class _Opening:
    """The user of a stream until its head has come and says what it is."""

    __slots__ = ("_edge", "_stream")

    def __init__(self, edge: EdgeConnection, stream: Stream) -> None:
        self._edge = edge
        self._stream = stream

    def headers_received(self, headers: Headers, end: bool) -> None:
        self._edge.stream_opened(self._stream, headers, end)

    def data_received(self, data: bytes, end: bool) -> None:
        self._stream.credit(len(data))

    def trailers_received(self, headers: Headers) -> None:
        pass

    def drained(self) -> None:
        pass

    def lost(self, code: int) -> None:
        pass


class _Control:
    """The control stream's user: bytes to `RegistrationClient` and back."""

    def __init__(self, edge: EdgeConnection, stream: Stream) -> None:
        self._edge = edge
        self._stream: Stream | None = stream
        self._rpc = RegistrationClient()
        self.registered = False

    def register(self, request: Registration) -> None:
        assert self._stream is not None
        self._stream.send_headers([(b":status", b"200")])
        self._rpc.register(request)
        self._send()

    def report(self, configuration: bytes) -> None:
        if self._stream is not None:
            self._rpc.update_local_configuration(configuration)
            self._send()

    def unregister(self) -> bool:
        """False when there is no control stream any more."""
        if self._stream is None:
            return False
        self._rpc.unregister()
        self._send()
        return True

    def end(self) -> None:
        """The conversation is over: close it, so that the connection can become idle."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.send_data(b"", end=True)
            stream.reset(ErrorCode.NO_ERROR)

    def _send(self) -> None:
        data = self._rpc.data_to_send()
        if data and self._stream is not None:
            self._stream.send_data(data)

    # What the stream calls

    def headers_received(self, headers: Headers, end: bool) -> None:
        pass

    def data_received(self, data: bytes, end: bool) -> None:
        if self._stream is None:
            return
        self._stream.credit(len(data))
        try:
            events = self._rpc.receive(data)
        except RpcError as error:
            stream, self._stream = self._stream, None
            stream.reset(ErrorCode.PROTOCOL_ERROR)
            self._edge.control_lost(f"control stream: {error}")
            return
        self._send()
        for event in events:
            if isinstance(event, Registered):
                self.registered = True
            self._edge.control_event(event)
        if end:
            self._edge.control_lost("the edge ended the control stream")

    def trailers_received(self, headers: Headers) -> None:
        self._edge.control_lost("the edge ended the control stream")

    def drained(self) -> None:
        pass

    def lost(self, code: int) -> None:
        self._stream = None
        self._edge.control_lost("the edge reset the control stream")


_: type[StreamUser] = _Control


def _ip_bytes(address: str) -> bytes:
    """16 bytes: IPv6, or IPv4 mapped into it; none when the address is not known."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return b""
    if isinstance(parsed, ipaddress.IPv4Address):
        return bytes(10) + b"\xff\xff" + parsed.packed
    return parsed.packed

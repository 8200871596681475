"""TLS that costs what TLS costs on the wire, and nothing else: the flights, their sizes, the records.

How a handshake goes is found out in memory (handshakes.py): what its flights measure, and what both sides learn of
each other (name asked for, protocol chosen, certificate shown). Every meeting of the two sends flights of those sizes
and hands out that knowledge. A handshake that fails fails the same way each time.
Records are framed as in TLS 1.3 (RFC 8446 section 5.2) and not encrypted. Simpler than the real thing: no
session is resumed, and a side that closes does not wait for the other's close_notify.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any, cast

from wan.virtual.handshakes import CLIENT, SERVER, Meeting, Meetings, Side, hello, told_length
from wan.virtual.programs import Turns
from wan.virtual.transports import fill

_NUMBER = 4
_RECORD_HEADER, _RECORD_TAIL, _LARGEST = 5, 17, 16384
_TAIL = bytes(_RECORD_TAIL)
_DATA, _CLOSE = b"\x17\x03\x03", b"\x15\x03\x03\x00\x13" + bytes(19)
_HANDSHAKE_S = 60.0


class Flights:
    """All meetings of a world. `protocol` makes the layer that stands between transport and program."""

    def __init__(self) -> None:
        self.meetings = Meetings()
        # What a ClientHello says, by the number that its stand-in carries.
        self._hellos: list[tuple[ssl.SSLContext, str | None, int]] = []
        self._numbers: dict[tuple[ssl.SSLContext, str | None], int] = {}
        self._sizes: dict[tuple[ssl.SSLContext, int], int] = {}

    def hello(self, client: ssl.SSLContext, name: str | None) -> bytes:
        key = (client, name)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._hellos)
            self._hellos.append((client, name, self._hello_size(client, name)))
        return _flight(number, self._hellos[number][2])

    def _hello_size(self, client: ssl.SSLContext, name: str | None) -> int:
        """One is made for each length of a name: nothing else of a name changes it."""
        key = (client, told_length(name))
        size = self._sizes.get(key)
        if size is None:
            size = self._sizes[key] = len(hello(client, name))
        return size

    def said(self, begin: bytes) -> tuple[ssl.SSLContext, str | None, int] | None:
        """What the hello that begins so says, and its size."""
        number = int.from_bytes(begin)
        return self._hellos[number] if number < len(self._hellos) else None

    def answered(self, begin: bytes) -> Meeting | None:
        """The meeting that a server's first flight belongs to."""
        return self.meetings.numbered(int.from_bytes(begin))

    def protocol(
        self,
        loop: Turns,
        app: asyncio.BaseProtocol,
        context: ssl.SSLContext,
        waiter: asyncio.Future[None] | None,
        *,
        server: bool,
        name: str | None,
        handshake_s: float | None,
        made: bool,
    ) -> FlightsProtocol:
        side = SERVER if server else CLIENT
        limit = handshake_s or _HANDSHAKE_S
        return FlightsProtocol(self, loop, app, context, waiter, side, name, limit, made)


def _flight(number: int, size: int) -> bytes:
    return number.to_bytes(_NUMBER).ljust(size, b"\0")


class State(Enum):
    GREETING = "greeting"
    OPEN = "open"
    CLOSED = "closed"


class FlightsProtocol(asyncio.Protocol):
    """Stands where asyncio.sslproto.SSLProtocol would."""

    def __init__(
        self,
        flights: Flights,
        loop: Turns,
        app: asyncio.BaseProtocol,
        context: ssl.SSLContext,
        waiter: asyncio.Future[None] | None,
        side: Side,
        name: str | None,
        handshake_s: float,
        made: bool,
    ) -> None:
        self.context = context
        self.transport: asyncio.Transport | None = None
        self._app_transport = FlightsTransport(self)
        self._flights = flights
        self._loop = loop
        self._waiter = waiter
        self._side = side
        self._name = name
        self._handshake_s = handshake_s
        self._made = made
        self._timer: asyncio.TimerHandle | None = None
        self._meeting: Meeting | None = None
        self._state = State.GREETING
        # The flight that comes next, and how many bytes of it are missing: None when that is not known yet.
        self._index = 1 - side
        self._missing: int | None = None
        self._bytes = b""
        self.app = app

    @property
    def app(self) -> asyncio.BaseProtocol:
        return self._app

    @app.setter
    def app(self, app: asyncio.BaseProtocol) -> None:
        self._app = app
        self._up: Callable[[bytes], None]
        receive = getattr(app, "data_received", None)
        if receive is None:
            receive = partial(fill, cast(asyncio.BufferedProtocol, app))
        self._up = receive

    @property
    def ssl_object(self) -> ssl.SSLObject | None:
        return None if self._meeting is None else self._meeting.objects[self._side]

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._timer = self._loop.call_later(self._handshake_s, self._too_late)
        if self._side == CLIENT:
            self.transport.write(self._flights.hello(self.context, self._name))

    def connection_lost(self, exc: Exception | None) -> None:
        was, self._state = self._state, State.CLOSED
        self._stop_timer()
        if was is State.OPEN:
            self.app.connection_lost(exc)
        elif was is State.GREETING:
            self._wake(exc or ConnectionResetError("the connection ended within the handshake"))

    def eof_received(self) -> bool | None:
        if self._state is State.OPEN:
            self._peer_closed()
        return None

    def pause_writing(self) -> None:
        if self._state is State.OPEN:
            self.app.pause_writing()

    def resume_writing(self) -> None:
        if self._state is State.OPEN:
            self.app.resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._bytes:
            data = self._bytes + data
            self._bytes = b""
        if self._state is State.OPEN and not self._missing:
            self._records(data)
            return
        while data and self._state is not State.CLOSED:
            if self._missing:
                skipped = min(self._missing, len(data))
                self._missing -= skipped
                data = data[skipped:]
                if not self._missing:
                    self._flight_came()
            elif self._state is State.OPEN:
                self._records(data)
                return
            elif len(data) < _NUMBER:
                self._bytes = data
                return
            else:
                self._first_flight(data[:_NUMBER])

    # The handshake

    def _first_flight(self, begin: bytes) -> None:
        if self._side == CLIENT:
            self._meeting = self._flights.answered(begin)
            size = 0 if self._meeting is None else self._meeting.size(1)
        else:
            said = self._flights.said(begin)
            size = 0
            if said is not None:
                client, name, size = said
                self._meeting = self._flights.meetings.of(client, self.context, name)
        self._missing = size
        if not size:
            self._abandon(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] no TLS was spoken"))

    def _flight_came(self) -> None:
        """Flight `_index` is here in full: send the next, and see where that leaves us."""
        meeting, transport = self._meeting, self.transport
        assert meeting is not None
        assert transport is not None
        turn = self._index + 1
        size = meeting.size(turn)
        if size:
            transport.write(_flight(meeting.number, size))
        error = meeting.error(self._side, turn)
        if error is not None:
            self._abandon(error)
            return
        self._index += 2
        self._missing = meeting.size(self._index)
        if self._state is State.GREETING and meeting.connected[self._side] <= turn:
            self._connected()

    def _connected(self) -> None:
        self._state = State.OPEN
        self._stop_timer()
        if self._made:
            self.app.connection_made(self._app_transport)
        self._wake(None)

    def _too_late(self) -> None:
        if self._state is State.GREETING:
            seconds = self._handshake_s
            self._abandon(
                ConnectionAbortedError(
                    f"SSL handshake is taking longer than {seconds} seconds: aborting the connection"
                )
            )

    def _abandon(self, error: Exception) -> None:
        was, self._state = self._state, State.CLOSED
        self._stop_timer()
        if self.transport is not None:
            # What was written, an alert, still goes out.
            self.transport.close()
        if was is State.OPEN:
            self._loop.call_soon(self.app.connection_lost, error)
        else:
            self._wake(error)

    def _wake(self, error: Exception | None) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Records

    def _records(self, data: bytes) -> None:
        position, size = 0, len(data)
        while size - position >= _RECORD_HEADER:
            length = (data[position + 3] << 8) | data[position + 4]
            end = position + _RECORD_HEADER + length
            if end > size:
                break
            if data[position] != _DATA[0]:
                self._peer_closed()
                return
            self._up(data[position + _RECORD_HEADER : end - _RECORD_TAIL])
            if self._state is not State.OPEN:
                return
            position = end
        self._bytes = data[position:]

    def _peer_closed(self) -> None:
        # TLS knows no half-closed connection in asyncio: whatever eof_received says, it ends.
        cast(asyncio.Protocol, self.app).eof_received()
        self.close()

    def write(self, data: Any) -> None:
        if self._state is not State.OPEN or not data:
            return
        assert self.transport is not None
        data = bytes(data) if data.__class__ is not bytes else data
        size = len(data)
        if size <= _LARGEST:
            length = (size + _RECORD_TAIL).to_bytes(2)
            self.transport.write(b"%b%b%b%b" % (_DATA, length, data, _TAIL))
            return
        parts: list[bytes] = []
        for start in range(0, size, _LARGEST):
            part = data[start : start + _LARGEST]
            parts += (_DATA, (len(part) + _RECORD_TAIL).to_bytes(2), part, _TAIL)
        self.transport.write(b"".join(parts))

    def close(self) -> None:
        transport = self.transport
        if transport is not None and not transport.is_closing():
            if self._state is State.OPEN:
                transport.write(_CLOSE)
            transport.close()


class FlightsTransport(asyncio.Transport):
    """What the program above is given."""

    _start_tls_compatible = True

    def __init__(self, protocol: FlightsProtocol) -> None:
        super().__init__()
        self._protocol = protocol
        # The fast way for what is called most.
        self.write = protocol.write  # type: ignore[method-assign]

    @property
    def _inner(self) -> asyncio.Transport:
        transport = self._protocol.transport
        assert transport is not None
        return transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        protocol = self._protocol
        match name:
            case "ssl_object":
                return protocol.ssl_object
            case "sslcontext":
                return protocol.context
            case "peercert" if protocol.ssl_object is not None:
                return protocol.ssl_object.getpeercert()
            case "cipher" if protocol.ssl_object is not None:
                return protocol.ssl_object.cipher()
            case _:
                return (
                    default
                    if protocol.transport is None
                    else self._inner.get_extra_info(name, default)
                )

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol.app = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol.app

    def is_closing(self) -> bool:
        transport = self._protocol.transport
        assert transport is not None
        return transport.is_closing()

    def close(self) -> None:
        self._protocol.close()

    def abort(self) -> None:
        self._inner.abort()

    def can_write_eof(self) -> bool:
        return False

    def write_eof(self) -> None:
        raise NotImplementedError("TLS in asyncio ends both directions at once")

    def pause_reading(self) -> None:
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        self._inner.resume_reading()

    def is_reading(self) -> bool:
        return self._inner.is_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._inner.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._inner.get_write_buffer_limits()

    def get_write_buffer_size(self) -> int:
        return self._inner.get_write_buffer_size()

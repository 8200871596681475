"""What an HTTP/2 engine is, whoever wrote it.

An engine is fed bytes and calls its sinks, one for streams and one for the connection; it is given requests and hands
out bytes. It does no I/O and knows no clock. There is no event object per chunk: the data path is method calls only,
for an object per chunk is what the profile of a proxy in Python consists of.

Headers are lists of (name, value) pairs of bytes, lower-case, pseudo-header fields first. They are made safe in
`fields.py` before an engine sees them, because ngh2 does not look at what it sends.

Flow control: an engine returns connection-level credit as soon as bytes arrive (or acts so that the peer cannot
tell the difference) and stream-level credit only through `acknowledge`. RFC 9113 section 5.2 leaves this to us; it
is what keeps 64 stalled downloads from starving the 65th visitor of the same connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Protocol

from wire.errors import WireError

Headers = list[tuple[bytes, bytes]]


class Role(Enum):
    CLIENT = "client"
    SERVER = "server"


class ErrorCode(IntEnum):
    """RFC 9113 section 7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


def code_name(code: int) -> str:
    """The RFC's name of an error code, for people."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"0x{code:x}"


class Http2Error(WireError):
    """The connection is beyond saving. The only error that leaves an engine."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code_name(code)}: {reason}")
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Http2Settings:
    """What we tell the peer, and what we bear from it."""

    max_concurrent_streams: int = 256
    """Streams the peer may have open at once (server role)."""
    stream_window: int = 1024 * 1024
    """Bytes a peer may send on one stream before `acknowledge`: what a stalled reader can cost us in memory."""
    max_frame_size: int = 16_384
    max_header_list_size: int = 64 * 1024
    """Advertised, by RFC 9113 section 6.5.2 (32 bytes of overhead a field). Above it the driver answers 431;
    above four times as much the engine cuts the connection."""
    max_header_count: int = 1024
    enable_connect_protocol: bool = False
    """RFC 8441: WebSocket over HTTP/2 (server role)."""
    flood_burst: int = 1000
    """Frames of a suspicious kind (pings, settings, empty data) that may come at once."""
    reset_burst: int = 1000
    """Streams that the peer may reset at once. Who passes on what others ask must be granted all of their resets."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_concurrent_streams <= 2**31 - 1:
            raise ValueError("max_concurrent_streams must be 1 to 2^31-1")
        if not 65_535 <= self.stream_window <= 2**24:
            raise ValueError("stream_window must be 65535 bytes to 16 MiB")
        if self.max_concurrent_streams * self.stream_window > 2**30:
            # What all streams together may hold back must leave half of the connection's window: engines/ngh2.py.
            raise ValueError("max_concurrent_streams x stream_window must be at most 1 GiB")
        if not 16_384 <= self.max_frame_size <= 2**24 - 1:
            raise ValueError("max_frame_size must be 16384 to 2^24-1")


class StreamSink(Protocol):
    """What an engine says of streams while it is fed bytes, or while it hands bytes out."""

    def request_received(self, stream_id: int, headers: Headers, end: bool) -> None:
        """A new stream (server role)."""

    def response_received(self, stream_id: int, headers: Headers, end: bool) -> None:
        """A response head (client role); informational ones have a 1xx `:status` and never `end`."""

    def body_received(self, stream_id: int, data: bytes, end: bool) -> None:
        """One DATA frame. Every byte must be given back by `Engine.acknowledge`, also of streams long gone."""

    def trailers_received(self, stream_id: int, headers: Headers) -> None:
        """Trailer fields; they end the peer's direction."""

    def stream_closed(self, stream_id: int, code: int) -> None:
        """The stream is over: both directions ended (NO_ERROR), or either side reset it (the code). Comes once."""

    def window_opened(self, stream_id: int) -> None:
        """The peer gave credit to a stream, or (0) to the connection."""


class Sink(Protocol):
    """What an engine says of the connection."""

    def settings_received(self) -> None:
        """The peer's settings came; see `Engine.peer_max_streams`."""

    def ping_acknowledged(self, payload: bytes) -> None: ...

    def goaway_received(self, last_stream_id: int, code: int, debug: bytes) -> None:
        """The peer takes no streams above `last_stream_id`; those it had are closed as REFUSED_STREAM."""

    def connection_closed(self, code: int, debug: bytes) -> None:
        """The engine wants nothing more from the peer: write what `data_to_send` gives, then hang up."""


class Engine(Protocol):
    """One end of one connection. Calls for a stream that is gone are ignored: its `stream_closed` is on the way."""

    def start(self) -> None:
        """Queue the preface and our SETTINGS."""

    def receive(self, data: bytes | memoryview) -> None:
        """Take bytes from the peer and call the sinks. Raises `Http2Error` when the connection is beyond saving."""

    def data_to_send(self, limit: int) -> bytes:
        """At most `limit` bytes for the peer, b"" when there is nothing to say now. May call the sinks."""

    @property
    def want_write(self) -> bool:
        """Whether `data_to_send` could have something. A hint that costs less than asking for it."""

    def send_request(self, headers: Headers, end: bool) -> int:
        """Open a stream and return its identifier; 0 when the connection takes no more."""

    def send_response(self, stream_id: int, headers: Headers, end: bool) -> None: ...

    def send_informational(self, stream_id: int, headers: Headers) -> None: ...

    def send_data(self, stream_id: int, data: bytes, end: bool) -> None:
        """Queue body bytes behind flow control."""

    def send_trailers(self, stream_id: int, headers: Headers) -> None: ...

    def reset(self, stream_id: int, code: int) -> None:
        """Queue RST_STREAM; body bytes still queued are dropped."""

    def backlog(self, stream_id: int) -> int:
        """Body bytes of the stream that are queued and not yet framed."""

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Give the peer `size` bytes of stream credit back."""

    def ping(self, payload: bytes) -> None:
        """Queue a PING; the payload has eight bytes."""

    def shutdown_notice(self) -> None:
        """Server role: queue the GOAWAY that announces another one (RFC 9113 section 6.8)."""

    def goaway(self, code: int, debug: bytes = b"") -> None:
        """Queue a GOAWAY: no new streams; those that are open may finish."""

    def terminate(self, code: int) -> None:
        """Queue a last GOAWAY and be done."""

    @property
    def peer_max_streams(self) -> int:
        """Streams the peer lets us have open at once."""

    @property
    def can_open(self) -> bool:
        """Whether the peer takes new streams at all (no GOAWAY, identifiers left)."""

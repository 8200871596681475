"""The one shape every exchange has here, whatever protocol carries it.

An HTTP exchange is two byte streams with headers in front and perhaps trailers behind. HTTP/2 streams, HTTP/1.1
exchanges with a visitor, and HTTP/1.1 exchanges with an origin all look like a `Stream` from above and call back
a `StreamUser`. So a PoP or a connector couples any two of them without knowing what they are.

Headers are always in HTTP/2 form (RFC 9113 section 8.3): a list of (name, value) pairs of bytes, lower-case names,
pseudo-header fields first. The HTTP/1.1 codecs translate.

Back-pressure has two halves. Downstream: `Stream.backlog` counts bytes that were given to `send_data` and not yet
taken by the peer or the kernel; a writer that sees it above `HIGH_WATER` waits for `StreamUser.drained`. Upstream:
bytes handed to `data_received` stay counted against the sender until `Stream.credit` gives them back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

Headers = list[tuple[bytes, bytes]]

HIGH_WATER = 256 * 1024
LOW_WATER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of the connection that carries a stream. One object per connection."""

    address: str
    port: int
    local_address: str
    local_port: int
    protocol: str
    """"h2" or "http/1.1"."""
    tls: bool
    server_name: str = ""
    """The name a TLS client asked us for (SNI), lower case."""
    certificate_name: str = ""
    """The name in the certificate that the peer proved, where one was demanded."""

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"


class Stream(Protocol):
    """The writing side of one exchange, as its user sees it. No method raises after the stream was lost."""

    user: StreamUser

    @property
    def peer(self) -> Peer:
        """The connection's other end."""

    @property
    def backlog(self) -> int:
        """Bytes accepted by `send_data` that have not left this process."""

    def send_headers(self, headers: Headers, *, end: bool = False) -> None:
        """Send the request or response head (an informational one has a 1xx `:status`)."""

    def send_data(self, data: bytes, *, end: bool = False) -> None:
        """Queue body bytes. Never blocks; watch `backlog`."""

    def send_trailers(self, headers: Headers) -> None:
        """Send trailer fields and end this direction."""

    def reset(self, code: int) -> None:
        """Abandon both directions at once; `code` is an RFC 9113 section 7 error code. No callback follows.

        NO_ERROR (0) after this side was ended is the exception to "at once": it says that the rest of what the peer
        sends is not wanted (RFC 9113 section 8.1), and what was queued before it is still delivered.
        """

    def credit(self, size: int) -> None:
        """Say that `size` bytes handed to `data_received` have been passed on, so the sender may send more."""


class StreamUser(Protocol):
    """What a `Stream` calls. Nothing is called after `lost`, nor after both directions ended."""

    def headers_received(self, headers: Headers, end: bool) -> None: ...

    def data_received(self, data: bytes, end: bool) -> None: ...

    def trailers_received(self, headers: Headers) -> None: ...

    def drained(self) -> None:
        """`backlog` was above `HIGH_WATER` and fell under `LOW_WATER`."""

    def lost(self, code: int) -> None:
        """The peer reset the stream or its connection went away (`code` as in `Stream.reset`).

        NO_ERROR (0) after the peer ended its side is normal: it answered early and wants no more of our body.
        """

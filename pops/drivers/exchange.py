"""One request passing this PoP: what ingress and transit have in common.

An exchange is the user of its left stream until it has the right one; then a `Splice` couples the
two and calls back here for the response head and the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pops.core import pages
from pops.core.pages import Problem
from pops.core.registry import Connection
from runtime.http2 import Http2Connection
from runtime.splice import Splice
from runtime.streams import Headers, Stream
from runtime.transports import Discard
from wire.http2.engine import ErrorCode, code_name
from wire.overlay import Fault, FaultCode

if TYPE_CHECKING:
    from pops.drivers.proxy import Proxy

_DISCARD = Discard()


class Exchange:
    """One request under way. Subclasses take the head, and say what the answer means."""

    __slots__ = (
        "connection",
        "fault",
        "http2",
        "left",
        "patience",
        "problem",
        "progress",
        "proxy",
        "request_ended",
        "sent_at",
        "since",
        "splice",
        "websocket",
    )

    def __init__(self, proxy: Proxy, left: Stream) -> None:
        self.proxy = proxy
        self.left = left
        self.splice: Splice | None = None
        self.http2: Http2Connection | None = None  # that the request was sent on by
        self.connection: Connection | None = None  # the tunnel's, where it leaves the overlay here
        self.fault: Fault | None = None
        self.problem: Problem | None = None
        self.request_ended = False
        self.websocket = False
        self.sent_at = 0.0
        self.since = 0.0
        self.progress = 0
        self.patience = proxy.timeouts.response_head

    def data_received(self, data: bytes, end: bool) -> None:
        """Nothing can come here: coupling or an answer follows the head at once."""

    def trailers_received(self, headers: Headers) -> None: ...

    def drained(self) -> None: ...

    def lost(self, code: int) -> None: ...

    def on_head(self, headers: Headers) -> Headers | None:
        raise NotImplementedError

    def on_end(self, splice: Splice, code: int | None) -> None:
        raise NotImplementedError

    def send_on(self, http2: Http2Connection, headers: Headers) -> None:
        """Open the right stream, send the request head, and couple the two."""
        self.http2 = http2
        right = http2.open(_DISCARD)
        splice = Splice(
            self.left,
            right,
            on_head=self.on_head,
            on_end=self.on_end,
            request_ended=self.request_ended,
        )
        self.splice = splice
        self.sent_at = self.since = self.proxy.clock()
        self.progress = 0
        right.send_headers(headers, end=self.request_ended)
        self.proxy.watch(self)

    def failed(self, fault: Fault) -> None:
        """What came is no response to pass on. `on_end` follows at once."""
        assert self.splice is not None
        self.fault = fault
        self.splice.abandon(ErrorCode.CANCEL)

    def look(self, now: float) -> None:
        """Once per tick: is it still moving, and within its bounds?"""
        splice = self.splice
        if splice is None:
            return
        progress = splice.bytes_up + splice.bytes_down
        if progress != self.progress:
            self.progress = progress
            self.since = now
            if splice.bytes_up > self.proxy.limits.body_bytes:
                self.problem = pages.body_too_large(self.proxy.limits.body_bytes)
                splice.abandon(ErrorCode.CANCEL)
            return
        if splice.answered:
            if now - self.since >= self.proxy.timeouts.idle:
                splice.abandon(ErrorCode.CANCEL)
        elif now - self.since >= self.patience:
            detail = f"nothing came back within {self.patience:g} s"
            self.fault = Fault(FaultCode.TIMEOUT, self.proxy.me, detail)
            splice.abandon(ErrorCode.CANCEL)

    def lost_fault(self, code: int | None) -> Fault:
        """The next hop went away before it answered."""
        proxy, name = self.proxy, code_name(code or 0)
        connection = self.connection
        if connection is None:
            return Fault(FaultCode.OVERLAY, proxy.me, f"the next PoP went away ({name})")
        where = f"connection {connection.index}"
        assert self.http2 is not None
        if code == ErrorCode.REFUSED_STREAM or self.http2.closed:
            return Fault(FaultCode.TUNNEL_LOST, proxy.me, f"{where} went away ({name})")
        # The tunnel is fine: its connector gave this request up, because the service did.
        return Fault(FaultCode.ORIGIN, proxy.me, f"the connector gave up ({name})")

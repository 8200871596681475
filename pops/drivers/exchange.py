"""One request passing this PoP: what ingress and transit have in common.

An exchange is the user of its left stream until it has the right one; then a `Splice` couples the
two and calls back here for the response head and the end. When the right one fails before anything
of the answer came, `core/failover` says whether the request may go again, and a budget whether it can.
"""

from __future__ import annotations

from pops.core import pages
from pops.core.failover import may_repeat
from pops.core.pages import Problem
from pops.core.registry import Connection
from pops.drivers.proxy import Proxy
from runtime.http2 import Http2Connection
from runtime.splice import Splice
from runtime.streams import Headers, Stream
from runtime.transports import Discard
from wire.http2.engine import ErrorCode, code_name
from wire.overlay import Fault, FaultCode

_DISCARD = Discard()
# One connector may be at fault where another one of its tunnel is not.
_OF_CONNECTOR = frozenset({FaultCode.TUNNEL_PROTOCOL, FaultCode.ORIGIN})
# A PING that took so many of the usual round trips is late.
_ROUND_TRIPS = 4


class Exchange:
    """One request under way. Subclasses take the head, and say what the answer means."""

    __slots__ = (
        "attempts",
        "connection",
        "fault",
        "heard",
        "http2",
        "idempotent",
        "kept",
        "left",
        "patience",
        "problem",
        "progress",
        "proxy",
        "quiet_since",
        "request_ended",
        "sent_at",
        "since",
        "splice",
        "used",
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
        self.idempotent = False
        self.kept: tuple[bytes, ...] = ()  # of the body, from the attempt before
        self.used: tuple[Connection, ...] = ()  # tunnel connections tried here
        self.attempts = 0
        self.websocket = False
        self.sent_at = 0.0
        self.since = 0.0
        self.quiet_since = 0.0
        self.heard = 0
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
        self.attempts += 1
        proxy, ended, kept = self.proxy, self.request_ended, self.kept
        right = http2.open(_DISCARD)
        splice = Splice(
            self.left,
            right,
            on_head=self.on_head,
            on_end=self.on_end,
            request_ended=ended,
            keep=0 if ended and not kept else proxy.keep_bytes,
        )
        self.splice = splice
        self.sent_at = self.since = self.quiet_since = proxy.clock()
        self.heard = http2.bytes_in
        self.progress = 0
        right.send_headers(headers, end=ended and not kept)
        if kept:
            splice.send_again(kept)
        proxy.watch(self)

    def leave_by(self, tunnel: str, preferred: str, headers: Headers) -> bool:
        """Send the request on by a tunnel connection that ends here. False when there is none to try."""
        found = self.proxy.world.tunnel(tunnel, preferred, self.used)
        if found is None:
            return False
        self.connection = found[0]
        self.used = (*self.used, found[0])
        self.send_on(found[1], headers)
        return True

    @property
    def elsewhere(self) -> bool:
        """Whether another service may serve this request."""
        return False

    def failed(self, fault: Fault) -> None:
        """What came is no response to pass on. `on_end` follows at once."""
        assert self.splice is not None
        self.fault = fault
        self.splice.abandon(ErrorCode.CANCEL)

    def why(self, code: int | None) -> Fault:
        """The fault that an exchange without an answer ended in; a tunnel connection remembers its own."""
        fault, self.fault = self.fault or self.lost_fault(code), None
        if self.connection is not None and fault.code in _OF_CONNECTOR:
            self.connection.carrier.spoilt()
        return fault

    def may_go_again(self, splice: Splice, fault: Fault, code: int | None) -> bool:
        """Whether the request can be sent once more after that end; then it is ready for it."""
        kept = splice.kept
        if kept is None or self.attempts >= self.proxy.limits.attempts:
            return False
        allowed = may_repeat(
            fault,
            refused=code == ErrorCode.REFUSED_STREAM,
            idempotent=self.idempotent,
            unsaid=not kept and not splice.up_complete,
            elsewhere=self.elsewhere,
        )
        if not allowed:
            return False
        stats = self.proxy.stats
        if not self.proxy.budget.take(self.proxy.clock()):
            stats.retries_refused += 1
            return False
        stats.retried(fault.code.value)
        self.request_ended = splice.up_complete
        self.kept = kept
        return True

    def look(self, now: float) -> None:
        """Once per tick: is it still moving, and within its bounds?"""
        splice = self.splice
        if splice is None:
            return
        if (problem := self.dawdles(splice, now)) is not None:
            self.problem = problem
            splice.abandon(ErrorCode.CANCEL)
            return
        progress = splice.bytes_up + splice.bytes_down
        if progress != self.progress:
            self.progress = progress
            self.since = now
            if splice.bytes_up > self.proxy.limits.body_bytes:
                self.problem = pages.body_too_large(self.proxy.limits.body_bytes)
                splice.abandon(ErrorCode.CANCEL)
        elif splice.answered:
            if now - self.since >= self.proxy.timeouts.idle:
                splice.abandon(ErrorCode.CANCEL)
        elif now - self.since >= self.patience:
            detail = f"nothing came back within {self.patience:g} s"
            self.failed(Fault(FaultCode.TIMEOUT, self.proxy.me, detail))
        elif self.idempotent and (fault := self.doubted(now)) is not None:
            self.failed(fault)

    def doubted(self, now: float) -> Fault | None:
        """No answer yet: is whoever should bring it still there?

        A silent loss is declared by heartbeats after seconds. A request that may be sent twice need not wait for
        that: when not a byte came from the next hop for a while, it is asked by a PING, and when that is not
        answered either in the time of several round trips, the request leaves it alone. So do those that follow,
        until a byte comes from there.
        """
        http2 = self.http2
        assert http2 is not None
        if http2.bytes_in != self.heard:
            self.heard = http2.bytes_in
            self.quiet_since = now
            return None
        doubt = self.proxy.timeouts.doubt
        if now - self.quiet_since < doubt:
            return None
        asked_at = http2.unanswered_since
        if asked_at is None:
            http2.ping()
            return None
        if now - asked_at < max(doubt, _ROUND_TRIPS * (http2.rtt or 0.0)):
            return None
        http2.silent_at = http2.bytes_in
        connection = self.connection
        if connection is None:
            return Fault(FaultCode.OVERLAY, self.proxy.me, "the next PoP does not answer")
        connection.carrier.silent()
        detail = f"connection {connection.index} does not answer"
        return Fault(FaultCode.TUNNEL_LOST, self.proxy.me, detail)

    def dawdles(self, splice: Splice, now: float) -> Problem | None:
        """What is wrong with a request that does not come. Only where the visitor is ours to judge."""
        return None

    def lost_fault(self, code: int | None) -> Fault:
        """The next hop went away before it answered, or took nothing."""
        proxy, name = self.proxy, code_name(code or 0)
        connection, refused = self.connection, code == ErrorCode.REFUSED_STREAM
        if connection is None:
            # Refused is as good as not sent: the ingress PoP may send it by another way, whatever it is.
            kind = FaultCode.ROUTE if refused else FaultCode.OVERLAY
            return Fault(kind, proxy.me, f"the next PoP went away ({name})")
        where = f"connection {connection.index}"
        assert self.http2 is not None
        if refused:
            return Fault(FaultCode.NO_TUNNEL, proxy.me, f"{where} took nothing ({name})")
        if self.http2.closed:
            return Fault(FaultCode.TUNNEL_LOST, proxy.me, f"{where} went away ({name})")
        # The tunnel is fine: its connector gave this request up, because the service did.
        return Fault(FaultCode.ORIGIN, proxy.me, f"the connector gave up ({name})")

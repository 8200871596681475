"""A visitor's request at the PoP where it entered: it decides the way, and tells why there is none."""

from __future__ import annotations

from functools import lru_cache

from pops.core import egress, pages
from pops.core.ingress import Refusal, Request
from pops.core.pages import Problem
from pops.core.timing import server_timing
from pops.drivers.exchange import Exchange
from routing.api import Path
from runtime.splice import Splice, answer
from runtime.streams import Headers
from wire.errors import WireError
from wire.http2.engine import ErrorCode
from wire.overlay import (
    EXIT,
    FAULT,
    ORIGIN,
    TIMING,
    Fault,
    FaultCode,
    OverlayError,
    Timings,
    encode_route,
    parse_exit,
    parse_fault,
    parse_timings,
)

PATH_FIELD = b"popnet-path"
CONNECTION_FIELD = b"popnet-connection"

_ACCEPT_KEY = b"sec-websocket-accept"
# A request that met one of these has reached no connector, whatever its method.
_UNTOUCHED = frozenset({FaultCode.NO_TUNNEL, FaultCode.LOOP, FaultCode.ROUTE, FaultCode.DRAINING})
# May have reached it: only a safe request is sent again.
_UNCERTAIN = frozenset({FaultCode.OVERLAY, FaultCode.TUNNEL_LOST})


@lru_cache(maxsize=1024)
def _way_fields(path: tuple[str, ...], exit_name: str) -> tuple[tuple[bytes, bytes], ...]:
    """What a visitor is told of the way; the connection's index is the last part of its name."""
    way = (PATH_FIELD, ">".join(path).encode())
    if not exit_name:
        return (way,)
    return way, (CONNECTION_FIELD, b"c" + exit_name.rpartition(".")[2].encode())


class IngressExchange(Exchange):
    """A visitor's request at the PoP where it entered."""

    __slots__ = ("attempts", "path", "paths", "request", "timings", "way")

    def headers_received(self, headers: Headers, end: bool) -> None:
        proxy = self.proxy
        self.timings: Timings = ()
        visitor = proxy.visitor_of(self.left.peer)
        request = proxy.ingress.understand(headers, visitor)
        if isinstance(request, Refusal):
            self.refuse(request.problem, request.ray, request.accept, ())
            status, code = b"%d" % request.problem.status, request.problem.code
            address = self.left.peer.address
            proxy.recent.add_refused(proxy.clock(), address, request.ray, status, proxy.me, code)
            return
        self.request: Request = request
        self.request_ended = end or (request.offers_upgrade and not request.length)
        self.websocket = request.websocket
        self.paths = proxy.world.routes(request.tunnel)
        self.attempts = 0
        self.way = 0
        self.path: tuple[str, ...] = ()
        # An HTTP/1.1 server says it by itself, once nothing has answered the head.
        if request.expects_continue and not end and self.left.peer.protocol == "h2":
            self.left.send_headers([(b":status", b"100")])
        if not self.next_way():
            self.give_up()

    def next_way(self, *, tunnel_lost: bool = False) -> bool:
        """Send the request by the next path that can be tried. False when there is none."""
        limit = self.proxy.limits.first_attempts
        while self.attempts < limit and self.way < len(self.paths):
            path = self.paths[self.way]
            self.way += 1
            # The egress PoP chooses among its connections, so the same way again is another one
            # only when the connection there was what failed.
            if (path.pops != self.path or tunnel_lost) and self.send_by(path):
                self.attempts += 1
                return True
        return False

    def send_by(self, path: Path) -> bool:
        proxy, request = self.proxy, self.request
        pops = path.pops
        self.path = pops
        if len(pops) == 1:
            found = proxy.world.tunnel(request.tunnel, path.connection)
            if found is None:
                self.fault = Fault(FaultCode.NO_TUNNEL, proxy.me)
                return False
            self.connection = found[0]
            self.send_on(found[1], request.headers)
            return True
        http2 = proxy.world.neighbor(pops[1])
        if http2 is None:
            self.fault = Fault(FaultCode.OVERLAY, proxy.me, f"no connection to {pops[1]}")
            return False
        self.connection = None
        route = encode_route(pops, proxy.hop_limit, request.tunnel, path.connection)
        self.send_on(http2, [*request.headers, route])
        return True

    def on_head(self, headers: Headers) -> Headers | None:
        proxy = self.proxy
        status = headers[0][1]
        if status[:1] == b"1" and status != b"101":
            return headers if status == b"103" else None
        elapsed = proxy.clock() - self.sent_at
        if self.connection is not None:
            got = egress.understand(headers, proxy.me, websocket=self.websocket)
            if isinstance(got, Fault):
                self.failed(got)
                return None
            timings: Timings = () if got.origin_s is None else ((ORIGIN, got.origin_s),)
            return self.finish_head(
                got.status, got.headers, elapsed, timings, self.connection.name, got.switching
            )
        try:
            # Status, timing, exit or fault: always in this order, see wire/overlay.py.
            if len(headers) < 3 or headers[1][0] != TIMING:
                raise OverlayError("a response without timing")
            timings = self.timings = parse_timings(headers[1][1])
            name, value = headers[2]
            if name == FAULT:
                self.failed(parse_fault(value))
                return None
            if name != EXIT:
                raise OverlayError("a response without exit")
            exit_name = parse_exit(value)
        except WireError as error:
            self.failed(Fault(FaultCode.ROUTE, proxy.me, str(error)))
            return None
        del headers[:3]
        switching = self.websocket and any(field[0] == _ACCEPT_KEY for field in headers)
        return self.finish_head(status, headers, elapsed, timings, exit_name, switching)

    def finish_head(
        self,
        status: bytes,
        fields: Headers,
        elapsed: float,
        timings: Timings,
        exit_name: str,
        switching: bool,
    ) -> Headers:
        """The head that the visitor gets: the origin's fields, and what the edge adds."""
        proxy = self.proxy
        proxy.stats.answered("ingress", status, elapsed)
        if switching and self.left.peer.protocol == "h2":
            # RFC 8441 section 5: the stream is the WebSocket, there is nothing to switch.
            fields = [field for field in fields if field[0] != _ACCEPT_KEY]
        elif switching:
            status = b"101"
            fields.append((b"upgrade", b"websocket"))
        sent_at, address = self.sent_at, self.left.peer.address
        proxy.recent.add(
            sent_at + elapsed, elapsed, address, self.request, status, self.path, exit_name
        )
        return [
            (b":status", status),
            *fields,
            self.request.ray_field,
            (b"server-timing", server_timing(self.path, elapsed, timings)),
            *_way_fields(self.path, exit_name),
        ]

    def on_end(self, splice: Splice, code: int | None) -> None:
        proxy = self.proxy
        proxy.stats.ended("ingress", splice.bytes_up, splice.bytes_down, code)
        if splice.answered or splice.left_lost:
            proxy.exchanges.pop(self, None)
            return
        if self.problem is None:
            fault = self.fault
            if fault is None:
                self.fault = fault = self.lost_fault(code)
            untouched = fault.code in _UNTOUCHED or code == ErrorCode.REFUSED_STREAM
            again = untouched or (fault.code in _UNCERTAIN and self.request.safe)
            if again and splice.bytes_up == 0:
                self.request_ended = splice.up_complete
                proxy.stats.retries += 1
                tried = fault
                self.fault = None
                self.timings = ()
                if self.next_way(tunnel_lost=tried.code is FaultCode.TUNNEL_LOST):
                    return
                self.fault = self.fault or tried
        proxy.exchanges.pop(self, None)
        self.give_up()

    def give_up(self) -> None:
        problem = self.problem
        if problem is None:
            fault = self.fault or Fault(FaultCode.NO_TUNNEL, self.proxy.me)
            problem = pages.from_fault(fault)
        request, proxy = self.request, self.proxy
        now, address = proxy.clock(), self.left.peer.address
        elapsed = now - self.sent_at if self.sent_at else None
        status, way = b"%d" % problem.status, self.path or (proxy.me,)
        proxy.recent.add(now, elapsed, address, request, status, way, "", problem.code)
        self.refuse(problem, request.ray, request.accept, self.path, head=request.method == b"HEAD")

    def refuse(
        self,
        problem: Problem,
        ray: str,
        accept: bytes,
        path: tuple[str, ...],
        *,
        head: bool = False,
    ) -> None:
        proxy = self.proxy
        headers, body = pages.render(problem, ray=ray, me=proxy.me, path=path, accept=accept)
        elapsed = proxy.clock() - self.sent_at if self.sent_at else None
        way = path or (proxy.me,)
        headers += (
            (b"cf-ray", f"{ray}-{proxy.me}".encode()),
            (b"server-timing", server_timing(way, elapsed, self.timings)),
            *_way_fields(way, ""),
        )
        proxy.stats.answered("ingress", headers[0][1], elapsed or 0.0)
        proxy.stats.refused(problem.code)
        answer(self.left, headers, b"" if head else body)

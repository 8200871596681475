"""The data path: a visitor's or a neighbour's stream is coupled to the next one on its way.

    visitor  > ingress > next PoP or tunnel      decides, transforms, tries another way, tells why not
    neighbor > transit > next PoP or tunnel      follows the route that the request carries

No task, future or timer per request. Everything happens in the callbacks of streams; one sweep a
tick looks for exchanges without progress. What headers mean is in `core`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

from pops.config import Limits, Timeouts
from pops.core import egress, pages
from pops.core.ingress import Ingress, Refusal, Request, Visitor
from pops.core.pages import Problem
from pops.core.registry import Connection, Registry
from pops.core.timing import server_timing
from pops.drivers.recent import RecentRequests
from pops.drivers.stats import ProxyStats
from routing.api import Path
from runtime.clock import Clock
from runtime.http2 import Http2Connection
from runtime.splice import Splice, answer
from runtime.streams import Headers, Peer, Stream
from runtime.transports import Discard
from wire.errors import WireError
from wire.headers import UPGRADE, UPGRADE_WEBSOCKET
from wire.http2.engine import ErrorCode, code_name
from wire.overlay import (
    EXIT,
    FAULT,
    ORIGIN,
    ROUTE,
    TIMING,
    Fault,
    FaultCode,
    LoopError,
    OverlayError,
    SourceRoute,
    Timings,
    add_timing,
    advance_route,
    encode_route,
    parse_exit,
    parse_fault,
    parse_route,
    parse_timings,
)

PATH_FIELD = b"popnet-path"
CONNECTION_FIELD = b"popnet-connection"

_DISCARD = Discard()
_ACCEPT_KEY = b"sec-websocket-accept"
# A request that met one of these has reached no connector, whatever its method.
_UNTOUCHED = frozenset({FaultCode.NO_TUNNEL, FaultCode.LOOP, FaultCode.ROUTE, FaultCode.DRAINING})
# May have reached it: only a safe request is sent again.
_UNCERTAIN = frozenset({FaultCode.OVERLAY, FaultCode.TUNNEL_LOST})
_VISITORS_REMEMBERED = 4096
# Inner hops give up a little earlier than outer ones, so that the one who knows most answers.
_INNER_PATIENCE = 0.9


@lru_cache(maxsize=1024)
def _way_fields(path: tuple[str, ...], exit_name: str) -> tuple[tuple[bytes, bytes], ...]:
    """What a visitor is told of the way; the connection's index is the last part of its name."""
    way = (PATH_FIELD, ">".join(path).encode())
    if not exit_name:
        return (way,)
    return way, (CONNECTION_FIELD, b"c" + exit_name.rpartition(".")[2].encode())


class World(Protocol):
    """What the data path asks of the rest of the PoP."""

    def routes(self, tunnel: str) -> tuple[Path, ...]: ...

    def neighbor(self, name: str) -> Http2Connection | None:
        """The live data connection to a neighbour."""

    def tunnel_connection(self, connection: Connection) -> Http2Connection: ...


class Proxy:
    def __init__(
        self,
        me: str,
        world: World,
        ingress: Ingress,
        registry: Registry,
        *,
        limits: Limits,
        timeouts: Timeouts,
        hop_limit: int,
        country_of: Callable[[str], str],
        clock: Clock,
    ) -> None:
        self.me = me
        self.world = world
        self.ingress = ingress
        self.registry = registry
        self.limits = limits
        self.timeouts = timeouts
        self.hop_limit = hop_limit
        self.clock = clock
        self.stats = ProxyStats()
        self.recent = RecentRequests()
        self.exchanges: dict[_Exchange, None] = {}
        self._country_of = country_of
        self._visitors: dict[tuple[str, bool, str], Visitor] = {}
        # Fine enough that an inner hop's patience ends before an outer one's.
        self._tick = min(1.0, timeouts.response_head / 40, timeouts.idle / 40)
        self._sweeper: asyncio.TimerHandle | None = None

    def on_visitor(self, stream: Stream) -> _IngressExchange:
        """A visitor opened a stream."""
        return _IngressExchange(self, stream)

    def on_neighbor(self, stream: Stream) -> _TransitExchange:
        """A neighbour sent a request on (a stream on its data connection)."""
        return _TransitExchange(self, stream)

    def visitor_of(self, peer: Peer) -> Visitor:
        key = (peer.address, peer.tls, peer.server_name)
        visitor = self._visitors.get(key)
        if visitor is None:
            if len(self._visitors) >= _VISITORS_REMEMBERED:
                self._visitors.clear()
            country = self._country_of(peer.address)
            visitor = Visitor.of(peer.address, peer.scheme, peer.server_name or None, country)
            self._visitors[key] = visitor
        return visitor

    def watch(self, exchange: _Exchange) -> None:
        self.exchanges[exchange] = None
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(self._tick, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self.clock()
        for exchange in list(self.exchanges):
            exchange.look(now)
        if self.exchanges:
            self._sweeper = asyncio.get_running_loop().call_later(self._tick, self._sweep)

    def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None


class _Exchange:
    """One request passing this PoP. Until it is coupled it is its left stream's user itself."""

    __slots__ = (
        "connection",
        "fault",
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

    role = ""

    def __init__(self, proxy: Proxy, left: Stream) -> None:
        self.proxy = proxy
        self.left = left
        self.splice: Splice | None = None
        self.connection: Connection | None = None  # where it leaves here by a tunnel
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
        if code == ErrorCode.REFUSED_STREAM or proxy.world.tunnel_connection(connection).closed:
            return Fault(FaultCode.TUNNEL_LOST, proxy.me, f"{where} went away ({name})")
        # The tunnel is fine: its connector gave this request up, because the service did.
        return Fault(FaultCode.ORIGIN, proxy.me, f"the connector gave up ({name})")


class _IngressExchange(_Exchange):
    """A visitor's request at the PoP where it entered."""

    __slots__ = ("attempts", "path", "paths", "request", "timings", "way")

    role = "ingress"

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

    def next_way(self) -> bool:
        """Send the request by the next path that can be tried. False when there is none."""
        limit = self.proxy.limits.first_attempts
        while self.attempts < limit and self.way < len(self.paths):
            path = self.paths[self.way]
            self.way += 1
            # The egress PoP chooses among its connections, so the same way again is no other way.
            if path.pops != self.path and self.send_by(path):
                self.attempts += 1
                return True
        return False

    def send_by(self, path: Path) -> bool:
        proxy, request = self.proxy, self.request
        pops = path.pops
        self.path = pops
        if len(pops) == 1:
            connection = proxy.registry.choose(request.tunnel, path.connection)
            if connection is None:
                self.fault = Fault(FaultCode.NO_TUNNEL, proxy.me)
                return False
            self.connection = connection
            self.send_on(proxy.world.tunnel_connection(connection), request.headers)
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

    def failed(self, fault: Fault) -> None:
        """There will be no response from this way. `on_end` follows at once."""
        assert self.splice is not None
        self.fault = fault
        self.splice.abandon(ErrorCode.CANCEL)

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
                if self.next_way():
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


class _TransitExchange(_Exchange):
    """A request on its way, at a relay or at the egress PoP."""

    __slots__ = ()

    role = "transit"

    def headers_received(self, headers: Headers, end: bool) -> None:
        proxy = self.proxy
        self.request_ended = end
        self.patience *= _INNER_PATIENCE
        try:
            name, value = headers.pop()
            if name != ROUTE:
                raise OverlayError("a request without a route")
            route = parse_route(value, proxy.me)
            before = route.path[route.position - 1]
            sender = self.left.peer.certificate_name
            # Names in certificates are names of DNS: case does not count.
            if before.lower() != sender.lower():
                self.fail(Fault(FaultCode.ROUTE, proxy.me, f"{sender} is not {before}"))
                return
            if route.at_egress:
                self.leave(route, headers)
            else:
                self.relay(route, headers)
        except LoopError as error:
            self.fail(Fault(FaultCode.LOOP, proxy.me, str(error)))
        except WireError as error:
            self.fail(Fault(FaultCode.ROUTE, proxy.me, str(error)))

    def leave(self, route: SourceRoute, headers: Headers) -> None:
        proxy = self.proxy
        connection = proxy.registry.choose(route.tunnel, route.connection)
        if connection is None:
            self.fail(
                Fault(FaultCode.NO_TUNNEL, proxy.me, "no connection of this tunnel ends here")
            )
            return
        self.connection = connection
        self.websocket = (UPGRADE, UPGRADE_WEBSOCKET) in headers
        self.send_on(proxy.world.tunnel_connection(connection), headers)

    def relay(self, route: SourceRoute, headers: Headers) -> None:
        proxy = self.proxy
        http2 = proxy.world.neighbor(route.next_hop)
        if http2 is None:
            detail = f"no connection to {route.next_hop}"
            self.fail(Fault(FaultCode.ROUTE, proxy.me, detail))
            return
        headers.append(advance_route(route))
        self.send_on(http2, headers)

    def on_head(self, headers: Headers) -> Headers | None:
        proxy = self.proxy
        status = headers[0][1]
        if status[:1] == b"1" and status != b"101":
            return headers if status == b"103" else None
        elapsed = proxy.clock() - self.sent_at
        connection = self.connection
        if connection is None:
            proxy.stats.answered("relay", status, elapsed)
            if len(headers) > 1 and headers[1][0] == TIMING:
                headers[1] = (TIMING, add_timing(headers[1][1], proxy.me, elapsed))
            # Otherwise it is nonsense, and the ingress PoP says so.
            return headers
        got = egress.understand(headers, proxy.me, websocket=self.websocket)
        if isinstance(got, Fault):
            self.fault = got
            assert self.splice is not None
            self.splice.abandon(ErrorCode.CANCEL)
            return None
        proxy.stats.answered("egress", got.status, elapsed)
        before = b"" if got.origin_s is None else add_timing(b"", ORIGIN, got.origin_s)
        return [
            # 101 is no status of HTTP/2: the ingress PoP makes it again of the key beside it.
            (b":status", b"200" if got.switching else got.status),
            (TIMING, add_timing(before, proxy.me, elapsed)),
            (EXIT, connection.name.encode()),
            *got.headers,
        ]

    def on_end(self, splice: Splice, code: int | None) -> None:
        proxy = self.proxy
        role = "relay" if self.connection is None else "egress"
        proxy.exchanges.pop(self, None)
        proxy.stats.ended(role, splice.bytes_up, splice.bytes_down, code)
        if not splice.answered and not splice.left_lost:
            self.fail(self.fault or self.lost_fault(code))

    def fail(self, fault: Fault) -> None:
        proxy = self.proxy
        status = b"%d" % pages.fault_status(fault.code)
        role = "relay" if self.connection is None else "egress"
        elapsed = proxy.clock() - self.sent_at if self.sent_at else 0.0
        proxy.stats.answered(role, status, elapsed)
        proxy.stats.refused(fault.code.value)
        answer(
            self.left,
            [
                (b":status", status),
                (TIMING, add_timing(b"", proxy.me, elapsed)),
                (FAULT, fault.encode()),
            ],
        )

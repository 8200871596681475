"""A visitor's request at the PoP where it entered: it decides the way, and tells why there is none."""

from __future__ import annotations

from functools import lru_cache

from pops.core import egress, pages
from pops.core.failover import OF_ORIGIN, Trouble, another_connector, connector_of
from pops.core.ingress import POOL, Refusal, Request
from pops.core.pages import SECURITY_FIELD, Problem
from pops.core.timing import server_timing
from pops.drivers.balancers import PoolChoice
from pops.drivers.exchange import Exchange
from routing.api import Outcome, Path
from runtime.splice import Splice, answer
from runtime.streams import Headers
from wire.errors import WireError
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
TUNNEL_FIELD = b"popnet-tunnel"
CONNECTION_FIELD = b"popnet-connection"
SITE_FIELD = b"popnet-site"
ATTEMPTS_FIELD = b"popnet-attempts"

_ACCEPT_KEY = b"sec-websocket-accept"


@lru_cache(maxsize=1024)
def _way_fields(
    path: tuple[str, ...], tunnel: str, exit_name: str, site: str, attempts: int
) -> tuple[tuple[bytes, bytes], ...]:
    """What a visitor is told of the way; the connection's index is the last part of its name."""
    way: tuple[tuple[bytes, bytes], ...] = ((PATH_FIELD, ">".join(path).encode()),)
    if exit_name:
        way += (
            (TUNNEL_FIELD, tunnel.encode()),
            (CONNECTION_FIELD, b"c" + exit_name.rpartition(".")[2].encode()),
        )
    if site:
        way += ((SITE_FIELD, site.encode()),)
    if attempts > 1:
        way += ((ATTEMPTS_FIELD, b"%d" % attempts),)
    return way


def _security_field(rule: str) -> Headers:
    """Which rule let a request pass, where there is a policy."""
    return [(SECURITY_FIELD, rule.encode("latin-1", "replace"))] if rule else []


class IngressExchange(Exchange):
    """A visitor's request at the PoP where it entered."""

    __slots__ = ("exit", "path", "pool", "request", "spare", "timings", "trouble", "ways")

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
        self.idempotent = request.idempotent
        self.trouble: Trouble | None = None
        self.path: tuple[str, ...] = ()
        self.exit = ""
        self.spare: list[str] = []  # tunnels of the pool that have not been tried
        self.pool: PoolChoice | None = None
        if request.tunnel.startswith(POOL):
            self.pool = choice = proxy.world.pool(request.tunnel, request.headers)
            if not choice.tunnels:
                self.problem = pages.pool_down(choice.pool)
                self.give_up()
                return
            self.spare = choice.tunnels
            self.to_member(self.spare.pop(0))
        else:
            self.ways = iter(proxy.world.routes(request.tunnel, request.algorithm))
        proxy.budget.requests += 1
        # An HTTP/1.1 server says it by itself, once nothing has answered the head.
        if request.expects_continue and not end and self.left.peer.protocol == "h2":
            self.left.send_headers([(b":status", b"100")])
        if not self.next_way():
            self.give_up()

    def to_member(self, tunnel: str) -> None:
        """This member of the pool shall serve the request."""
        assert self.pool is not None
        request = self.request
        self.pool.takes(tunnel)
        request.tunnel = tunnel
        self.trouble = None
        self.used = ()
        self.ways = iter(self.proxy.world.routes(tunnel, request.algorithm))

    def next_way(self) -> bool:
        """Send the request by the next way that can be tried. False when there is none."""
        while True:
            silent: list[Path] = []
            for path in self.ways:
                tried = self.trouble is not None and path.pops in self.trouble.tried
                if not tried and self.send_by(path, silent):
                    return True
            # A next hop that does not answer is better than none: it may only have been busy.
            if any(self.send_by(path, None) for path in silent):
                return True
            if not self.spare:
                return False
            self.to_member(self.spare.pop(0))

    @property
    def elsewhere(self) -> bool:
        """Another member of the pool, or a connector of the tunnel whose service has not failed this request."""
        if self.spare:
            return True
        failed = {connector_of(self.exit)}
        if self.trouble is not None:
            failed |= self.trouble.services
        paths = self.proxy.world.routes(self.request.tunnel, self.request.algorithm)
        return any(connector_of(path.connection) not in failed for path in paths)

    def send_by(self, path: Path, silent: list[Path] | None) -> bool:
        """A path whose next hop was found silent goes on that list instead, if there is one."""
        proxy, request = self.proxy, self.request
        pops = path.pops
        self.path, self.exit = pops, path.connection
        if len(pops) == 1:
            if self.leave_by(request.tunnel, path.connection, request.headers):
                return True
            self.fault = self.fault or Fault(FaultCode.NO_TUNNEL, proxy.me)
            return False
        http2 = proxy.world.neighbor(pops[1])
        if http2 is None:
            self.fault = Fault(FaultCode.OVERLAY, proxy.me, f"no connection to {pops[1]}")
            return False
        if silent is not None and http2.silent:
            silent.append(path)
            return False
        self.connection = None
        route = encode_route(pops, proxy.hop_limit, request.tunnel, path.connection)
        self.send_on(http2, [*request.headers, route])
        return True

    def doubted(self, now: float) -> Fault | None:
        fault = super().doubted(now)
        if fault is None and len(self.path) > 2:
            # What happens behind the next hop reaches us as news of the links.
            broken = self.proxy.world.broken(self.path)
            if broken is not None:
                return Fault(FaultCode.OVERLAY, broken[0], f"the link to {broken[1]} is gone")
        return fault

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
            self.connection.errors = 0
            timings: Timings = () if got.origin_s is None else ((ORIGIN, got.origin_s),)
            return self.finish_head(
                got.status,
                got.headers,
                elapsed,
                timings,
                (self.connection.name, self.connection.site),
                got.switching,
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
            exit_at = parse_exit(value)
        except WireError as error:
            # Whoever answered that, the request has perhaps been served.
            self.failed(Fault(FaultCode.OVERLAY, proxy.me, str(error)))
            return None
        del headers[:3]
        switching = self.websocket and any(field[0] == _ACCEPT_KEY for field in headers)
        return self.finish_head(status, headers, elapsed, timings, exit_at, switching)

    def finish_head(
        self,
        status: bytes,
        fields: Headers,
        elapsed: float,
        timings: Timings,
        exit_at: tuple[str, str],
        switching: bool,
    ) -> Headers:
        """The head that the visitor gets: the origin's fields, and what the edge adds."""
        exit_name, site = exit_at
        proxy = self.proxy
        proxy.stats.answered("ingress", status, elapsed)
        if proxy.world.wants_outcomes:
            self.tell_outcome(elapsed, ok=True, connection=exit_name)
        if switching and self.left.peer.protocol == "h2":
            # RFC 8441 section 5: the stream is the WebSocket, there is nothing to switch.
            fields = [field for field in fields if field[0] != _ACCEPT_KEY]
        elif switching:
            status = b"101"
            fields.append((b"upgrade", b"websocket"))
        sent_at, address = self.sent_at, self.left.peer.address
        proxy.recent.add(
            sent_at + elapsed, elapsed, address, self.request, status, self.path, exit_at
        )
        return [
            (b":status", status),
            *fields,
            self.request.ray_field,
            *_security_field(self.request.rule),
            *(self.pool.answered(status, site) if self.pool is not None else ()),
            (b"server-timing", server_timing(self.path, elapsed, timings)),
            *_way_fields(
                self.path,
                proxy.tunnel_names[self.request.tunnel],
                exit_name,
                site,
                self.attempts,
            ),
        ]

    def on_end(self, splice: Splice, code: int | None) -> None:
        proxy = self.proxy
        proxy.stats.ended("ingress", splice.bytes_up, splice.bytes_down, code)
        if splice.answered or splice.left_lost:
            proxy.exchanges.pop(self, None)
            if self.pool is not None:
                self.pool.over()
            return
        if self.problem is None:
            fault = self.why(code)
            if self.pool is not None:
                self.pool.failed(fault.detail)
            if proxy.world.wants_outcomes:
                self.tell_outcome(proxy.clock() - self.sent_at, ok=False, connection=self.exit)
            if self.may_go_again(splice, fault, code) and self.go_again(fault):
                return
            self.fault = fault
        proxy.exchanges.pop(self, None)
        self.give_up()

    def go_again(self, fault: Fault) -> bool:
        """By a way that avoids what failed. What is known of the ways now is newer than what was then."""
        proxy, request = self.proxy, self.request
        self.timings = ()
        paths = proxy.world.routes(request.tunnel, request.algorithm)
        replica = another_connector(fault, self.exit, paths)
        lost = fault.code is FaultCode.TUNNEL_LOST and not replica
        # Another member of the pool is a surer try than another connection of a connector that lost one.
        if self.spare and (lost or fault.code in OF_ORIGIN):
            self.to_member(self.spare.pop(0))
            return self.next_way()
        # The other connection of a tunnel that ends here is nearer than any other PoP.
        if (
            len(self.path) == 1
            and not replica
            and self.leave_by(request.tunnel, self.exit, request.headers)
        ):
            return True
        if self.trouble is None:
            self.trouble = Trouble()
        self.trouble.met(fault, self.path, self.exit)
        self.ways = iter(self.trouble.ways(paths))
        return self.next_way()

    def tell_outcome(self, ttfb_s: float, *, ok: bool, connection: str) -> None:
        request = self.request
        outcome = Outcome(request.tunnel, self.path, connection, ttfb_s, ok)
        self.proxy.world.outcome(outcome, request.algorithm)

    def give_up(self) -> None:
        if self.pool is not None:
            self.pool.over()
        problem = self.problem
        if problem is None:
            fault = self.fault or Fault(FaultCode.NO_TUNNEL, self.proxy.me)
            problem = pages.from_fault(fault)
        request, proxy = self.request, self.proxy
        now, address = proxy.clock(), self.left.peer.address
        elapsed = now - self.sent_at if self.sent_at else None
        status, way = b"%d" % problem.status, self.path or (proxy.me,)
        proxy.recent.add(now, elapsed, address, request, status, way, ("", ""), problem.code)
        self.refuse(
            problem,
            request.ray,
            request.accept,
            self.path,
            head=request.method == b"HEAD",
            rule=request.rule,
        )

    def dawdles(self, splice: Splice, now: float) -> Problem | None:
        """A body in drops holds a request open at every hop. Who has begun to answer seems to want it so."""
        limits, elapsed = self.proxy.limits, now - self.sent_at
        if (
            elapsed < self.proxy.timeouts.request_body
            or splice.up_complete
            or splice.answered
            or self.websocket
            or splice.bytes_up >= limits.request_body_rate * elapsed
            or splice.right.backlog
        ):
            return None
        return pages.body_too_slow(limits.request_body_rate)

    def refuse(
        self,
        problem: Problem,
        ray: str,
        accept: bytes,
        path: tuple[str, ...],
        *,
        head: bool = False,
        rule: str = "",
    ) -> None:
        """`rule`: the one that had let the request pass."""
        proxy = self.proxy
        headers, body = pages.render(problem, ray=ray, me=proxy.me, path=path, accept=accept)
        elapsed = proxy.clock() - self.sent_at if self.sent_at else None
        way = path or (proxy.me,)
        headers += (
            (b"cf-ray", f"{ray}-{proxy.me}".encode()),
            *_security_field(rule),
            (b"server-timing", server_timing(way, elapsed, self.timings)),
            *_way_fields(way, "", "", "", self.attempts),
        )
        proxy.stats.answered("ingress", headers[0][1], elapsed or 0.0)
        proxy.stats.refused(problem.code)
        answer(self.left, headers, b"" if head else body)

"""A neighbour's request on its way, at a relay or at the egress PoP: it follows the route it carries."""

from __future__ import annotations

from pops.core import egress, pages
from pops.core.failover import IDEMPOTENT_METHODS
from pops.drivers.exchange import Exchange
from runtime.splice import Splice, answer
from runtime.streams import Headers
from wire.errors import WireError
from wire.headers import UPGRADE, UPGRADE_WEBSOCKET
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
    add_timing,
    advance_route,
    encode_exit,
    parse_route,
)

# Inner hops give up a little earlier than outer ones, so that the one who knows most answers.
_INNER_PATIENCE = 0.9


class TransitExchange(Exchange):
    """A request on its way, at a relay or at the egress PoP."""

    __slots__ = ("headers", "route")

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
            # An ingress PoP writes the pseudo-header fields first, this one before the others.
            self.idempotent = headers[0][1] in IDEMPOTENT_METHODS
            proxy.budget.requests += 1
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
        self.route, self.headers = route, headers
        self.websocket = (UPGRADE, UPGRADE_WEBSOCKET) in headers
        if not self.leave_by(route.tunnel, route.connection, headers):
            detail = "no connection of this tunnel ends here"
            self.fail(Fault(FaultCode.NO_TUNNEL, proxy.me, detail))

    def relay(self, route: SourceRoute, headers: Headers) -> None:
        proxy = self.proxy
        http2 = proxy.world.neighbor(route.next_hop)
        if http2 is None or http2.silent:
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
            self.failed(got)
            return None
        connection.errors = 0
        proxy.stats.answered("egress", got.status, elapsed)
        before = b"" if got.origin_s is None else add_timing(b"", ORIGIN, got.origin_s)
        return [
            # 101 is no status of HTTP/2: the ingress PoP makes it again of the key beside it.
            (b":status", b"200" if got.switching else got.status),
            (TIMING, add_timing(before, proxy.me, elapsed)),
            (EXIT, encode_exit(connection.name, connection.site)),
            *got.headers,
        ]

    def on_end(self, splice: Splice, code: int | None) -> None:
        proxy = self.proxy
        role = "relay" if self.connection is None else "egress"
        proxy.exchanges.pop(self, None)
        proxy.stats.ended(role, splice.bytes_up, splice.bytes_down, code)
        if splice.answered or splice.left_lost:
            return
        fault = self.why(code)
        # A relay follows the route it was given; at its end there may be another connection.
        if (
            self.connection is not None
            and self.may_go_again(splice, fault, code)
            and self.leave_by(self.route.tunnel, self.route.connection, self.headers)
        ):
            return
        self.fail(fault)

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

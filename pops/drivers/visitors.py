"""The doors for visitors: HTTPS with HTTP/2 and HTTP/1.1, and plain HTTP, on the anycast address."""

from __future__ import annotations

from collections.abc import Callable

from pops.config import Limits, Timeouts, Visitors
from runtime.events import EventLog
from runtime.http1.server import Http1Timeouts
from runtime.http2 import Http2Settings
from runtime.serving import HttpServer, Listener, ServingOptions, ServingSnapshot
from runtime.streams import Stream, StreamUser
from runtime.tls import server_context
from wire.http1 import Http1Limits
from wire.http2.engines import EngineName


class VisitorDoors:
    def __init__(
        self,
        config: Visitors,
        *,
        limits: Limits,
        timeouts: Timeouts,
        engine: EngineName,
        on_request: Callable[[Stream], StreamUser],
        events: EventLog,
    ) -> None:
        self._config = config
        self._events = events
        self._penalty_s = limits.penalty
        self.bad_requests: dict[int, int] = {}
        # Twice what is allowed still comes through, so that the visitor gets a page and not a cut.
        header_bytes = 2 * limits.header_bytes
        self._server = HttpServer(
            on_request,
            ServingOptions(
                engine=engine,
                http2=Http2Settings(
                    max_concurrent_streams=limits.streams_per_visitor,
                    max_header_list_size=header_bytes,
                    enable_connect_protocol=True,
                    flood_burst=limits.flood_burst,
                    reset_burst=limits.flood_burst,
                ),
                http1_limits=Http1Limits(max_head_size=header_bytes),
                http1_timeouts=Http1Timeouts(
                    head_s=timeouts.request_head, idle_s=timeouts.keep_alive
                ),
                handshake_timeout_s=timeouts.handshake,
                idle_timeout_s=timeouts.keep_alive,
                max_connections=limits.visitor_connections,
                max_per_address=limits.connections_per_visitor,
                max_streams_per_address=limits.streams_per_address,
                penalty_s=limits.penalty,
            ),
            on_bad_request=self._bad_request,
            on_penalty=self._penalty,
        )

    async def listen(self) -> None:
        config = self._config
        listeners = []
        if config.https is not None and config.certificate is not None:
            context = server_context(config.certificate, client_ca=config.client_ca)
            listeners += [Listener(a, config.https, context) for a in config.addresses]
        if config.http is not None:
            listeners += [Listener(a, config.http) for a in config.addresses]
        await self._server.listen(listeners)

    def _bad_request(self, status: int, reason: str) -> None:
        self.bad_requests[status] = self.bad_requests.get(status, 0) + 1

    def _penalty(self, address: str, reason: str) -> None:
        self._events.emit(
            "visitor_penalty", address=address, reason=reason, seconds=self._penalty_s
        )

    def snapshot(self) -> ServingSnapshot:
        return self._server.snapshot()

    async def drain(self, deadline_s: float) -> None:
        await self._server.drain(deadline_s)

    def close(self) -> None:
        self._server.abort()

"""One request of the edge: matched to a service, passed on, its response brought back.

`Requests` is the process's; each stream of the edge that is a request gets an `_Exchange`. Bodies,
trailers and back-pressure are `runtime.splice`'s affair; what is done here is the heads, and what
to say when there is no response.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never
from uuid import UUID

from runtime.clock import Clock
from runtime.http1.client import (
    Http1ClientStream,
    OriginClosedError,
    OriginProtocolError,
    OriginTimeoutError,
    OriginUnreachableError,
)
from runtime.http2 import ErrorCode
from runtime.splice import Splice, answer
from runtime.streams import Headers, Stream
from runtime.transports import Discard
from tunnel_client.core import heads
from tunnel_client.core.configuration import MAX_PUSH, Configuration
from tunnel_client.core.heads import Kind, Target
from tunnel_client.core.ingress import Rule, host_of
from tunnel_client.core.services import HelloService, HttpService, StatusService, UnixService
from tunnel_client.drivers.log import Log
from tunnel_client.drivers.metrics import Counters, Metrics
from tunnel_client.drivers.origins import Origins
from wire.headers import META_CONNECTOR, META_ORIGIN, ResponseMeta

_DISCARD = Discard()
_REASONS = (
    (OriginTimeoutError, "origin timeout"),
    (OriginUnreachableError, "origin refused"),
    (OriginProtocolError, "origin protocol error"),
    (OriginClosedError, "origin closed the connection"),
)


class Requests:
    """Serves the streams of every connection to the edge, by the configuration in force."""

    def __init__(
        self,
        configuration: Configuration,
        origins: Origins,
        *,
        connector_id: UUID,
        tags: tuple[tuple[str, str], ...] = (),
        counters: Counters,
        metrics: Metrics,
        clock: Clock,
        log: Log,
        on_configuration: Callable[[int], None] | None = None,
    ) -> None:
        self.configuration = configuration
        self.origins = origins
        self.extra = heads.connector_fields(connector_id, tags)
        self.counters = counters
        self.metrics = metrics
        self.clock = clock
        self.log = log
        self._on_configuration = on_configuration
        origins.prepare(configuration.ingress)

    def serve(self, stream: Stream, kind: Kind, headers: Headers, end: bool) -> None:
        """Take over a stream whose head has come. Control streams are not for here."""
        match kind:
            case Kind.HTTP | Kind.WEBSOCKET:
                self._request(stream, headers, end, websocket=kind is Kind.WEBSOCKET and not end)
            case Kind.CONFIGURATION:
                stream.user = _ConfigurationPush(self, stream)
                stream.user.headers_received(headers, end)
            case Kind.TCP:
                # What cloudflared answers when it cannot connect; the reason tells the difference.
                self._fail(stream, 502, "raw TCP is not served")
            case Kind.CONTROL:
                self._fail(stream, 400, "a connection has one control stream")
            case unreachable:
                assert_never(unreachable)

    def _request(self, stream: Stream, headers: Headers, end: bool, *, websocket: bool) -> None:
        self.counters.requests += 1
        target = heads.target_of(headers)
        if target is None:
            self._fail(stream, 400, "malformed request")
            return
        host = host_of(target.authority)
        rule = self.configuration.ingress.match(host, heads.path_only(target.path))
        service = rule.service
        match service:
            case HttpService() | UnixService():
                _Exchange(self, stream, rule, host).begin(headers, end, websocket=websocket)
            case StatusService(code):
                self._say(stream, code, [], b"", target)
            case HelloService():
                self._say(
                    stream, 200, [(b"content-type", b"text/html; charset=utf-8")], _HELLO, target
                )
            case unreachable:
                assert_never(unreachable)

    def _say(
        self, stream: Stream, status: int, fields: Headers, body: bytes, target: Target
    ) -> None:
        """Be the origin ourselves."""
        head = heads.own_response_head(status, fields, META_ORIGIN, length=len(body))
        self.counters.responded(head[0][1])
        answer(stream, head, b"" if target.method == b"HEAD" else body)

    def _fail(self, stream: Stream, status: int, reason: str) -> None:
        self.counters.failed(reason)
        head = heads.failure_head(status, reason)
        self.counters.responded(head[0][1])
        answer(stream, head)

    def apply(self, body: bytes) -> bytes:
        """A pushed configuration; returns the answer's body."""
        pushed = self.configuration.push(body, check=self.origins.prepare)
        if pushed.ingress is not None:
            self.log.info("Updated to new configuration", version=pushed.version)
            if self._on_configuration is not None:
                self._on_configuration(pushed.version)
        elif pushed.error:
            self.log.warn("Pushed configuration refused", error=pushed.error)
        return pushed.reply()


class _Exchange:
    """A request on its way to an origin."""

    __slots__ = (
        "_origin",
        "_requests",
        "_rule",
        "_sent_at",
        "_splice",
        "_stream",
        "_target_host",
        "_websocket",
    )

    def __init__(self, requests: Requests, stream: Stream, rule: Rule, host: str) -> None:
        self._requests = requests
        self._stream = stream
        self._rule = rule
        self._target_host = host
        self._websocket = False
        self._sent_at = 0.0
        self._origin: Http1ClientStream
        self._splice: Splice

    def begin(self, headers: Headers, end: bool, *, websocket: bool) -> None:
        requests, rule = self._requests, self._rule
        self._websocket = websocket
        client, origin = requests.origins.route(rule, self._target_host)
        head = heads.origin_request_head(
            headers,
            scheme=b"https" if origin.tls is not None else b"http",
            extra=requests.extra,
            host=rule.origin_request.http_host_header,
            websocket=websocket,
        )
        requests.counters.in_flight += 1
        right = self._origin = client.open(_DISCARD, origin)
        self._splice = Splice(
            self._stream, right, on_head=self._on_head, on_end=self._on_end, request_ended=end
        )
        self._sent_at = requests.clock()
        right.send_headers(head, end=end)

    def _on_head(self, headers: Headers) -> Headers | None:
        status = headers[0][1]
        if status[:1] == b"1" and status != b"101":
            # Other connectors pass none on, and an edge need not expect any.
            return None
        took = self._requests.clock() - self._sent_at
        self._requests.metrics.origin_seconds.observe(took)
        self._requests.counters.responded(status)
        if self._websocket and status != b"101":
            # Refused: nobody will read what the visitor sends, so it ends with this response.
            self._splice.up_complete = True
        meta = ResponseMeta("origin", origin_ms=round(took * 1000, 3))
        return heads.edge_response_head(headers, meta)

    def _on_end(self, splice: Splice, code: int | None) -> None:
        requests = self._requests
        counters = requests.counters
        counters.in_flight -= 1
        counters.bytes_up += splice.bytes_up
        counters.bytes_down += splice.bytes_down
        if self._websocket and code is None:
            # What is open still on either side (after a refusal) is not wanted.
            splice.left.reset(ErrorCode.NO_ERROR)
            splice.right.reset(ErrorCode.NO_ERROR)
        if code is None or splice.left_lost:
            return
        error = self._origin.reason
        if requests.log.debugging:
            requests.log.debug("Request failed", error=str(error), service=self._rule.service.text)
        if splice.answered:
            counters.aborted += 1
            return
        reason = next((text for kind, text in _REASONS if isinstance(error, kind)), "no response")
        requests._fail(self._stream, 502, reason)


class _ConfigurationPush:
    """Gathers the body of a push, then answers."""

    __slots__ = ("_body", "_requests", "_stream")

    def __init__(self, requests: Requests, stream: Stream) -> None:
        self._requests = requests
        self._stream = stream
        self._body = bytearray()

    def headers_received(self, headers: Headers, end: bool) -> None:
        if end:
            self._complete()

    def data_received(self, data: bytes, end: bool) -> None:
        self._stream.credit(len(data))
        self._body += data
        if len(self._body) > MAX_PUSH:
            answer(self._stream, heads.failure_head(413, "configuration too large"))
        elif end:
            self._complete()

    def trailers_received(self, headers: Headers) -> None:
        self._complete()

    def drained(self) -> None:
        pass

    def lost(self, code: int) -> None:
        self._body.clear()

    def _complete(self) -> None:
        body = self._requests.apply(bytes(self._body))
        fields = [(b"content-type", b"application/json")]
        head = heads.own_response_head(200, fields, META_CONNECTOR, length=len(body))
        answer(self._stream, head, body)


_HELLO = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Hello</title>
<h1>Hello from behind the tunnel</h1>
<p>This page was made by the connector itself: its ingress rule says <code>hello_world</code>.</p>
"""

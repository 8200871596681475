"""The page's HTTP door. It shows, and it serves the machine it runs on: names of the web at large are refused.

A page of some site in somebody's browser may send requests to localhost. It cannot read the answers, unless its name
resolves to 127.0.0.1 (DNS rebinding): hence the look at Host. And it may not change anything: hence the look at Origin.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from lab.gateway.handshake import UnknownCityError
from lab.gateway.proxy import Proxy
from lab.jsonlines import Message
from lab.web.exposition import Exposition
from lab.web.feed import Feed
from lab.web.observer import Observer
from runtime.serving import HttpServer, Listener, ServingOptions
from runtime.splice import answer
from runtime.streams import Headers, Stream

_LONGEST_BODY: Final = 4096
_DRAIN_S: Final = 0.5
_HTML: Final = "text/html; charset=utf-8"
_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
_METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"
# The page is one file: nothing else may be loaded, nor may it be framed.
_POLICY: Final = (
    b"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
    b"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    host: str
    origin: str
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content_type: str
    body: bytes
    headers: Headers = field(default_factory=list)


def _text(status: int, text: str) -> Answer:
    return Answer(status, _TEXT, text.encode() + b"\n")


def _as_json(value: object, status: int = 200) -> Answer:
    return Answer(status, _JSON, msgspec.json.encode(value) + b"\n")


class WebServer:
    """`about` is what the gateway says of itself."""

    def __init__(self, observer: Observer, proxy: Proxy, about: Callable[[], Message]) -> None:
        self._observer = observer
        self._proxy = proxy
        self._about = about
        self._exposition = Exposition(observer, proxy)
        self._feed = Feed(observer, observer.run.events)
        self._page = importlib.resources.files("lab.web").joinpath("index.html").read_bytes()
        self._server = HttpServer(
            lambda stream: _Exchange(self, stream), ServingOptions(max_connections=256)
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._routes: dict[tuple[str, str], Callable[[Request], Answer | Awaitable[Answer]]] = {
            ("GET", "/"): lambda _: Answer(
                200, _HTML, self._page, [(b"content-security-policy", _POLICY)]
            ),
            ("GET", "/api/state"): self._state,
            ("GET", "/api/http_sd"): lambda request: _as_json(
                self._exposition.targets(request.host)
            ),
            ("GET", "/api/city"): lambda _: _as_json(self._city()),
            ("PUT", "/api/city"): self._put_city,
            ("GET", "/metrics"): self._all_metrics,
            ("GET", "/ca.pem"): self._authority,
            ("GET", "/proxy.pac"): self._pac,
        }

    async def listen(self, sock: socket.socket) -> None:
        await self._server.listen([Listener(sock=sock)])

    async def close(self) -> None:
        await self._feed.close()
        for task in list(self._tasks):
            task.cancel()
        await self._server.drain(_DRAIN_S)

    # One exchange

    def handle(self, stream: Stream, request: Request) -> bool:
        """Answer, now or later. True: the stream has become a viewer of the feed."""
        if not _is_ours(request.host):
            _reply(stream, _text(403, f"{request.host[:100]} is not a name of this machine"))
            return False
        if request.path == "/api/stream" and request.method == "GET":
            if self._feed.add(stream):
                return True
            _reply(stream, _text(503, "too many viewers"))
            return False
        method = "GET" if request.method == "HEAD" else request.method
        handler = self._routes.get((method, request.path))
        if handler is None and method == "GET" and request.path.startswith("/metrics/"):
            handler = self._metrics
        if handler is None:
            known = [allowed for allowed, path in self._routes if path == request.path]
            wrong = _text(405, f"allowed: {', '.join(known)}") if known else None
            _reply(stream, wrong or _text(404, "nothing here; the page is at /"))
            return False
        task = asyncio.get_running_loop().create_task(
            self._finish(stream, handler, request), name=f"{request.method} {request.path[:60]}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return False

    def forget(self, stream: Stream) -> None:
        self._feed.remove(stream)

    async def _finish(
        self,
        stream: Stream,
        handler: Callable[[Request], Answer | Awaitable[Answer]],
        request: Request,
    ) -> None:
        try:
            result = handler(request)
            found = result if isinstance(result, Answer) else await result
        except Exception as error:  # noqa: BLE001  whoever looks gets to see what broke
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"{request.path} failed", "exception": error}
            )
            found = _text(500, f"{type(error).__name__}: {error}")
        _reply(stream, found, head=request.method == "HEAD")

    # What there is

    async def _state(self, _request: Request) -> Answer:
        return _as_json(await self._observer.state())

    async def _all_metrics(self, _request: Request) -> Answer:
        return Answer(200, _METRICS, await self._exposition.all())

    async def _metrics(self, request: Request) -> Answer:
        node = request.path.removeprefix("/metrics/")
        known = self._exposition.nodes()
        if node not in known:
            return _text(404, f"no metrics of {node[:100]!r}; there are: {', '.join(known)}")
        page = await self._exposition.one(node)
        return (
            _text(503, f"{node} does not answer") if page is None else Answer(200, _METRICS, page)
        )

    def _authority(self, _request: Request) -> Answer:
        name = f'attachment; filename="popnet-{self._observer.run.name}-ca.pem"'
        return Answer(
            200,
            "application/x-pem-file",
            (self._observer.run.pki / "ca.pem").read_bytes(),
            [(b"content-disposition", name.encode())],
        )

    def _pac(self, _request: Request) -> Answer:
        """https://developer.mozilla.org/en-US/docs/Web/HTTP/Guides/Proxy_servers_and_tunneling"""
        proxy = self._about().get("socks")
        if proxy is None:
            return _text(404, "this lab has no proxy")
        names = {
            name.lower(): 1 for name in (*self._observer.plan.world.dns, *self._observer.plan.nodes)
        }
        script = (
            f"var names = {msgspec.json.encode(names).decode()};\n"
            "function FindProxyForURL(url, host) {\n"
            f'  return names[host.toLowerCase()] ? "PROXY 127.0.0.1:{proxy}" : "DIRECT";\n'
            "}\n"
        )
        return Answer(200, "application/x-ns-proxy-autoconfig", script.encode())

    def _city(self) -> Message:
        return {"city": self._proxy.default, "cities": list(self._proxy.networks)}

    def _put_city(self, request: Request) -> Answer:
        if request.origin and request.origin.partition("://")[2] != request.host:
            return _text(403, "only the lab's own page may do that")
        if request.content_type.partition(";")[0].strip() != _JSON:
            return _text(415, f"send {_JSON}")
        try:
            city = msgspec.json.decode(request.body, type=dict[str, str])["city"]
            self._proxy.default = self._proxy.city_of(city)
        except (msgspec.MsgspecError, KeyError):
            return _text(400, 'send {"city": NAME}')
        except UnknownCityError as error:
            return _text(400, str(error))
        return _as_json(self._city())


def _reply(stream: Stream, found: Answer, *, head: bool = False) -> None:
    headers: Headers = [
        (b":status", b"%d" % found.status),
        (b"content-type", found.content_type.encode()),
        (b"content-length", b"%d" % len(found.body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-resource-policy", b"same-origin"),
        *found.headers,
    ]
    answer(stream, headers, b"" if head else found.body)


def _is_ours(host: str) -> bool:
    """An address, localhost, or a name without a dot (a container's): never a name that somebody could register."""
    bracketed = host.startswith("[")
    name = host[1:].partition("]")[0] if bracketed else host.partition(":")[0]
    if "." not in name and not bracketed:
        return bool(name)
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return name.lower().endswith(".localhost")


class _Exchange:
    """Gathers one request."""

    def __init__(self, server: WebServer, stream: Stream) -> None:
        self._server = server
        self._stream = stream
        self._headers: dict[bytes, bytes] = {}
        self._body = b""
        self._done = False
        self._viewing = False

    def headers_received(self, headers: Headers, end: bool) -> None:
        self._headers = dict(headers)
        if end:
            self._complete()

    def data_received(self, data: bytes, end: bool) -> None:
        self._stream.credit(len(data))
        if self._done:
            return
        self._body += data
        if len(self._body) > _LONGEST_BODY:
            self._done = True
            _reply(self._stream, _text(413, "too large"))
        elif end:
            self._complete()

    def trailers_received(self, headers: Headers) -> None:
        if not self._done:
            self._complete()

    def drained(self) -> None: ...

    def lost(self, code: int) -> None:
        if self._viewing:
            self._server.forget(self._stream)

    def _complete(self) -> None:
        self._done = True

        def said(name: bytes) -> str:
            return self._headers.get(name, b"").decode("latin-1")

        request = Request(
            method=said(b":method"),
            path=said(b":path").partition("?")[0],
            host=said(b":authority") or said(b"host"),
            origin=said(b"origin"),
            content_type=said(b"content-type"),
            body=self._body,
        )
        self._viewing = self._server.handle(self._stream, request)

"""One request of a visitor, phase by phase, on whatever loop it runs: dns, tcp, tls, request, body.

The asynchronous twin of `lab.probes.visit`, for many requests at once and for virtual time. A `Visitor` is one
city's program; with `keep` it holds its connections for later requests, otherwise each request is a cold one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

from runtime.errors import ResolveError
from runtime.resolver import Resolver
from runtime.tls import explain

DEFAULT_TIMEOUT_S = 20.0
_MOST_IDLE = 64


@dataclass(slots=True)
class Visit:
    """What came of a request. `error` is "" or `phase: why`; durations are in seconds.

    `digest`: where the response says what it ought to be, "right" or what is wrong with it.
    """

    started: float
    phases: dict[str, float] = field(default_factory=dict)
    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    bytes: int = 0
    address: str = ""
    warm: bool = False
    error: str = ""
    digest: str = ""

    @property
    def total_s(self) -> float:
        return sum(self.phases.values())

    @property
    def first_byte_s(self) -> float:
        return self.total_s - self.phases.get("body", 0.0)

    @property
    def ok(self) -> bool:
        return not self.error and 200 <= self.status < 500

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key == name)

    def task_answer(self) -> dict[str, Any]:
        """In the shape in which `lab.probes.visit` answers."""
        return {
            "phases": dict(self.phases),
            "address": self.address,
            "status": self.status,
            "headers": [list(pair) for pair in self.headers],
            "bytes": self.bytes,
            "error": self.error or None,
        }


class _Failed(Exception):  # noqa: N818 it never leaves this module
    pass


class Visitor:
    """Asks. `ca` is the file of authorities it trusts."""

    def __init__(
        self,
        resolver: Resolver,
        ca: str,
        *,
        clock: Callable[[], float],
        timeout_s: float = DEFAULT_TIMEOUT_S,
        keep: bool = False,
    ) -> None:
        self._resolver = resolver
        self._clock = clock
        self._timeout_s = timeout_s
        self._keep = keep
        self._ca = ca
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._context("")
        self._idle: dict[tuple[str, str, int, str], list[_Exchange]] = {}

    def _context(self, certificate: str) -> ssl.SSLContext:
        context = self._contexts.get(certificate)
        if context is None:
            context = self._contexts[certificate] = ssl.create_default_context(cafile=self._ca)
            context.set_alpn_protocols(["http/1.1"])
            if certificate:
                context.load_cert_chain(certificate)
        return context

    async def get(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        timeout_s: float | None = None,
        certificate: str = "",
    ) -> Visit:
        """`certificate`: the file that is shown to who asks for one. Never raises for what the network does."""
        visit = Visit(self._clock())
        phase = ["dns"]
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                await self._get(visit, phase, url, method, headers or {}, body, certificate)
        except _Failed as error:
            visit.error = str(error)
        except TimeoutError:
            visit.error = f"{phase[0]}: timed out"
        except ResolveError as error:
            visit.error = f"dns: {error}"
        except OSError as error:
            visit.error = f"{phase[0]}: {explain(error)}"
        if visit.error:
            visit.phases[phase[0]] = self._clock() - visit.started - visit.total_s
        return visit

    async def _get(
        self,
        visit: Visit,
        phase: list[str],
        url: str,
        method: str,
        headers: dict[str, str],
        body: bytes,
        certificate: str,
    ) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        place = parts.scheme, host, port, certificate
        since = visit.started

        def done(following: str) -> None:
            nonlocal since
            now = self._clock()
            visit.phases[phase[0]] = now - since
            since, phase[0] = now, following

        idle = self._idle.get(place)
        exchange: _Exchange | None = None
        while idle and exchange is None:
            exchange = idle.pop()
            if exchange.lost:
                exchange = None
        if exchange is not None:
            visit.warm = True
            phase[0] = "request"
        else:
            visit.address = (await self._resolver.addresses(host))[0]
            done("tcp")
            exchange = _Exchange()
            loop = asyncio.get_running_loop()
            plain, _ = await loop.create_connection(lambda: exchange, visit.address, port)
            try:
                if secure:
                    done("tls")
                    transport = await loop.start_tls(
                        plain, exchange, self._context(certificate), server_hostname=host
                    )
                    assert transport is not None
                    exchange.connection_made(transport)
            except BaseException:
                plain.abort()
                raise
            done("request")
        try:
            target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
            lines = [f"{method} {target} HTTP/1.1", f"host: {parts.netloc}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            if not self._keep:
                lines.append("connection: close")
            if body:
                lines.append(f"content-length: {len(body)}")
            head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
            exchange.ask(head + body, method == "HEAD")
            await exchange.head
            done("body")
            visit.status, visit.headers = exchange.status, exchange.headers
            visit.bytes = await exchange.body
            visit.digest = _judged(visit, host, body, exchange.digest)
            done("")
        except BaseException:
            exchange.abort()
            raise
        if self._keep and exchange.reusable:
            kept = self._idle.setdefault(place, [])
            if len(kept) < _MOST_IDLE:
                kept.append(exchange)
                return
        exchange.close()

    def close(self) -> None:
        for exchanges in self._idle.values():
            for exchange in exchanges:
                exchange.close()
        self._idle.clear()


def _judged(visit: Visit, host: str, sent: bytes, received: str) -> str:
    """Whether the answer is the one to this request, where it says what it ought to be."""
    if not received:
        return ""
    if received != visit.header("x-sha256"):
        return "the body is not what was sent"
    if visit.header("x-host") not in ("", host):
        return f"the answer of {visit.header('x-host')}"
    if visit.header("x-body-sha256") not in ("", sha256(sent).hexdigest()):
        return "the service got another body"
    return "right"


class _Exchange(asyncio.Protocol):
    """One connection: a request out, a response in, and perhaps another."""

    def __init__(self) -> None:
        self.head: asyncio.Future[None]
        self.body: asyncio.Future[int]
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.lost = False
        self.reusable = False
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._size = 0
        self._hash: Any = None
        self._asked = self._bodiless = False

    def ask(self, request: bytes, bodiless: bool) -> None:
        loop = asyncio.get_running_loop()
        self.head, self.body = loop.create_future(), loop.create_future()
        self.headers, self._size, self.reusable = [], 0, False
        self._hash = None
        self._asked, self._bodiless = True, bodiless
        self._parser = httptools.HttpResponseParser(self)
        if self._transport is None or self.lost:
            self._fail("the connection is gone")
        else:
            self._transport.write(request)

    @property
    def digest(self) -> str:
        """SHA-256 of the body, where the head promised one."""
        return "" if self._hash is None else str(self._hash.hexdigest())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        for future in (self.head, self.body) if self._asked else ():
            future.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, why: str) -> None:
        for future in (self.head, self.body) if self._asked else ():
            if not future.done():
                future.set_exception(_Failed(f"http: {why}"))
                # One of the two may have nobody who waits for it.
                future.exception()

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"no HTTP: {error}")

    def eof_received(self) -> bool | None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._fail(explain(exc) if exc is not None else "the connection ended early")

    # What the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self.headers = []
            return
        self.status = status
        if not self._bodiless and any(name == "x-sha256" for name, _ in self.headers):
            self._hash = sha256()
        if not self.head.done():
            self.head.set_result(None)
        if self._bodiless:
            self.on_message_complete()

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        if self._hash is not None:
            self._hash.update(data)

    def on_message_complete(self) -> None:
        if self.status >= 200 and not self.body.done():
            self.reusable = bool(self._parser.should_keep_alive())
            self.body.set_result(self._size)

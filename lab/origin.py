"""The site service `hello`: a real HTTP/1.1 server for trying everything that a private web service may do.

    GET  /              a page that says who asked; JSON by Accept: the request as it arrived
    GET  /bytes/N       N bytes, always the same
    POST /echo          the body back; x-sha256 in a trailer of the chunked answer
    POST /sha256        SHA-256 and length of the body
    GET  /sse           server-sent events, ?n=5&every_ms=200
    GET  /slow          answers after ?s=1 seconds; ?head=1 sends the head at once; ?at=SITE: slow only there
    GET  /status/N      that status
    GET  /trailers      a chunked answer that ends with gRPC's trailers (grpc-status: 0)
    GET  /die           half an answer, then the connection ends
    GET  /ws            WebSocket echo (RFC 6455)
    any  /once/ID/N     N bytes that differ by ID; x-sha256 and x-host say what they are; notes that it was asked
    GET  /ledger        requests to /once that must not be repeated, with how often each came

Standard library and httptools only; it knows nothing of tunnels or PoPs. `main` runs it on 127.0.0.1:8000.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import contextvars
import hashlib
import html
import itertools
import json
import os
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

import httptools

from lab import websocket

_CHUNK = 64 * 1024
_HEAD_LIMIT = 256 * 1024
_MOST_BYTES = 10 * 1024**3

# What /bytes/N repeats: a megabyte of digest, so that no compression and no lucky shift hides a mistake.
_PATTERN = b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(32768))


# What this service calls itself; unset, it is the machine's name (in a lab: the node's).
NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name")


def _name() -> str:
    return NAME.get("") or socket.gethostname()


# METHOD and target of requests to /once -> how often they came.
LEDGER: contextvars.ContextVar[Counter[str]] = contextvars.ContextVar("ledger")
_LEDGER: Counter[str] = Counter()
_MOST_NOTED = 1_000_000
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


class _GoneError(Exception):
    """The other side closed its connection."""


@dataclass(slots=True)
class Request:
    method: str = ""
    target: str = ""
    version: str = "1.1"
    headers: list[tuple[str, str]] = field(default_factory=list)

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    def text(self, name: str, default: str) -> str:
        """A value of the query string."""
        values = parse_qs(urlsplit(self.target).query).get(name, [])
        return values[-1] if values else default

    def query(self, name: str, default: float) -> float:
        """A number of the query string; what is no number counts as not said."""
        try:
            return float(self.text(name, "") or default)
        except ValueError:
            return default

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key.lower() == name)


class _Connection:
    """One connection: httptools' callbacks on one side, `await`-able parts of a request on the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.request = Request()
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []
        self._head_done = False
        self._done = False
        self._rest = b""
        self._upgraded = False
        self._answered = True
        self._keep_alive = True

    # httptools calls these

    def on_message_begin(self) -> None:
        if not self._answered:
            raise ValueError("this server takes one request after the other")
        self._answered = False
        self.request = Request()
        self._head_done = self._done = False

    def on_url(self, url: bytes) -> None:
        self.request.target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.request.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.request.method = self._parser.get_method().decode()
        self.request.version = self._parser.get_http_version()
        # Asked now: once the message is complete the parser has forgotten.
        self._keep_alive = bool(self._parser.should_keep_alive())
        self._head_done = True

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        self._done = True

    # The server calls these

    async def next_request(self) -> Request | None:
        """None when the other side is done with this connection."""
        self._head_done = self._done = False
        self._answered = True
        seen = 0
        try:
            while not self._head_done:
                seen += await self._feed()
                if seen > _HEAD_LIMIT:
                    raise httptools.HttpParserError("the head is too large")
        except _GoneError:
            return None
        if self.request.header("expect").lower() == "100-continue":
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self.request

    async def body(self) -> AsyncIterator[bytes]:
        while True:
            while self._body:
                yield self._body.pop(0)
            if self._done:
                return
            await self._feed()

    async def _feed(self) -> int:
        data = await self.reader.read(_CHUNK)
        if not data:
            raise _GoneError
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # Bytes after the head belong to whatever the connection is upgraded to.
            self._rest = data[upgrade.args[0] :]
            self._upgraded = True
            self._head_done = self._done = True
        return len(data)

    def leftover(self) -> bytes:
        rest, self._rest = self._rest, b""
        return rest

    @property
    def keep_alive(self) -> bool:
        return self._keep_alive and not self._upgraded

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    async def whole(self, status: int, kind: str, body: bytes, *more: tuple[str, str]) -> None:
        headers = [("content-type", kind), ("content-length", str(len(body))), *more]
        await self.head(status, headers)
        if self.request.method != "HEAD":
            await self.send(body)

    async def chunk(self, data: bytes) -> None:
        if data:
            await self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end_chunks(self, trailers: Sequence[tuple[str, str]] = ()) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in trailers)
        await self.send(f"0\r\n{lines}\r\n".encode())


async def _hello(connection: _Connection) -> None:
    request = connection.request
    if "application/json" in request.header("accept"):
        seen = {
            "method": request.method,
            "target": request.target,
            "headers": request.headers,
            "host": _name(),
        }
        await connection.whole(200, "application/json", json.dumps(seen, indent=1).encode() + b"\n")
        return
    rows = "".join(
        f"<tr><td>{html.escape(name)}<td>{html.escape(value)}" for name, value in request.headers
    )
    page = (
        f"<!doctype html><title>hello</title><h1>hello from {html.escape(_name())}</h1>"
        f"<p>{html.escape(request.method)} {html.escape(request.target)}<table>{rows}</table>\n"
    )
    await connection.whole(200, "text/html; charset=utf-8", page.encode())


async def _bytes(connection: _Connection) -> None:
    text = connection.request.path.rpartition("/")[2]
    if not text.isdigit() or int(text) > _MOST_BYTES:
        await _not_found(connection)
        return
    left = int(text)
    kind = "application/octet-stream"
    await connection.head(200, [("content-type", kind), ("content-length", str(left))])
    if connection.request.method == "HEAD":
        return
    whole, rest = divmod(left, len(_PATTERN))
    for block in itertools.chain(itertools.repeat(_PATTERN, whole), [_PATTERN[:rest]]):
        for start in range(0, len(block), _CHUNK):
            await connection.send(block[start : start + _CHUNK])


async def _echo(connection: _Connection) -> None:
    kind = connection.request.header("content-type") or "application/octet-stream"
    headers = [("content-type", kind), ("transfer-encoding", "chunked"), ("trailer", "x-sha256")]
    await connection.head(200, headers)
    digest = hashlib.sha256()
    async for data in connection.body():
        digest.update(data)
        await connection.chunk(data)
    await connection.end_chunks([("x-sha256", digest.hexdigest())])


async def _sha256(connection: _Connection) -> None:
    digest, size = hashlib.sha256(), 0
    async for data in connection.body():
        digest.update(data)
        size += len(data)
    body = json.dumps({"sha256": digest.hexdigest(), "bytes": size}).encode() + b"\n"
    await connection.whole(200, "application/json", body, ("x-sha256", digest.hexdigest()))


async def _once(connection: _Connection) -> None:
    request = connection.request
    *_, text = request.path.split("/")
    if not text.isdigit() or int(text) > _MOST_BYTES:
        await _not_found(connection)
        return
    ledger = LEDGER.get(_LEDGER)
    if len(ledger) < _MOST_NOTED:
        ledger[f"{request.method} {request.target}"] += 1
    received = hashlib.sha256()
    async for data in connection.body():
        received.update(data)
    size = int(text)
    start = hashlib.sha256(request.target.encode()).digest()[0]
    body = (_PATTERN[start:] * (size // (len(_PATTERN) - start) + 1))[:size]
    await connection.whole(
        200,
        "application/octet-stream",
        body,
        ("x-sha256", hashlib.sha256(body).hexdigest()),
        ("x-body-sha256", received.hexdigest()),
        ("x-host", request.header("host")),
    )


async def _ledger(connection: _Connection) -> None:
    ledger = LEDGER.get(_LEDGER)
    # Also what came once: it may have come to another site as well.
    told = {
        what: count
        for what, count in sorted(ledger.items())
        if what.partition(" ")[0] not in _REPEATABLE
    }
    await connection.whole(200, "application/json", json.dumps(told).encode() + b"\n")


async def _sse(connection: _Connection) -> None:
    request = connection.request
    headers = [("content-type", "text/event-stream"), ("cache-control", "no-store")]
    await connection.head(200, [*headers, ("transfer-encoding", "chunked")])
    for number in range(int(request.query("n", 5))):
        if number:
            await asyncio.sleep(request.query("every_ms", 200) / 1e3)
        await connection.chunk(f"id: {number}\ndata: tick {number}\n\n".encode())
    await connection.end_chunks()


async def _slow(connection: _Connection) -> None:
    seconds = connection.request.query("s", 1)
    if connection.request.text("at", _name()) != _name():
        seconds = 0.0
    if connection.request.query("head", 0):
        headers = [("content-type", "text/plain"), ("content-length", "5")]
        await connection.head(200, headers)
        await asyncio.sleep(seconds)
        await connection.send(b"done\n")
        return
    await asyncio.sleep(seconds)
    await connection.whole(200, "text/plain", b"done\n")


async def _status(connection: _Connection) -> None:
    text = connection.request.path.rpartition("/")[2]
    if not text.isdigit() or not 200 <= int(text) <= 999:
        await _not_found(connection)
    elif int(text) in (204, 304):
        await connection.head(int(text), [])
    else:
        await connection.whole(int(text), "text/plain", f"status {text}\n".encode())


async def _trailers(connection: _Connection) -> None:
    headers = [("content-type", "application/grpc"), ("transfer-encoding", "chunked")]
    await connection.head(200, [*headers, ("trailer", "grpc-status, grpc-message")])
    await connection.chunk(b"\x00\x00\x00\x00\x02hi")
    await connection.end_chunks([("grpc-status", "0"), ("grpc-message", "fine")])


async def _die(connection: _Connection) -> None:
    await connection.head(200, [("content-type", "text/plain"), ("content-length", "1000")])
    await connection.send(b"half of it")
    raise _GoneError


async def _ws(connection: _Connection) -> None:
    key = connection.request.header("sec-websocket-key")
    if connection.request.header("upgrade").lower() != "websocket" or not key:
        await connection.whole(426, "text/plain", b"a WebSocket handshake is expected here\n")
        return
    accept = base64.b64encode(hashlib.sha1((key + websocket.GUID).encode()).digest())  # noqa: S324 as RFC 6455 says
    headers = [("upgrade", "websocket"), ("connection", "Upgrade")]
    await connection.head(101, [*headers, ("sec-websocket-accept", accept.decode())])
    frames = websocket.Frames()
    data = connection.leftover()
    while True:
        for opcode, payload in frames.feed(data):
            answer = websocket.answer(opcode, payload, fin=frames.fin)
            if answer is not None:
                await connection.send(answer)
            if opcode == websocket.CLOSE:
                raise _GoneError
        data = await connection.reader.read(_CHUNK)
        if not data:
            raise _GoneError


async def _not_found(connection: _Connection) -> None:
    await connection.whole(404, "text/plain", b"no such page here\n")


_Handler = Callable[[_Connection], Awaitable[None]]
_EXACT: dict[str, _Handler] = {
    "/": _hello,
    "/echo": _echo,
    "/sha256": _sha256,
    "/sse": _sse,
    "/slow": _slow,
    "/trailers": _trailers,
    "/die": _die,
    "/ws": _ws,
    "/ledger": _ledger,
}
_PREFIXES: dict[str, _Handler] = {"/bytes/": _bytes, "/status/": _status, "/once/": _once}


def _handler(path: str) -> _Handler:
    for prefix, handler in _PREFIXES.items():
        if path.startswith(prefix):
            return handler
    return _EXACT.get(path, _not_found)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = _Connection(reader, writer)
    try:
        while (request := await connection.next_request()) is not None:
            await _handler(request.path)(connection)
            async for _ in connection.body():
                pass
            if not connection.keep_alive:
                return
    except httptools.HttpParserError:
        with contextlib.suppress(OSError):
            body = b"not HTTP/1.1 as this server knows it\n"
            await connection.whole(400, "text/plain", body, ("connection", "close"))
    except (_GoneError, OSError, websocket.FrameError):
        pass
    finally:
        writer.close()


async def start(host: str, port: int) -> asyncio.Server:
    return await asyncio.start_server(_serve, host, port, backlog=1024)


def _notify_ready() -> None:
    """sd_notify(3), without importing a room of the edge."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
            contextlib.suppress(OSError),
        ):
            sender.sendto(b"READY=1", address)


async def _run(host: str, port: int) -> None:
    server = await start(host, port)
    _notify_ready()
    async with server:
        await server.serve_forever()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lab.origin", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args(arguments)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(options.host, options.port))
    return 0


if __name__ == "__main__":
    sys.exit(main())

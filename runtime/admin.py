"""The admin door of every process: HTTP/1.1 on a Unix socket, and on host:port where one is wanted.

Handlers are plain functions of the request, or coroutines: `(AdminRequest) -> Answer`. `/metrics` is answered from a
prometheus registry when one is given. Nobody but the operator comes here, so a request is gathered whole before its
handler runs, up to `_MAX_BODY`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from runtime.serving import HttpServer, Listener, ServingOptions
from runtime.splice import answer
from runtime.streams import Headers, Stream, StreamUser

_MAX_BODY = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class AdminRequest:
    method: str
    path: str
    query: str
    body: bytes


# status, content type, body
Answer = tuple[int, str, bytes]
Handler = Callable[[AdminRequest], Answer | Awaitable[Answer]]
Routes = Mapping[tuple[str, str], Handler]

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


class AdminServer:
    """`routes` maps (method, path) to a handler. `start` opens the doors, `close` shuts them."""

    def __init__(
        self,
        path: str | None = None,
        routes: Routes | None = None,
        *,
        registry: CollectorRegistry | None = None,
        address: tuple[str, int] | None = None,
    ) -> None:
        self.routes: dict[tuple[str, str], Handler] = dict(routes or {})
        self._path = path
        self._address = address
        if registry is not None:
            self.routes.setdefault(("GET", "/metrics"), lambda _: render(registry))
        self._server = HttpServer(self._exchange, ServingOptions(max_connections=256))
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open the doors. A socket file left by a dead process is replaced."""
        listeners = []
        if self._path is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
            listeners.append(Listener(path=self._path))
        if self._address is not None:
            listeners.append(Listener(*self._address))
        await self._server.listen(listeners)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return self._server.addresses

    def close(self) -> None:
        self._server.abort()
        for task in sorted(self._tasks, key=lambda task: task.get_name()):
            task.cancel()
        if self._path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def _exchange(self, stream: Stream) -> StreamUser:
        return _Exchange(self, stream)

    def _run(self, stream: Stream, request: AdminRequest) -> None:
        handler = self.routes.get((request.method, request.path))
        if handler is None and request.method == "HEAD":
            handler = self.routes.get(("GET", request.path))
        if handler is None:
            known = sorted(method for method, path in self.routes if path == request.path)
            if known:
                text = f"{request.path} knows {', '.join(known)}\n"
                _reply(stream, (405, TEXT, text.encode()))
            else:
                paths = "".join(f"{method} {path}\n" for method, path in sorted(self.routes))
                _reply(stream, (404, TEXT, paths.encode()))
            return
        try:
            result = handler(request)
        except Exception as error:  # noqa: BLE001  the operator gets to see what broke
            self._failed(stream, error)
            return
        if isinstance(result, tuple):
            _reply(stream, result)
            return
        name = f"admin {request.method} {request.path}"
        task = asyncio.get_running_loop().create_task(self._finish(stream, result), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(self, stream: Stream, pending: Awaitable[Answer]) -> None:
        try:
            result = await pending
        except Exception as error:  # noqa: BLE001
            self._failed(stream, error)
        else:
            _reply(stream, result)

    def _failed(self, stream: Stream, error: Exception) -> None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": "an admin handler failed", "exception": error}
        )
        _reply(stream, (500, TEXT, f"{type(error).__name__}: {error}\n".encode()))


def render(registry: CollectorRegistry) -> Answer:
    """The registry in Prometheus text format."""
    return 200, CONTENT_TYPE_LATEST, generate_latest(registry)


def _reply(stream: Stream, result: Answer) -> None:
    status, content_type, body = result
    headers: Headers = [
        (b":status", b"%d" % status),
        (b"content-type", content_type.encode()),
        (b"content-length", b"%d" % len(body)),
    ]
    answer(stream, headers, body)


class _Exchange:
    """Gathers one request."""

    def __init__(self, server: AdminServer, stream: Stream) -> None:
        self._server = server
        self._stream = stream
        self._headers: Headers = []
        self._body: list[bytes] = []
        self._size = 0

    def headers_received(self, headers: Headers, end: bool) -> None:
        self._headers = headers
        if end:
            self._complete()

    def data_received(self, data: bytes, end: bool) -> None:
        self._stream.credit(len(data))
        self._body.append(data)
        self._size += len(data)
        if self._size > _MAX_BODY:
            _reply(self._stream, (413, TEXT, b"too large\n"))
        elif end:
            self._complete()

    def trailers_received(self, headers: Headers) -> None:
        self._complete()

    def drained(self) -> None:
        pass

    def lost(self, code: int) -> None:
        self._body.clear()

    def _complete(self) -> None:
        fields = dict(self._headers)
        path, _, query = fields[b":path"].decode("latin-1").partition("?")
        method = fields[b":method"].decode("latin-1")
        self._server._run(self._stream, AdminRequest(method, path, query, b"".join(self._body)))

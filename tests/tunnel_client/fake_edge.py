"""A tiny edge for tests: accepts connectors on loopback, registers them, sends them requests.

Built from the same parts as a real PoP's tunnel side (`Http2Connection` in the client's role on an
accepted socket, `RegistrationServer`), so it also shows those at work against connectors of other
makes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from runtime.http2 import ErrorCode, Http2Connection, Role
from runtime.streams import Headers, Stream
from runtime.tls import server_context
from wire import headers as h
from wire.tunnel_rpc import (
    ConnectionDetails,
    Refusal,
    RegisterConnection,
    Registration,
    RegistrationServer,
    ServerEvent,
    UnregisterConnection,
    UpdateLocalConfiguration,
)

Decide = Callable[["Session", Registration], ConnectionDetails | Refusal | None]


@dataclass
class Response:
    """What came back for one request; `head` arrives first, `ended` last."""

    stream: Stream | None = None
    headers: Headers = field(default_factory=list)
    trailers: Headers = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    reset: int | None = None
    auto_credit: bool = True

    def __post_init__(self) -> None:
        self.head: asyncio.Event = asyncio.Event()
        self.ended: asyncio.Event = asyncio.Event()
        self.moved: asyncio.Event = asyncio.Event()
        self.drain_seen: asyncio.Event = asyncio.Event()

    @property
    def status(self) -> int:
        return int(self.headers[0][1])

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def origin_headers(self) -> Headers:
        return h.parse_serialized_headers(h.get(self.headers, h.RESPONSE_HEADERS) or b"")

    @property
    def meta(self) -> h.ResponseMeta:
        return h.parse_meta(h.get(self.headers, h.RESPONSE_META) or b"")

    async def until(self, size: int) -> bytes:
        """The body once it has `size` bytes."""
        while len(self.body) < size and not self.ended.is_set():
            self.moved.clear()
            await self.moved.wait()
        return self.body

    # StreamUser

    def headers_received(self, headers: Headers, end: bool) -> None:
        self.headers = headers
        self.head.set()
        if end:
            self.finish()

    def data_received(self, data: bytes, end: bool) -> None:
        self.chunks.append(data)
        if self.auto_credit and self.stream is not None:
            self.stream.credit(len(data))
        self.moved.set()
        if end:
            self.finish()

    def trailers_received(self, headers: Headers) -> None:
        self.trailers = headers
        self.finish()

    def drained(self) -> None:
        self.drain_seen.set()

    def lost(self, code: int) -> None:
        self.reset = code
        self.finish()

    def finish(self) -> None:
        self.head.set()
        self.moved.set()
        self.ended.set()


class Session:
    """One accepted connection."""

    def __init__(self, edge: FakeEdge) -> None:
        self.edge = edge
        self.registration: Registration | None = None
        self.local_configuration: bytes | None = None
        self.unregistered = asyncio.Event()
        self.reported = asyncio.Event()
        self.lost = asyncio.Event()
        self.rpc = RegistrationServer()
        self.control: Stream | None = None
        self.http2 = Http2Connection(
            Role.CLIENT, on_ready=self._ready, on_lost=lambda _: self._lost()
        )

    @property
    def address(self) -> str:
        return self.http2.peer.local_address

    def _ready(self) -> None:
        if not self.edge.open_control:
            return
        self.control = stream = self.http2.open(_ControlUser(self))
        stream.send_headers(
            [
                (b":method", b"GET"),
                (b":scheme", b"https"),
                (b":authority", b"edge.invalid"),
                (b":path", b"/"),
                (h.UPGRADE, h.UPGRADE_CONTROL),
            ]
        )

    def _lost(self) -> None:
        self.lost.set()
        if self in self.edge.live:
            self.edge.live.remove(self)

    def request(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        host: str = "app.example.com",
        headers: Headers | None = None,
        body: bytes | None = b"",
        auto_credit: bool = True,
    ) -> Response:
        """`body` None: the caller sends it on `response.stream`."""
        response = Response(auto_credit=auto_credit)
        response.stream = stream = self.http2.open(response)
        head = [
            (b":method", method.encode()),
            (b":scheme", b"https"),
            (b":authority", host.encode()),
            (b":path", path.encode()),
            *(headers or []),
        ]
        stream.send_headers(head, end=body == b"")
        if body:
            stream.send_data(body, end=True)
        return response


class _ControlUser:
    """The control stream's user."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def headers_received(self, headers: Headers, end: bool) -> None:
        assert headers[0] == (b":status", b"200")

    def data_received(self, data: bytes, end: bool) -> None:
        session = self.session
        assert session.control is not None
        session.control.credit(len(data))
        for event in session.rpc.receive(data):
            self.heard(event)
        if out := session.rpc.data_to_send():
            session.control.send_data(out)

    def heard(self, event: ServerEvent) -> None:
        session, edge = self.session, self.session.edge
        match event:
            case RegisterConnection(question, request):
                session.registration = request
                verdict = edge.decide(session, request)
                if verdict is not None:
                    session.rpc.answer(question, verdict)
                edge.asked.put_nowait(session)
                if isinstance(verdict, ConnectionDetails):
                    edge.registered.put_nowait(session)
                elif verdict is not None:
                    asyncio.get_running_loop().call_later(0.05, session.http2.close)
            case UpdateLocalConfiguration(config):
                session.local_configuration = config
                session.reported.set()
            case UnregisterConnection():
                session.unregistered.set()
            case _:
                raise AssertionError(event)

    def trailers_received(self, headers: Headers) -> None:
        pass

    def drained(self) -> None:
        pass

    def lost(self, code: int) -> None:
        pass


class FakeEdge:
    """Listens on `hosts` of 127.0.0.0/8, each on a port of its own."""

    def __init__(
        self,
        directory: Path,
        *,
        hosts: tuple[str, ...] = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"),
    ) -> None:
        ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.ca = directory / "ca.pem"
        ca.cert_pem.write_to_path(self.ca)
        certificate = directory / "edge.pem"
        names = ("h2.cftunnel.com", "quic.cftunnel.com", "probe.cftunnel.com")
        ca.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(certificate)
        self._context = server_context(certificate, alpn=())
        self._hosts = hosts
        self._servers: list[asyncio.Server] = []
        self.decide: Decide = self.accept
        self.open_control = True
        self.live: list[Session] = []
        self.accepted = 0
        self.asked: asyncio.Queue[Session] = asyncio.Queue()
        self.registered: asyncio.Queue[Session] = asyncio.Queue()
        self.addresses: list[tuple[str, int]] = []

    def accept(self, session: Session, request: Registration) -> ConnectionDetails:
        """Locations by address: odd ones are LHR, even ones FRA."""
        last = int(session.address.rsplit(".", 1)[1])
        uuid = bytes(15) + bytes([request.conn_index])
        return ConnectionDetails(uuid, "LHR" if last % 2 else "FRA")

    async def __aenter__(self) -> FakeEdge:
        loop = asyncio.get_running_loop()
        for host in self._hosts:
            server = await loop.create_server(self._accepted, host, 0, ssl=self._context)
            self._servers.append(server)
            self.addresses.append(server.sockets[0].getsockname()[:2])
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        for session in list(self.live):
            session.http2.abort()

    def _accepted(self) -> Http2Connection:
        session = Session(self)
        self.accepted += 1
        self.live.append(session)
        return session.http2

    async def sessions(self, count: int) -> list[Session]:
        """The next `count` registered sessions, by connection index."""
        found = [await self.registered.get() for _ in range(count)]
        return sorted(found, key=lambda s: s.registration.conn_index if s.registration else 0)


__all__ = ["Decide", "ErrorCode", "FakeEdge", "Response", "Session"]

"""Doors: which protocol is spoken, how many come in, how all of it ends. And the admin door."""

from __future__ import annotations

import asyncio
import json
import ssl
import struct
from pathlib import Path
from typing import Any, cast

import hpack
import pytest
import trustme
import uvloop
from prometheus_client import CollectorRegistry, Counter

from runtime.admin import JSON, AdminRequest, AdminServer, Answer
from runtime.door import Handshakes
from runtime.http1.client import Http1Client, Origin, OriginUnreachableError
from runtime.http1.server import Http1Timeouts
from runtime.http2 import Http2Connection, Http2Settings
from runtime.serving import HttpServer, Listener, ServingOptions
from runtime.streams import Headers, Stream, StreamUser
from runtime.tls import (
    TlsError,
    connector_context,
    origin_context,
    overlay_context,
    server_context,
)
from runtime.transports import Discard
from wire.http2.engine import ErrorCode
from wire.http2.engines import EngineName

REQUEST: Headers = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"localhost"),
    (b":path", b"/"),
]


class Echo(Discard):
    """Answers with what it was asked, and how."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def headers_received(self, headers: Headers, end: bool) -> None:
        peer = self.stream.peer
        text = f"{peer.protocol} {peer.scheme} {peer.server_name or '-'} {peer.certificate_name or '-'}"
        body = text.encode()
        self.stream.send_headers([(b":status", b"200"), (b"content-length", b"%d" % len(body))])
        self.stream.send_data(body, end=True)


class Raw(asyncio.Protocol):
    def __init__(self) -> None:
        self.got = b""
        self.ended = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True


async def settle() -> None:
    await asyncio.sleep(0.001)


DOOR = ("192.0.2.1", 80)
REFUSED = struct.pack("!L", ErrorCode.REFUSED_STREAM)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_without_tls_the_first_bytes_tell(run: Any, recorder: Any) -> None:
    async def main(loop: Any) -> None:
        server = HttpServer(Echo)
        await server.listen([Listener(*DOOR)])
        _, raw = await loop.create_connection(Raw, *DOOR)
        raw.transport.write(GET[:2])
        await settle()
        raw.transport.write(GET[2:])
        await settle()
        assert raw.got.endswith(b"http/1.1 http - -")
        h2 = Http2Connection("client")
        await loop.create_connection(lambda: h2, *DOOR)
        user = recorder()
        h2.open(user).send_headers(REQUEST, end=True)
        await settle()
        assert user.body == b"h2 http - -"
        assert server.connections == 2

    run(main)


def test_who_says_nothing_is_shown_out(run: Any) -> None:
    async def main(loop: Any) -> None:
        options = ServingOptions(http1_timeouts=Http1Timeouts(head_s=5))
        server = HttpServer(Echo, options)
        await server.listen([Listener(*DOOR)])
        _, raw = await loop.create_connection(Raw, *DOOR)
        await asyncio.sleep(4.9)
        assert not raw.ended
        await asyncio.sleep(0.2)
        assert raw.ended
        assert server.connections == 0

    run(main)


def test_above_the_limit_nobody_comes_in(run: Any) -> None:
    async def main(loop: Any) -> None:
        server = HttpServer(Echo, ServingOptions(max_connections=2))
        await server.listen([Listener(*DOOR)])
        raws = [(await loop.create_connection(Raw, *DOOR))[1] for _ in range(3)]
        await settle()
        assert [raw.ended for raw in raws] == [False, False, True]
        raws[0].transport.close()
        await settle()
        _, again = await loop.create_connection(Raw, *DOOR)
        again.transport.write(GET)
        await settle()
        assert again.got
        assert (server.accepted, server.refused) == (3, 1)
        assert str(server.snapshot()) == "serving: 2 connections, 0 streams (3 accepted, 1 refused)"

    run(main)


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return (
        struct.pack("!HBBBL", len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload
    )


def _requests(*streams: int, told: bool) -> bytes:
    """Requests over HTTP/2, of a client that has acknowledged our SETTINGS or has not seen them yet."""
    start = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0) + told * _frame(4, 1, 0)
    block = hpack.Encoder().encode(REQUEST)
    return start + b"".join(_frame(1, 5, stream, block) for stream in streams)


@pytest.mark.parametrize("engine", ["ngh2", "h2"])
@pytest.mark.parametrize("told", [False, True])
def test_streams_above_those_of_a_connection_are_counted(
    run: Any, site: Any, engine: EngineName, told: bool
) -> None:
    async def main(loop: Any) -> None:
        settings = Http2Settings(max_concurrent_streams=2)
        server = HttpServer(site.take, ServingOptions(engine=engine, http2=settings))
        await server.listen([Listener(*DOOR)])
        for number, above in ((2, 0), (4, 2)):
            _, raw = await loop.create_connection(Raw, *DOOR)
            raw.transport.write(_requests(*range(1, 2 * number, 2), told=told))
            await settle()
            assert server.snapshot().streams_refused_by_connection == above
        await asyncio.sleep(0.2)
        # A client that was told must know better: its connection is cut. The h2 engine cuts every one.
        assert raw.ended == (told or engine == "h2")
        assert raw.got.count(_frame(3, 0, 7, REFUSED)) == (0 if raw.ended else 1)
        raw.transport.abort()
        await settle()
        # Also when the connection has gone.
        assert server.connections == 1
        assert server.snapshot().streams_refused_by_connection == 2
        assert server.snapshot().streams_refused_by_address == 0

    run(main)


def test_streams_above_those_of_an_address_are_counted(run: Any, site: Any) -> None:
    async def main(loop: Any) -> None:
        server = HttpServer(site.take, ServingOptions(max_streams_per_address=3))
        await server.listen([Listener(*DOOR)])
        for _ in range(2):
            _, raw = await loop.create_connection(Raw, *DOOR)
            raw.transport.write(_requests(1, 3, told=True))
            await settle()
        assert raw.got.count(_frame(3, 0, 3, REFUSED)) == 1
        snapshot = server.snapshot()
        assert snapshot.streams_refused_by_address == 1
        assert snapshot.streams_refused_by_connection == 0

    run(main)


def test_draining_finishes_closes_and_then_aborts(run: Any, site: Any, recorder: Any) -> None:
    async def main(loop: Any) -> None:
        server = HttpServer(site.take)
        await server.listen([Listener(*DOOR)])
        h2 = Http2Connection("client")
        await loop.create_connection(lambda: h2, *DOOR)
        await settle()
        quick, stuck = recorder(), recorder()
        h2.open(quick).send_headers(REQUEST, end=True)
        _, raw = await loop.create_connection(Raw, *DOOR)
        raw.transport.write(GET)
        await settle()
        stuck_h2 = Http2Connection("client")
        await loop.create_connection(lambda: stuck_h2, *DOOR)
        await settle()
        stuck_h2.open(stuck).send_headers(REQUEST, end=True)
        await settle()
        draining = asyncio.ensure_future(server.drain(10))
        await settle()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Raw, *DOOR)
        for exchange in site.exchanges[:2]:
            exchange.stream.send_headers([(b":status", b"204")], end=True)
        await asyncio.sleep(5)
        assert quick.events == [("headers", b"204", True)]
        assert raw.got.startswith(b"HTTP/1.1 204 ")
        assert raw.ended
        assert server.connections == 1
        assert not draining.done()
        await asyncio.sleep(5.1)
        assert draining.done()
        await settle()
        assert server.connections == 0
        assert stuck.events[-1][0] == "lost"

    run(main)


# The admin door


async def ask(loop: Any, method: str, path: str, body: bytes = b"") -> tuple[bytes, bytes]:
    _, raw = await loop.create_unix_connection(Raw, "/run/admin.sock")
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    raw.transport.write(head.encode() + body)
    await settle()
    answer, _, content = raw.got.partition(b"\r\n\r\n")
    return answer.split(b" ")[1], content


def test_the_admin_door(run: Any) -> None:
    async def main(loop: Any) -> None:
        registry = CollectorRegistry()
        Counter("popnet_things", "Things", registry=registry).inc(3)
        seen: list[AdminRequest] = []

        def ready(request: AdminRequest) -> Answer:
            return 200, JSON, json.dumps({"query": request.query}).encode()

        async def links(request: AdminRequest) -> Answer:
            await asyncio.sleep(0)
            seen.append(request)
            return 202, JSON, b"{}"

        def broken(request: AdminRequest) -> Answer:
            raise ValueError("no such thing")

        routes = {("GET", "/ready"): ready, ("PUT", "/links"): links, ("GET", "/broken"): broken}
        admin = AdminServer("/run/admin.sock", routes, registry=registry)
        await admin.start()
        assert await ask(loop, "GET", "/ready?a=1") == (b"200", b'{"query": "a=1"}')
        assert await ask(loop, "PUT", "/links", b"[1]") == (b"202", b"{}")
        assert seen == [AdminRequest("PUT", "/links", "", b"[1]")]
        status, text = await ask(loop, "GET", "/metrics")
        assert status == b"200"
        assert b"popnet_things_total 3.0" in text
        assert await ask(loop, "POST", "/ready") == (b"405", b"/ready knows GET\n")
        status, text = await ask(loop, "GET", "/nothing")
        assert status == b"404"
        assert b"PUT /links" in text
        assert await ask(loop, "GET", "/broken") == (b"500", b"ValueError: no such thing\n")
        assert [failure["message"] for failure in loop.failures] == ["an admin handler failed"]
        loop.failures.clear()
        assert (await ask(loop, "HEAD", "/ready"))[1] == b""
        admin.close()
        assert "/run/admin.sock" not in loop.doors

    run(main)


# TLS, on real sockets of the loopback: both loops


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    for name in ("one", "two"):
        authority = trustme.CA()
        authority.cert_pem.write_to_path(directory / f"{name}-ca.pem")
        for host in ("localhost", "lhr"):
            issued = authority.issue_cert(host)
            issued.private_key_and_cert_chain_pem.write_to_path(directory / f"{name}-{host}.pem")
    return directory


@pytest.fixture(params=["asyncio", "uvloop"])
def real(request: pytest.FixtureRequest) -> Any:
    def runner(main: Any) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as loop_runner:
            loop_runner.run(main())

    return runner


class Once:
    """A user whose answer can be awaited."""

    def __init__(self) -> None:
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.body = b""

    def headers_received(self, headers: Headers, end: bool) -> None:
        if end:
            self.done.set_result(self.body)

    def data_received(self, data: bytes, end: bool) -> None:
        self.body += data
        if end:
            self.done.set_result(self.body)

    def trailers_received(self, headers: Headers) -> None:
        self.done.set_result(self.body)

    def drained(self) -> None:
        pass

    def lost(self, code: int) -> None:
        self.done.set_exception(ConnectionError(code))


async def serve(tls: ssl.SSLContext | None) -> tuple[HttpServer, int]:
    server = HttpServer(Echo)
    await server.listen([Listener("127.0.0.1", 0, tls)])
    return server, server.addresses[0][1]


async def ask_h2(port: int, tls: ssl.SSLContext, name: str) -> bytes:
    connection = Http2Connection("client")
    await asyncio.get_running_loop().create_connection(
        lambda: connection, "127.0.0.1", port, ssl=tls, server_hostname=name
    )
    user = Once()
    connection.open(user).send_headers(REQUEST, end=True)
    body = await user.done
    connection.close()
    return body


def test_visitors_choose_by_alpn(real: Any, pki: Path) -> None:
    async def main() -> None:
        server, port = await serve(server_context(pki / "one-localhost.pem"))
        h2_only = ssl.create_default_context(cafile=pki / "one-ca.pem")
        h2_only.set_alpn_protocols(["h2"])
        assert await ask_h2(port, h2_only, "localhost") == b"h2 https localhost -"
        client = Http1Client()
        user = Once()
        origin = Origin("127.0.0.1", port, origin_context(pki / "one-ca.pem"), "localhost")
        client.open(user, origin).send_headers(REQUEST, end=True)
        assert await user.done == b"http/1.1 https localhost -"
        client.close()
        await server.drain(1)

    real(main)


def test_a_connector_offers_no_alpn(real: Any, pki: Path) -> None:
    async def main() -> None:
        server, port = await serve(server_context(pki / "one-localhost.pem", ()))
        context = connector_context(pki / "one-ca.pem")
        assert await ask_h2(port, context, "localhost") == b"h2 https localhost -"
        await server.drain(1)

    real(main)


def test_the_overlay_wants_both_certificates(real: Any, pki: Path) -> None:
    async def main() -> None:
        tls = overlay_context(pki / "one-localhost.pem", pki / "one-ca.pem", "server")
        server, port = await serve(tls)
        good = overlay_context(pki / "one-lhr.pem", pki / "one-ca.pem", "client")
        assert await ask_h2(port, good, "localhost") == b"h2 https - lhr"
        stranger = overlay_context(pki / "two-lhr.pem", pki / "one-ca.pem", "client")
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await ask_h2(port, stranger, "localhost")
        nobody = connector_context(pki / "one-ca.pem")
        nobody.set_alpn_protocols(["h2"])
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await ask_h2(port, nobody, "localhost")
        with pytest.raises(ssl.SSLCertVerificationError):
            await ask_h2(port, good, "nrt")
        await server.drain(1)

    real(main)


def test_an_origins_certificate_is_checked_and_the_reason_is_readable(real: Any, pki: Path) -> None:
    async def main() -> None:
        server, port = await serve(server_context(pki / "two-localhost.pem"))
        client = Http1Client()
        wary = Origin("127.0.0.1", port, origin_context(pki / "one-ca.pem"), "localhost")
        user = Once()
        stream = client.open(user, wary)
        stream.send_headers(REQUEST, end=True)
        with pytest.raises(ConnectionError):
            await user.done
        assert isinstance(stream.reason, OriginUnreachableError)
        assert "certificate not accepted" in str(stream.reason)
        trusting = Origin("127.0.0.1", port, origin_context(verify=False), "localhost")
        user = Once()
        client.open(user, trusting).send_headers(REQUEST, end=True)
        assert (await user.done).startswith(b"http/1.1 https")
        client.close()
        await server.drain(1)

    real(main)


def test_a_large_body_over_tls_both_ways(real: Any, pki: Path) -> None:
    class Mirror(Discard):
        def __init__(self, stream: Stream) -> None:
            self.stream = stream

        def headers_received(self, headers: Headers, end: bool) -> None:
            self.stream.send_headers([(b":status", b"200")])

        def data_received(self, data: bytes, end: bool) -> None:
            self.stream.send_data(data, end=end)
            self.stream.credit(len(data))

    class Taker(Once):
        stream: Any

        def data_received(self, data: bytes, end: bool) -> None:
            self.stream.credit(len(data))
            super().data_received(data, end)

    async def main() -> None:
        def mirror(stream: Stream) -> StreamUser:
            return Mirror(stream)

        server = HttpServer(mirror)
        await server.listen([Listener("127.0.0.1", 0, server_context(pki / "one-localhost.pem"))])
        port = server.addresses[0][1]
        context = ssl.create_default_context(cafile=pki / "one-ca.pem")
        context.set_alpn_protocols(["h2"])
        connection = Http2Connection("client")
        await asyncio.get_running_loop().create_connection(
            lambda: connection, "127.0.0.1", port, ssl=context, server_hostname="localhost"
        )
        user = Taker()
        user.stream = connection.open(user)
        body = bytes(range(256)) * 20_000
        user.stream.send_headers([(b":method", b"POST"), *REQUEST[1:]])
        user.stream.send_data(body, end=True)
        assert await user.done == body
        connection.close()
        await server.drain(1)

    real(main)


def test_unusable_certificates_name_their_file(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    broken = tmp_path / "broken.pem"
    broken.write_text("not a certificate")
    for path in (missing, broken):
        with pytest.raises(TlsError, match=path.name):
            server_context(path)
        with pytest.raises(TlsError, match=path.name):
            connector_context(path)


def test_one_handshake_begins_in_a_turn(run: Any) -> None:
    async def main(loop: Any) -> None:
        turn = 0
        begun: list[tuple[int, int]] = []

        class Waiting:
            def __init__(self, number: int) -> None:
                self.number = number

            def shake(self) -> None:
                begun.append((turn, self.number))

        handshakes = Handshakes()
        for number in range(3):
            handshakes.join(cast(Any, Waiting(number)))
        for turn in range(5):  # noqa: B007  told by `shake`
            await asyncio.sleep(0)
        handshakes.join(cast(Any, Waiting(3)))
        turn = 9
        await asyncio.sleep(0)
        assert begun == [(0, 0), (1, 1), (2, 2), (9, 3)]

    run(main)

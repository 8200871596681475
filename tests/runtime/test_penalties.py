"""Who floods stays outside for a while: before TLS, as long as said, and nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from runtime.http2 import Http2Connection
from runtime.penalties import STRIKES, Penalties
from runtime.serving import HttpServer, Listener, ServingOptions
from runtime.streams import Stream
from runtime.tls import server_context
from runtime.transports import Discard

DOOR = ("192.0.2.1", 80)
REQUEST = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"a"),
    (b":path", b"/"),
]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
PING = b"\0\0\x08\6\0\0\0\0\0" + bytes(8)
WRONG = b"\0\0\1\6\0\0\0\0\0\0"  # a PING of one byte


def test_a_penalty_ends_and_is_of_one_address() -> None:
    penalties = Penalties(10.0)
    assert not penalties.keeps_out("192.0.2.1", 0.0)
    assert penalties.give("192.0.2.1", 0.0)
    assert penalties.keeps_out("192.0.2.1", 9.9)
    assert not penalties.keeps_out("192.0.2.2", 9.9)
    # Who comes again, or is cut again on a connection it still has, does not make it longer.
    assert not penalties.give("192.0.2.1", 5.0)
    assert not penalties.keeps_out("192.0.2.1", 10.0)
    assert penalties.given == 1
    assert len(penalties) == 0


def test_of_ipv6_it_is_the_network() -> None:
    penalties = Penalties(10.0)
    penalties.give("2001:db8:1:2::7", 0.0)
    assert penalties.keeps_out("2001:db8:1:2:ffff::1", 1.0)
    assert not penalties.keeps_out("2001:db8:1:3::7", 1.0)


def test_what_may_be_a_mistake_counts_when_it_is_repeated() -> None:
    penalties = Penalties(10.0)
    assert [penalties.strike("a", 0.0) for _ in range(STRIKES)] == [False] * (STRIKES - 1) + [True]
    # Not when it comes now and then.
    assert not any(penalties.strike("b", 11.0 * n) for n in range(3 * STRIKES))


def test_none_without_a_time_or_an_address() -> None:
    assert not Penalties(0.0).give("a", 0.0)
    assert not any(Penalties(0.0).strike("a", 0.0) for _ in range(STRIKES))
    assert not Penalties(9.0).give("", 0.0)


def test_memory_is_bounded() -> None:
    penalties = Penalties(10.0)
    for number in range(10_000):
        penalties.give(str(number), 0.0)
        penalties.strike(f"s{number}", 0.0)
    assert len(penalties) == 8192
    assert penalties.keeps_out("9999", 1.0)
    assert not penalties.keeps_out("0", 1.0)


class Raw(asyncio.Protocol):
    def __init__(self) -> None:
        self.got = b""
        self.ended = False
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True


class Hello(Discard):
    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def headers_received(self, headers: Any, end: bool) -> None:
        self.stream.send_headers([(b":status", b"204")], end=True)


async def settle() -> None:
    await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("data", "times", "kept_out"),
    [(PING * 5000, 1, True), (WRONG, STRIKES - 1, False), (WRONG, STRIKES, True)],
    ids=["a flood", "some mistakes", "too many mistakes"],
)
@pytest.mark.parametrize("engine", ["ngh2", "h2"])
def test_who_was_cut_is_not_let_in_for_a_while(
    run: Any, engine: Any, data: bytes, times: int, kept_out: bool
) -> None:
    async def main(loop: Any) -> None:
        told: list[tuple[str, str]] = []
        server = HttpServer(
            Hello,
            ServingOptions(engine=engine, penalty_s=10),
            on_penalty=lambda address, reason: told.append((address, reason)),
        )
        await server.listen([Listener(*DOOR)])
        steady = Http2Connection("client")
        await loop.create_connection(lambda: steady, *DOOR)
        for _ in range(times):
            _, attacker = await loop.create_connection(Raw, *DOOR)
            attacker.transport.write(PREFACE + data)
            await asyncio.sleep(0.1)
            assert attacker.ended
        _, again = await loop.create_connection(Raw, *DOOR)
        await settle()
        assert again.ended is kept_out
        assert server.snapshot().refused_by_penalty == kept_out
        assert server.snapshot().penalties == len(told) == kept_out
        # What the address had already goes on, and in the end it may come again.
        assert not steady.closed
        await asyncio.sleep(10)
        _, later = await loop.create_connection(Raw, *DOOR)
        await settle()
        assert not later.ended

    run(main)


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_before_tls(factory: Any, tmp_path: Path) -> None:
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    issued = authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "localhost.pem")
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(trust)
    trust.set_alpn_protocols(["h2"])

    async def main() -> None:
        server = HttpServer(Hello, ServingOptions(penalty_s=60))
        await server.listen([Listener("127.0.0.1", 0, server_context(tmp_path / "localhost.pem"))])
        port = server.addresses[0][1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trust, server_hostname="localhost"
        )
        writer.write(PREFACE + PING * 5000)
        while not server.penalties.given:
            await reader.read(65536)
        plain, out = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            assert not await plain.read(1)
        out.transport.abort()
        writer.transport.abort()
        server.abort()
        assert server.refused_by_penalty == 1

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_hello_in_two_pieces(factory: Any, tmp_path: Path) -> None:
    """The door may have read some of it before TLS begins."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    issued = authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "localhost.pem")
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(trust)

    async def main() -> None:
        server = HttpServer(Hello)
        await server.listen([Listener("127.0.0.1", 0, server_context(tmp_path / "localhost.pem"))])
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trust.wrap_bio(incoming, outgoing, server_hostname="localhost")
        reader, writer = await asyncio.open_connection("127.0.0.1", server.addresses[0][1])
        for piece in (1, 100, 65536):
            with pytest.raises(ssl.SSLWantReadError):
                tls.do_handshake()
            for _ in range(3):
                writer.write(outgoing.read(piece))
                await asyncio.sleep(0)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                incoming.write(await reader.read(65536))
        # Handshake's end and request at once.
        tls.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        writer.write(outgoing.read())
        answer = b""
        while not answer:
            incoming.write(await reader.read(65536))
            try:
                answer = tls.read(65536)
            except ssl.SSLWantReadError:
                continue
        assert answer.startswith(b"HTTP/1.1 204")
        writer.transport.abort()
        server.abort()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


@pytest.mark.parametrize("engine", ["ngh2", "h2"])
def test_a_crowd_of_requests_takes_turns(run: Any, engine: Any) -> None:
    """A hundred requests in one read: who asks meanwhile on another connection does not wait for all of them."""

    async def main(loop: Any) -> None:
        order: list[bytes] = []

        class Noted(Hello):
            def headers_received(self, headers: Any, end: bool) -> None:
                order.append(dict(headers)[b":path"])
                super().headers_received(headers, end)

        server = HttpServer(Noted, ServingOptions(engine=engine))
        await server.listen([Listener(*DOOR)])
        _, crowd = await loop.create_connection(Raw, *DOOR)
        _, other = await loop.create_connection(Raw, *DOOR)
        crowd.transport.write(PREFACE)
        other.transport.write(PREFACE)
        await settle()
        fields = b"\x82\x87\x01\x01a\x04\x02/"

        def ask(stream: int, name: bytes) -> bytes:
            size = (len(fields) + 1).to_bytes(3, "big")
            return size + b"\1\5" + stream.to_bytes(4, "big") + fields + name

        crowd.transport.write(b"".join(ask(number, b"c") for number in range(1, 201, 2)))
        other.transport.write(ask(1, b"o"))
        await settle()
        assert len(order) == 101
        assert 0 < order.index(b"/o") <= (16 if engine == "ngh2" else 4)

    run(main)


def test_a_crowd_of_chunks_takes_turns_and_is_cut(run: Any) -> None:
    async def main(loop: Any) -> None:
        turns: list[int] = []

        class Counts(Hello):
            def headers_received(self, headers: Any, end: bool) -> None:
                if dict(headers)[b":path"] == b"/other":
                    turns.append(-1)

            def data_received(self, data: bytes, end: bool) -> None:
                turns.append(len(data))
                self.stream.credit(len(data))

        server = HttpServer(Counts, ServingOptions(penalty_s=10))
        await server.listen([Listener(*DOOR)])
        _, crowd = await loop.create_connection(Raw, *DOOR)
        _, other = await loop.create_connection(Raw, *DOOR)
        head = b"POST /%s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        crowd.transport.write(head % b"crowd" + b"1\r\nx\r\n" * 3000)
        other.transport.write(head % b"other")
        await settle()
        assert sum(size for size in turns if size > 0) == 3000
        assert max(turns) <= 300
        assert turns.index(-1) <= 2
        assert not server.penalties.given
        crowd.transport.write(b"1\r\nx\r\n" * 3000)
        await asyncio.sleep(0.1)
        assert crowd.ended
        assert crowd.got.startswith(b"HTTP/1.1 400")
        assert server.penalties.given == 1
        assert not other.ended

    run(main)


@pytest.mark.parametrize("engine", ["ngh2", "h2"])
def test_who_asks_much_and_is_answered_is_no_flood(run: Any, engine: Any) -> None:
    async def main(loop: Any) -> None:
        server = HttpServer(Hello, ServingOptions(engine=engine))
        await server.listen([Listener(*DOOR)])
        visitor = Http2Connection("client")
        await loop.create_connection(lambda: visitor, *DOOR)
        await settle()
        for _ in range(60):
            for _ in range(50):
                visitor.open(Discard()).send_headers(REQUEST, end=True)
            await asyncio.sleep(0)
            for _ in range(20):
                await asyncio.sleep(0)
        await settle()
        assert visitor.opened == 3000
        assert not visitor.closed
        assert not server.cut

    run(main)

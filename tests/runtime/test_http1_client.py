"""The pool of origin connections, in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runtime.http1.client import (
    Http1Client,
    Origin,
    OriginClosedError,
    OriginProtocolError,
    OriginTimeoutError,
    OriginUnreachableError,
)
from runtime.http2 import ErrorCode
from runtime.streams import HIGH_WATER, Headers

REQUEST: Headers = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":authority", b"a.example"),
    (b":path", b"/"),
]
POST: Headers = [(b":method", b"POST"), *REQUEST[1:]]
ORIGIN = Origin("127.0.0.1", 8000)
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Web(asyncio.Protocol):
    """An origin that says what it is told to. One object is one connection."""

    all: list[Web]

    def __init__(self, everyone: list[Web]) -> None:
        self.got = b""
        self.answers: list[bytes] = []
        self.lost = False
        everyone.append(self)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True

    def take(self) -> bytes:
        got, self.got = self.got, b""
        return got


async def settle() -> None:
    await asyncio.sleep(0.001)


def origin(loop: Any, where: Any = ("127.0.0.1", 8000)) -> list[Web]:
    everyone: list[Web] = []
    loop.doors[where] = lambda: Web(everyone)
    return everyone


@pytest.fixture
def ask(recorder: Any) -> Any:
    def asker(
        client: Http1Client, headers: Headers, *, end: bool = True, to: Origin = ORIGIN
    ) -> Any:
        user = recorder()
        user.stream = client.open(user, to)
        user.stream.send_headers(headers, end=end)
        return user

    return asker


def test_connections_are_kept_and_taken_again(run: Any, ask: Any) -> None:
    async def main(loop: Any) -> None:
        webs = origin(loop)
        client = Http1Client()
        for _ in range(3):
            user = ask(client, REQUEST)
            await settle()
            assert webs[0].take() == b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n"
            webs[0].transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            await settle()
            assert user.events == [("headers", b"200", False), "end"]
            assert user.body == b"hi"
        assert (len(webs), client.idle, client.connections) == (1, 1, 1)

    run(main)


def test_two_at_once_are_two_connections(run: Any, ask: Any) -> None:
    async def main(loop: Any) -> None:
        webs = origin(loop)
        client = Http1Client()
        ask(client, REQUEST)
        ask(client, REQUEST)
        await settle()
        assert len(webs) == 2
        assert str(client) == (
            "http/1.1 client 2 connections (0 idle, 0 dialling), 2 requests, 2 connections so far"
        )

    run(main)


def test_bodies_by_length_and_in_chunks(run: Any, ask: Any) -> None:
    async def main(loop: Any) -> None:
        webs = origin(loop)
        client = Http1Client()
        user = ask(client, [*POST, (b"content-length", b"5")], end=False)
        user.stream.send_data(b"hel")
        user.stream.send_data(b"lo", end=True)
        await settle()
        assert webs[0].take().endswith(b"content-length: 5\r\n\r\nhello")
        webs[0].transport.write(EMPTY)
        await settle()
        user = ask(client, POST, end=False)
        user.stream.send_data(b"hello")
        await settle()
        assert webs[0].take().endswith(b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        user.stream.send_data(b"y" * 20_000)
        user.stream.send_trailers([(b"x-sum", b"1")])
        await settle()
        assert webs[0].take() == b"4e20\r\n" + b"y" * 20_000 + b"\r\n0\r\nx-sum: 1\r\n\r\n"
        user = ask(client, POST)
        await settle()
        assert webs[1].take().endswith(b"content-length: 0\r\n\r\n")

    run(main)


def test_trailers_and_informational_answers_come_through(run: Any, ask: Any) -> None:
    async def main(loop: Any) -> None:
        webs = origin(loop)
        user = ask(Http1Client(), REQUEST)
        await settle()
        webs[0].transport.write(
            b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"
        )
        await settle()
        assert user.events == [
            ("headers", b"103", False),
            ("headers", b"200", False),
            ("trailers", [(b"x-sum", b"1")]),
        ]

    run(main)


def test_a_stale_connection_is_replaced_unseen(run: Any, ask: Any) -> None:
    async def main(loop: Any) -> None:
        webs = origin(loop)
        client = Http1Client()
        ask(client, REQUEST)
        await settle()
        webs[0].transport.write(EMPTY)
        await settle()
        user = ask(client, REQUEST)
        webs[0].transport.abort()  # while the request is on its way
        await settle()
        assert len(webs) == 2
        assert webs[1].got.startswith(b"GET / ")
        webs[1].transport.write(EMPTY)
        await settle()
        assert user.events == [("headers", b"200", True)]

    run(main)


@pytest.mark.parametrize("headers", [POST, [*POST, (b"content-length", b"1")]])
def test_what_may_not_be_repeated_is_lost_instead(run: Any, ask: Any, headers: Headers) -> None:
    async def main(loop: Any) -> None:
        webs = origin(loop)
        client = Http1Client()
        ask(client, REQUEST)
        await settle()
        webs[0].transport.write(EMPTY)
        await settle()
        user = ask(client, headers, end=headers is POST)
        webs[0].transport.abort()
        await settle()
        assert user.events == [("lost", ErrorCode.INTERNAL_ERROR)]
        assert isinstance(user.stream.reason, OriginClosedError)
        assert len(webs) == 1

    run(main)


def test_a_fresh_connection_that_ends_is_not_tried_again(run: Any, ask: Any) -> None:
    async def main(loop: Any) -> None:
        webs = origin(loop)
        user = ask(Http1Client(), REQUEST)
        await settle()
        webs[0].transport.close()
        await settle()
        assert user.events == [("lost", ErrorCode.INTERNAL_ERROR)]
        assert len(webs) == 1

    run(main)


def test_nobody_there(run: Any, ask: Any) -> None:
    async def main(loop: Any) -> None:
        user = ask(Http1Client(), REQUEST)
        assert user.events == []
        await settle()
        assert user.events == [("lost", ErrorCode.CONNECT_ERROR)]
        assert isinstance(user.stream.reason, OriginUnreachableError)
        assert str(user.stream.reason) == "http://127.0.0.1:8000: Connection refused"

    run(main)


def test_nobody_answers_the_dial(run: Any, ask: Any) -> None:
    async def main(loop: Any) -> None:
        origin(loop)
        loop.dial_delay = 100
        user = ask(Http1Client(connect_timeout_s=3), REQUEST)
        await asyncio.sleep(2.9)
        assert user.events == []
        await asyncio.sleep(0.2)
        assert user.events == [("lost", ErrorCode.CONNECT_ERROR)]
        assert isinstance(user.stream.reason, OriginTimeoutError)

    run(main)


def test_names_go_to_the_resolver_and_addresses_are_tried_in_order(run: Any, ask: Any) -> None:
    async def main(loop: Any) -> None:
        webs = origin(loop, ("10.0.0.2", 80))

        async def resolve(name: str) -> list[str]:
            assert name == "web.internal"
            return ["10.0.0.1", "10.0.0.2"]

        ask(Http1Client(resolve=resolve), REQUEST, to=Origin("web.internal", 80))
        await settle()
        assert webs[0].got
        user = ask(Http1Client(), REQUEST, to=Origin("web.internal", 80))
        await settle()
        assert isinstance(user.stream.reason, OriginUnreachableError)

    run(main)


def test_unix_sockets(run: Any, ask: Any) -> None:
    async def main(loop: Any) -> None:
        webs = origin(loop, "/run/web.sock")
        to = Origin(unix_path="/run/web.sock")
        user = ask(Http1Client(), REQUEST, to=to)
        await settle()
        webs[0].transport.write(EMPTY)
        await settle()
        assert user.events == [("headers", b"200", True)]
        assert str(to) == "unix:/run/web.sock"

    run(main)


def test_nonsense_is_said_to_be(run: Any, ask: Any) -> None:
    async def main(loop: Any) -> None:
        webs = origin(loop)
        user = ask(Http1Client(), REQUEST)
        await settle()
        webs[0].transport.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await settle()
        assert user.events == [("lost", ErrorCode.PROTOCOL_ERROR)]
        assert isinstance(user.stream.reason, OriginProtocolError)
        assert webs[0].lost

    run(main)


def test_an_origin_that_dies_half_way_is_noticed(run: Any, ask: Any) -> None:
    async def main(loop: Any) -> None:
        webs = origin(loop)
        user = ask(Http1Client(), REQUEST)
        await settle()
        webs[0].transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        webs[0].transport.close()
        await settle()
        assert user.body == b"half"
        assert user.events == [("headers", b"200", False), ("lost", ErrorCode.INTERNAL_ERROR)]

    run(main)


def test_an_answer_that_ends_with_its_connection(run: Any, ask: Any) -> None:
    async def main(loop: Any) -> None:
        webs = origin(loop)
        client = Http1Client()
        user = ask(client, REQUEST)
        await settle()
        webs[0].transport.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        webs[0].transport.close()
        await settle()
        assert user.body == b"all of it"
        assert user.events[-1] == "end"
        assert client.idle == 0

    run(main)


def test_a_reset_drops_the_connection(run: Any, ask: Any) -> None:
    async def main(loop: Any) -> None:
        webs = origin(loop)
        client = Http1Client()
        user = ask(client, REQUEST)
        await settle()
        webs[0].transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await settle()
        user.stream.reset(ErrorCode.CANCEL)
        await settle()
        assert webs[0].lost
        assert client.connections == 0
        assert user.events == [("headers", b"200", False)]
        dialling = ask(client, REQUEST)
        dialling.stream.reset(ErrorCode.CANCEL)
        await settle()
        assert len(webs) == 1
        assert dialling.events == []

    run(main)


def test_an_early_answer_ends_the_request(run: Any, ask: Any) -> None:
    async def main(loop: Any) -> None:
        webs = origin(loop)
        client = Http1Client()
        user = ask(client, [*POST, (b"content-length", b"1000")], end=False)
        user.stream.send_data(b"abc")
        await settle()
        webs[0].transport.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await settle()
        assert user.events == [("headers", b"413", True), ("lost", ErrorCode.NO_ERROR)]
        assert client.idle == 0

    run(main)


def test_upgrades_are_raw_both_ways(run: Any, ask: Any) -> None:
    async def main(loop: Any) -> None:
        webs = origin(loop)
        client = Http1Client()
        user = ask(client, [*REQUEST, (b"upgrade", b"websocket")], end=False)
        await settle()
        assert b"connection: upgrade\r\nupgrade: websocket" in webs[0].take()
        webs[0].transport.write(
            b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello"
        )
        await settle()
        assert user.events == [("headers", b"101", False)]
        user.stream.send_data(b"frames")
        await settle()
        assert webs[0].take() == b"frames"
        webs[0].transport.write_eof()
        await settle()
        assert user.events[-1] == "end"
        user.stream.send_data(b"bye", end=True)
        await settle()
        assert webs[0].take() == b"bye"
        assert client.connections == 0

    run(main)


def test_a_refused_upgrade_is_an_answer(run: Any, ask: Any) -> None:
    async def main(loop: Any) -> None:
        webs = origin(loop)
        client = Http1Client()
        user = ask(client, [*REQUEST, (b"upgrade", b"websocket")], end=False)
        await settle()
        webs[0].transport.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await settle()
        assert user.events[:2] == [("headers", b"403", False), "end"]
        assert user.body == b"no"
        user.stream.send_data(b"", end=True)
        await settle()
        assert client.connections == 0

    run(main)


def test_backpressure_both_ways(run: Any, ask: Any, recorder: Any) -> None:
    async def main(loop: Any) -> None:
        webs = origin(loop)
        loop.dial_delay = 1.0
        user = ask(Http1Client(), POST, end=False)
        user.stingy = True
        user.stream.send_data(b"x" * (HIGH_WATER + 1))
        assert user.stream.backlog > HIGH_WATER
        await asyncio.sleep(1.1)
        assert user.events == ["drained"]
        webs[0].transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n")
        for _ in range(50):
            webs[0].transport.write(b"y" * 100_000)
        await settle()
        assert len(user.body) < HIGH_WATER + 200_000
        while len(user.body) < 5_000_000:
            before = len(user.body)
            user.pay()
            await settle()
            assert len(user.body) > before

    run(main)


def test_idle_connections_grow_old(run: Any, ask: Any) -> None:
    async def main(loop: Any) -> None:
        webs = origin(loop)
        client = Http1Client(keep_alive_s=90, max_idle=2)
        for _ in range(3):
            ask(client, REQUEST)
        await settle()
        for web in webs:
            web.transport.write(EMPTY)
        await settle()
        assert client.idle == 2
        await asyncio.sleep(60)
        ask(client, REQUEST)
        await settle()
        webs[1].transport.write(EMPTY)
        await asyncio.sleep(31)
        assert client.idle == 1
        await asyncio.sleep(60)
        assert client.idle == 0
        assert client.connections == 0

    run(main)


def test_closing_loses_what_runs(run: Any, ask: Any) -> None:
    async def main(loop: Any) -> None:
        webs = origin(loop)
        client = Http1Client()
        running = ask(client, REQUEST)
        await settle()
        loop.dial_delay = 10
        dialling = ask(client, REQUEST)
        await settle()
        client.close()
        await settle()
        assert running.events == [("lost", ErrorCode.INTERNAL_ERROR)]
        assert dialling.events == [("lost", ErrorCode.CONNECT_ERROR)]
        late = ask(client, REQUEST)
        await settle()
        assert late.events == [("lost", ErrorCode.CONNECT_ERROR)]
        assert len(webs) == 1

    run(main)


@pytest.mark.parametrize("body", [b"short", b"far too long"])
def test_a_body_of_another_length_than_said_is_not_sent_on(run: Any, ask: Any, body: bytes) -> None:
    async def main(loop: Any) -> None:
        webs = origin(loop)
        user = ask(Http1Client(), [*POST, (b"content-length", b"7")], end=False)
        await settle()
        user.stream.send_data(body, end=True)
        await settle()
        assert user.events == [("lost", ErrorCode.PROTOCOL_ERROR)]
        assert webs[0].lost

    run(main)

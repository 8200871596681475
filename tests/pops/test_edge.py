"""From a visitor's request to an origin's answer, over real sockets and TLS on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from typing import Any

import pytest

LINE = [("A", "B", 1.0), ("B", "C", 1.0)]
# Declared RTTs far above what this machine adds to a last leg.
TRIANGLE = [("A", "B", 1.0), ("B", "C", 1.0), ("A", "C", 5.0)]
MEGABYTE = 1024 * 1024


def told(answer: Any) -> dict[str, str]:
    """The header fields that the origin saw."""
    return dict(json.loads(answer.body)["headers"])


def test_one_pop(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A")
        await world.connector("A")
        visitor = await world.visitor("A")
        answer = await visitor.fetch("/x?y=1", headers=[("user-agent", "u")])
        assert answer.status == 200
        assert answer.get("content-type") == "application/json"
        assert answer.get("cf-ray").endswith("-A")
        assert answer.get("popnet-path") == "A"
        assert answer.get("popnet-connection") == "c0"
        assert answer.get("server-timing").startswith("A;dur=")
        seen = told(answer)
        assert seen[":path"] == "/x?y=1"
        assert seen["cf-connecting-ip"] == "127.0.0.1"
        assert seen["cf-ray"] == answer.get("cf-ray")
        assert not any(name.startswith("popnet-") for name in seen)

    edge(scenario)


def test_a_relay_that_beats_the_direct_way(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("ABC", TRIANGLE)
        await world.connector("C")
        await world.way("ABC")
        visitor = await world.visitor("A")
        answer = await visitor.fetch()
        assert answer.status == 200
        assert answer.get("popnet-path") == "A>B>C"
        names = [part.split(";")[0].strip() for part in answer.get("server-timing").split(",")]
        assert names == ["A", "B", "C"]
        durations = [
            float(part.split("dur=")[1].split(";")[0])
            for part in answer.get("server-timing").split(",")
        ]
        assert durations == sorted(durations, reverse=True)
        for private in ("popnet-timing", "popnet-exit", "popnet-route"):
            assert answer.get(private) == ""
        assert not any(name.startswith("popnet-") for name in told(answer))
        stats = [world.pops[name].proxy.stats.requests for name in "ABC"]
        assert stats == [
            {("ingress", b"200"): 1},
            {("relay", b"200"): 1},
            {("egress", b"200"): 1},
        ]

    edge(scenario)


def test_links_that_change_change_the_way_at_once(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("ABC", TRIANGLE)
        await world.connector("C")
        await world.way("ABC")
        visitor = await world.visitor("A")
        assert (await visitor.fetch()).get("popnet-path") == "A>B>C"
        world.told["A", "B"] = 9.0
        world.pops["A"].link_state.touch()
        await world.way("AC")
        assert (await visitor.fetch()).get("popnet-path") == "A>C"

    edge(scenario)


def test_a_sparse_mesh_passes_the_word_on(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("ABC", LINE)
        await world.connector("C")
        await world.way("ABC")
        visitor = await world.visitor("A")
        assert (await visitor.fetch()).get("popnet-path") == "A>B>C"

    edge(scenario)


@pytest.mark.parametrize("engine", ["ngh2", "h2"])
def test_large_bodies_both_ways_arrive_whole(edge: Any, engine: str) -> None:
    body = random.Random(7).randbytes((8 if engine == "ngh2" else 2) * MEGABYTE)

    async def scenario(world: Any) -> None:
        async def echo(request: Any) -> None:
            request.stream.send_headers(world.reply(200, [(b"content-type", b"x/y")]))
            seen = hashlib.sha256()
            while data := await request.more():
                seen.update(data)
                await request.send(data)
            digest = seen.hexdigest().encode()
            request.stream.send_trailers([(b"x-sha256", digest)])

        await world.start("AB", [("A", "B", 0.01)], engine=engine)
        await world.connector("B", echo)
        visitor = await world.visitor("A")
        exchange = visitor.start(method="POST", end=False)
        await exchange.send(body, end=True)
        answer = await exchange.whole()
        assert answer.reset is None
        digest = hashlib.sha256(body).hexdigest()
        assert hashlib.sha256(answer.body).hexdigest() == digest
        assert answer.trailers == [(b"x-sha256", digest.encode())]

    edge(scenario)


def test_what_an_origin_sends_piece_by_piece_arrives_piece_by_piece(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        next_event = asyncio.Event()

        async def events(request: Any) -> None:
            request.stream.send_headers(world.reply(200, [(b"content-type", b"text/event-stream")]))
            for number in range(3):
                request.stream.send_data(b"data: %d\n\n" % number)
                await next_event.wait()
                next_event.clear()
            request.stream.send_data(b"", end=True)

        await world.start("AB", [("A", "B", 0.01)])
        await world.connector("B", events)
        visitor = await world.visitor("A")
        exchange = visitor.start("/sse")
        for number in range(3):
            # The next one is not sent before this one was seen.
            assert (await exchange.received(9 * (number + 1))).endswith(b"data: %d\n\n" % number)
            next_event.set()
        assert (await exchange.whole()).reset is None

    edge(scenario)


def test_trailers_pass_both_ways_for_grpc(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        async def service(request: Any) -> None:
            message = await request.whole()
            assert message.trailers == [(b"x-sum", b"1")]
            assert message.get("te") == "trailers"
            request.stream.send_headers(world.reply(200, [(b"content-type", b"application/grpc")]))
            request.stream.send_data(b"\0\0\0\0\0")
            request.stream.send_trailers([(b"grpc-status", b"0"), (b"grpc-message", b"fine")])

        await world.start("AB", [("A", "B", 0.01)])
        await world.connector("B", service)
        visitor = await world.visitor("A")
        exchange = visitor.start(
            "/pkg.Service/Call",
            method="POST",
            headers=[("te", "trailers"), ("content-type", "application/grpc")],
            end=False,
        )
        exchange.stream.send_data(b"\0\0\0\0\0")
        exchange.stream.send_trailers([(b"x-sum", b"1")])
        answer = await exchange.whole()
        assert dict(answer.trailers) == {b"grpc-status": b"0", b"grpc-message": b"fine"}

    edge(scenario)


def test_a_websocket_for_an_http1_visitor(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        async def echo(request: Any) -> None:
            message = request.message
            assert message.get("cf-cloudflared-proxy-connection-upgrade") == "websocket"
            assert message.get("sec-websocket-key") == "dGhlIHNhbXBsZSBub25jZQ=="
            accept = [
                (b"Sec-Websocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
                (b"Connection", b"Upgrade"),
                (b"Upgrade", b"websocket"),
            ]
            request.stream.send_headers(world.reply(200, accept))
            request.stream.send_data(await request.received(4))
            await request.whole()
            request.stream.send_data(b"bye", end=True)

        await world.start("AB", [("A", "B", 0.01)])
        await world.connector("B", echo)
        reader, writer = await asyncio.open_connection(world.address("A"), world.http)
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: app.example.com\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"upgrade: websocket\r\n" in head.lower()
        assert b": s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        writer.write_eof()
        assert await reader.read() == b"bye"
        writer.close()
        await writer.wait_closed()

    edge(scenario)


def test_a_websocket_for_an_h2_visitor(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        async def echo(request: Any) -> None:
            assert request.message.get(":method") == "GET"
            assert len(request.message.get("sec-websocket-key")) == 24
            request.stream.send_headers(world.reply(200, [(b"Sec-Websocket-Accept", b"k")]))
            while data := await request.more():
                await request.send(data)
            request.stream.send_data(b"", end=True)

        await world.start("AB", [("A", "B", 0.01)])
        await world.connector("B", echo)
        visitor = await world.visitor("A")
        await world.until(lambda: visitor.http2.ready)
        exchange = visitor.start(
            "/ws", method="CONNECT", pseudo=[(b":protocol", b"websocket")], end=False
        )
        head = await exchange.head()
        assert (head.status, head.get("sec-websocket-accept")) == (200, "")
        exchange.stream.send_data(b"ping")
        assert await exchange.received(4) == b"ping"
        exchange.stream.send_data(b"", end=True)
        assert (await exchange.whole()).reset is None

    edge(scenario)


def test_a_refused_websocket_is_an_ordinary_answer(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        async def refuse(request: Any) -> None:
            request.stream.send_headers(world.reply(403, [(b"content-length", b"2")]))
            request.stream.send_data(b"no", end=True)

        await world.start("A")
        await world.connector("A", refuse)
        answer = await world.plain(
            "A",
            b"GET /ws HTTP/1.1\r\nHost: app.example.com\r\nConnection: Upgrade, close\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
        )
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert answer.endswith(b"\r\n\r\nno")

    edge(scenario)


def test_plain_http1(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A")
        await world.connector("A")
        answer = await world.plain(
            "A",
            b"POST /p HTTP/1.1\r\nHost: app.example.com\r\nConnection: close\r\n"
            b"X-Forwarded-For: 6.6.6.6\r\nContent-Length: 5\r\n\r\nhello",
        )
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        seen = json.loads(body)
        assert seen["size"] == 5
        fields = dict(seen["headers"])
        assert (fields["x-forwarded-proto"], fields["x-forwarded-for"]) == ("http", "127.0.0.1")

    edge(scenario)


def test_head_has_no_body(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        async def head(request: Any) -> None:
            request.stream.send_headers(world.reply(200, [(b"content-length", b"5")]), end=True)

        await world.start("A")
        await world.connector("A", head)
        visitor = await world.visitor("A")
        answer = await visitor.fetch(method="HEAD")
        assert (answer.status, answer.get("content-length"), answer.body) == (200, "5", b"")

    edge(scenario)


def test_expect_continue_over_h2(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A")
        await world.connector("A")
        visitor = await world.visitor("A")
        exchange = visitor.start(
            method="POST", headers=[("expect", "100-continue"), ("content-length", "4")], end=False
        )
        await world.until(lambda: exchange.message.informational)
        assert exchange.message.informational == [[(b":status", b"100")]]
        exchange.stream.send_data(b"body", end=True)
        answer = await exchange.whole()
        assert json.loads(answer.body)["size"] == 4
        assert "expect" not in told(answer)

    edge(scenario)


def test_a_stalled_reader_stalls_its_origin_and_nobody_else(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        async def flood(request: Any) -> None:
            request.stream.send_headers(world.reply(200))
            if request.message.get(":path") == "/quick":
                request.stream.send_data(b"here", end=True)
                return
            await request.send(bytes(64 * MEGABYTE), end=True)

        await world.start("AB", [("A", "B", 0.01)])
        connector = await world.connector("B", flood)
        visitor = await world.visitor("A")
        stalled = [visitor.start("/flood", eager=False) for _ in range(8)]
        for exchange in stalled:
            await exchange.received(1)
        other = await world.visitor("A")
        assert (await other.fetch("/quick")).body == b"here"
        assert (await visitor.fetch("/quick")).body == b"here"
        for exchange in stalled:
            # What a stalled stream may hold: windows and queues on its way, not the file.
            assert exchange.size < 4 * MEGABYTE
        for exchange in stalled:
            exchange.stream.reset(8)
        await world.until(lambda: connector.http2.streams == 1)

    edge(scenario)


def test_many_visitors_at_once(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("AB", [("A", "B", 0.01)])
        await world.connector("B")
        visitors = [await world.visitor("A") for _ in range(4)]
        answers = await asyncio.gather(
            *(visitor.fetch(f"/{n}") for n in range(50) for visitor in visitors)
        )
        assert {answer.status for answer in answers} == {200}
        assert len({answer.get("cf-ray") for answer in answers}) == 200
        assert not world.pops["A"].proxy.exchanges
        assert not world.pops["B"].proxy.exchanges

    edge(scenario)


def test_requests_spread_over_equal_connections(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        release = asyncio.Event()

        async def wait(request: Any) -> None:
            await release.wait()
            request.stream.send_headers(world.reply(200), end=True)

        await world.start("A")
        first = await world.connector("A", wait, index=0)
        second = await world.connector("A", wait, index=1, client=first.client)
        # Equally near, whatever the pings of this machine say.
        for connection in world.pops["A"].registry:
            connection.rtt_s = 0.001
        visitor = await world.visitor("A")
        exchanges = [visitor.start() for _ in range(10)]
        await world.until(lambda: len(first.requests) + len(second.requests) == 10)
        assert (len(first.requests), len(second.requests)) == (5, 5)
        release.set()
        for exchange in exchanges:
            assert (await exchange.whole()).status == 200

    edge(scenario)

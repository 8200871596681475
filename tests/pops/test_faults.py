"""What breaks, and what the visitor is told; after each fault the rest still answers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

PAIR = [("A", "B", 0.01)]
# Declared RTTs far above what this machine adds to a last leg.
TRIANGLE = [("A", "B", 1.0), ("B", "C", 1.0), ("A", "C", 5.0)]
QUICK = {"response_head": 0.2, "reconnect_first": 0.01, "reconnect_most": 0.05}
JSON = [("accept", "application/json")]


def told(answer: Any) -> dict[str, Any]:
    assert answer.get("content-type") == "application/json"
    page: dict[str, Any] = json.loads(answer.body)
    assert page["status"] == answer.status
    assert answer.get("cf-ray") == page["ray"]
    assert answer.get("server-timing")
    return page


def test_unknown_hosts(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A")
        visitor = await world.visitor("A")
        answer = await visitor.fetch(host="nope.example.com", headers=JSON)
        assert (answer.status, told(answer)["error"]) == (421, "misdirected")
        plain = await world.plain(
            "A", b"GET / HTTP/1.1\r\nHost: nope.example.com\r\nConnection: close\r\n\r\n"
        )
        assert plain.startswith(b"HTTP/1.1 404 ")
        assert b"<title>404 No such site here</title>" in plain
        fronted = await world.visitor("A", sni="nope.example.com")
        assert (await fronted.fetch()).status == 421

    edge(scenario)


def test_no_tunnel_and_then_one(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("AB", PAIR)
        visitor = await world.visitor("A")
        answer = await visitor.fetch(headers=JSON)
        page = told(answer)
        assert (page["status"], page["number"], page["failed"]) == (530, 1033, "tunnel")
        connector = await world.connector("B")
        assert (await visitor.fetch()).status == 200
        connector.close()
        await world.until(lambda: not world.pops["A"].routes(world.tunnel))
        assert (await visitor.fetch()).status == 530

    edge(scenario)


def test_an_origin_that_is_down(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        async def down(request: Any) -> None:
            request.stream.send_headers(
                world.reply(502, src="cloudflared", popnet_reason="connection refused"), end=True
            )

        await world.start("AB", PAIR)
        connector = await world.connector("B", down)
        visitor = await world.visitor("A")
        page = told(await visitor.fetch(headers=JSON))
        assert page["status"] == 502
        assert (page["error"], page["failed"], page["pop"]) == ("origin", "origin", "B")
        assert (page["detail"], page["path"]) == ("connection refused", "A>B")
        # One try is enough: the service would be down for the others too.
        assert len(connector.requests) == 1

    edge(scenario)


def test_a_connector_that_gives_up_before_the_head(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        async def give_up(request: Any) -> None:
            request.stream.reset(2)

        await world.start("AB", PAIR)
        await world.connector("B", give_up)
        visitor = await world.visitor("A")
        page = told(await visitor.fetch(headers=JSON))
        assert (page["status"], page["error"]) == (502, "origin")
        assert "INTERNAL_ERROR" in page["detail"]

    edge(scenario)


def test_an_origin_that_dies_half_way(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        seen = asyncio.Event()

        async def die(request: Any) -> None:
            request.stream.send_headers(world.reply(200, [(b"content-length", b"1000")]))
            request.stream.send_data(b"half")
            await seen.wait()
            seen.clear()
            request.stream.reset(2)

        await world.start("AB", PAIR)
        await world.connector("B", die)
        visitor = await world.visitor("A")
        exchange = visitor.start()
        assert await exchange.received(4) == b"half"
        seen.set()
        answer = await exchange.whole()
        assert answer.reset is not None
        # An HTTP/1.1 visitor must not take the half for the whole either.
        reader, writer = await asyncio.open_connection(world.address("A"), world.http)
        writer.write(b"GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 1000" in head.lower()
        assert await reader.readexactly(4) == b"half"
        seen.set()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(996)
        writer.close()

    edge(scenario)


def test_a_connector_that_talks_nonsense(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        async def nonsense(request: Any) -> None:
            request.stream.send_headers(
                [(b":status", b"200"), (b"cf-cloudflared-response-headers", b"!!")], end=True
            )

        await world.start("AB", PAIR)
        await world.connector("B", nonsense)
        visitor = await world.visitor("A")
        page = told(await visitor.fetch(headers=JSON))
        assert (page["status"], page["error"]) == (502, "tunnel-protocol")

    edge(scenario)


@pytest.mark.parametrize("at", ["A", "B"])
def test_an_origin_that_never_answers(edge: Any, at: str) -> None:
    async def scenario(world: Any) -> None:
        async def never(request: Any) -> None:
            await request.whole()

        await world.start("AB", PAIR, timeouts=QUICK)
        connector = await world.connector(at, never)
        visitor = await world.visitor("A")
        page = told(await visitor.fetch(headers=JSON))
        # The PoP that knows most says so: the one at the tunnel.
        assert (page["status"], page["error"], page["pop"]) == (504, "timeout", at)
        # And the connector is told that nobody waits any more.
        await world.until(lambda: connector.requests[0].message.reset is not None)

    edge(scenario)


def test_a_visitor_that_leaves_takes_its_request_along(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        async def wait(request: Any) -> None:
            await request.whole()

        await world.start("ABC", TRIANGLE)
        connector = await world.connector("C", wait)
        visitor = await world.visitor("A")
        exchange = visitor.start(method="POST", end=False)
        await world.until(lambda: connector.requests)
        exchange.stream.reset(8)
        assert (await connector.requests[0].whole()).reset == 8
        assert not any(pop.proxy.exchanges for pop in world.pops.values())

    edge(scenario)


def test_a_body_that_is_too_large(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        async def swallow(request: Any) -> None:
            await request.whole()

        limits = {"body_bytes": 100_000}
        await world.start("A", limits=limits, timeouts={"idle": 0.2})
        await world.connector("A", swallow)
        visitor = await world.visitor("A")
        length = [("content-length", "100001"), *JSON]
        page = told(await visitor.fetch(method="POST", headers=length, end=False))
        assert (page["status"], page["error"]) == (413, "body-too-large")
        # Without a declared length it is noticed while it comes.
        exchange = visitor.start(method="POST", headers=JSON, end=False)
        await exchange.send(bytes(200_000))
        assert told(await exchange.whole())["status"] == 413

    edge(scenario)


def test_headers_that_are_too_large(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A", limits={"header_bytes": 8000})
        await world.connector("A")
        visitor = await world.visitor("A")
        page = told(await visitor.fetch(headers=[("x-long", "a" * 8000), *JSON]))
        assert (page["status"], page["error"]) == (431, "headers-too-large")
        for size in (8_000, 40_000):
            plain = await world.plain(
                "A",
                b"GET / HTTP/1.1\r\nHost: app.example.com\r\nConnection: close\r\n"
                b"X-Long: " + b"a" * size + b"\r\n\r\n",
            )
            assert plain.startswith(b"HTTP/1.1 431 ")
        assert (await visitor.fetch()).status == 200

    edge(scenario)


def test_a_request_that_passed_here_too_often(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A")
        visitor = await world.visitor("A")
        loop = ", ".join(["popnet"] * 8)
        assert (await visitor.fetch(headers=[("cdn-loop", loop)])).status == 508

    edge(scenario)


def test_a_dead_egress_is_left_out_at_once(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        release = asyncio.Event()

        async def slow(request: Any) -> None:
            if request.message.get(":path") == "/wait":
                await release.wait()
            request.stream.send_headers(world.reply(200), end=True)

        await world.start("ABC", TRIANGLE)
        first = await world.connector("B", slow)
        await world.connector("C", slow, index=1, client=first.client)
        await world.until(lambda: len(world.pops["A"].lsdb.exits()[world.tunnel]) == 2)
        await world.agreement()
        await world.way("AB")
        visitor = await world.visitor("A")
        assert (await visitor.fetch()).get("popnet-path") == "A>B"
        got, posted = visitor.start("/wait"), visitor.start("/wait", method="POST")
        await world.until(lambda: len(first.requests) == 3)
        await world.kill("B")
        release.set()
        # What may be sent twice is sent again by the other way; what may not is told so.
        answer = await got.whole()
        assert (answer.status, answer.get("popnet-path")) == (200, "A>C")
        assert (await posted.whole()).status == 502
        assert (await visitor.fetch(method="POST")).get("popnet-path") == "A>C"
        assert world.pops["A"].lsdb.reachable() == ("A", "C")

    edge(scenario)


def test_a_pop_that_comes_back_is_used_again(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        quick = {"reconnect_first": 0.01, "reconnect_most": 0.05}
        await world.start("ABC", TRIANGLE, timeouts=quick)
        await world.connector("C")
        await world.way("ABC")
        visitor = await world.visitor("A")
        assert (await visitor.fetch()).get("popnet-path") == "A>B>C"
        await world.kill("B")
        assert (await visitor.fetch()).get("popnet-path") == "A>C"
        back = await world.start_one(world.config("B", "ABC", TRIANGLE, timeouts=quick))
        await world.until(lambda: len(back.overlay.up()) == 2)
        # A remembers what B said before it died, until it has heard the newest of B.
        await world.agreement()
        await world.way("ABC")
        assert (await visitor.fetch()).get("popnet-path") == "A>B>C"

    edge(scenario)


def test_a_way_that_is_lost_meanwhile_is_told_with_its_hop(edge: Any) -> None:
    """A relay that has lost its next hop says so, and the ingress PoP takes the next path."""

    async def scenario(world: Any) -> None:
        await world.start("ABC", TRIANGLE)
        await world.connector("C")
        await world.way("ABC")
        visitor = await world.visitor("A")
        links = world.pops["B"].overlay.neighbors["C"].connections
        for http2 in list(links.values()):
            http2.abort()
        await world.until(lambda: not world.pops["B"].overlay.neighbors["C"].up)
        answer = await visitor.fetch(method="POST")
        assert (answer.status, answer.get("popnet-path")) == (200, "A>C")

    edge(scenario)


def test_a_stream_without_a_byte_is_given_up(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        async def silent(request: Any) -> None:
            request.stream.send_headers(world.reply(200))
            await request.whole()

        await world.start("AB", PAIR, timeouts={"idle": 0.2})
        connector = await world.connector("B", silent)
        visitor = await world.visitor("A")
        assert (await visitor.fetch()).reset is not None
        await world.until(lambda: connector.requests[0].message.reset is not None)

    edge(scenario)


@pytest.mark.parametrize("at", ["A", "B"])
def test_a_connection_that_dies_leaves_its_requests_to_its_twin(edge: Any, at: str) -> None:
    async def scenario(world: Any) -> None:
        gone = asyncio.Event()

        async def slow(request: Any) -> None:
            await gone.wait()
            request.stream.send_headers(world.reply(200), end=True)

        await world.start("AB", PAIR)
        first = await world.connector(at, slow)
        second = await world.connector(at, slow, index=1, client=first.client)
        await world.until(lambda: len(world.pops["A"].lsdb.exits()[world.tunnel]) == 2)
        await world.agreement()
        visitor = await world.visitor("A")
        exchange = visitor.start()
        await world.until(lambda: first.requests or second.requests)
        used, twin = (first, second) if first.requests else (second, first)
        used.http2.abort()
        await world.until(lambda: twin.requests)
        gone.set()
        answer = await exchange.whole()
        assert (answer.status, answer.get("popnet-connection")) == (200, f"c{twin.index}")

    edge(scenario)

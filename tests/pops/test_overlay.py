"""Between PoPs: who may speak, and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pops.drivers.flooding import DIGEST_PATH, LSAS_PATH
from runtime.http2 import Http2Connection
from runtime.tls import overlay_context
from wire.overlay import FAULT, ROUTE, FaultCode, SourceRoute, parse_fault

PAIR = [("A", "B", 0.01)]
TUNNEL = "11111111-2222-4333-8444-555555555555"
ROUTE_AB = SourceRoute(("A", "B"), 1, 7, TUNNEL, "c.0")


class Rogue:
    """A PoP that says what it wants."""

    def __init__(self, world: Any, exchange: Any) -> None:
        self.world = world
        self.exchange = exchange
        self.http2 = Http2Connection("client")

    async def dial(self, name: str, target: str = "B") -> None:
        pki = self.world.pki
        context = overlay_context(pki / f"overlay-{name}.pem", pki / "ca.pem", "client")
        await asyncio.get_running_loop().create_connection(
            lambda: self.http2,
            self.world.address(target),
            self.world.overlay,
            ssl=context,
            server_hostname=target,
        )

    async def ask(self, route: bytes, *more: tuple[bytes, bytes]) -> Any:
        exchange = self.exchange()
        exchange.stream = self.http2.open(exchange)
        fields = [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"app.example.com"),
            (b":path", b"/"),
            *more,
        ]
        if route:
            fields.append((ROUTE, route))
        exchange.stream.send_headers(fields, end=True)
        return await exchange.whole()

    async def fault(self, route: bytes) -> FaultCode:
        answer = await self.ask(route)
        return parse_fault(dict(answer.headers)[FAULT]).code


@pytest.mark.parametrize(
    ("name", "route", "expected"),
    [
        ("A", ROUTE_AB.encode(), FaultCode.NO_TUNNEL),
        ("D", ROUTE_AB.encode(), FaultCode.ROUTE),
        ("A", b"", FaultCode.ROUTE),
        ("A", b"1;1;7;A>C;x", FaultCode.ROUTE),
        ("A", ROUTE_AB.encode().replace(b"A>B", b"A>B>A"), FaultCode.LOOP),
        ("A", ROUTE_AB.encode().replace(b"A>B", b"A>B>C"), FaultCode.ROUTE),
        ("A", ROUTE_AB.encode().replace(b"1;7;A>B", b"1;0;A>B>C"), FaultCode.ROUTE),
    ],
)
def test_routes_that_cannot_be_followed(
    edge: Any, exchange: Any, name: str, route: bytes, expected: FaultCode
) -> None:
    async def scenario(world: Any) -> None:
        await world.start_one(world.config("B", "AB", PAIR, timeouts={"first_try": 0.0}))
        await world.until(lambda: world.pops["B"].ready)
        rogue = Rogue(world, exchange)
        await rogue.dial(name)
        assert await rogue.fault(route) is expected
        rogue.http2.close()

    edge(scenario)


def test_a_route_over_a_neighbor_with_no_hops_left(edge: Any, exchange: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("BC", [("B", "C", 0.01)])
        rogue = Rogue(world, exchange)
        await rogue.dial("A")
        route = SourceRoute(("A", "B", "C"), 1, 0, TUNNEL, "c.0")
        assert await rogue.fault(route.encode()) is FaultCode.LOOP
        rogue.http2.close()

    edge(scenario)


@pytest.mark.parametrize(
    ("path", "body"),
    [(LSAS_PATH, b"{}"), (LSAS_PATH, b'[{"origin":"A","seq":0}]'), (DIGEST_PATH, b"[]")],
)
def test_nonsense_instead_of_link_state(edge: Any, exchange: Any, path: bytes, body: bytes) -> None:
    async def scenario(world: Any) -> None:
        await world.start("AB", PAIR)
        rogue = Rogue(world, exchange)
        await rogue.dial("A")
        post = exchange()
        post.stream = rogue.http2.open(post)
        post.stream.send_headers(
            [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"x"), (b":path", path)]
        )
        post.stream.send_data(body, end=True)
        assert (await post.whole()).status == 400
        rogue.http2.close()
        assert world.pops["B"].lsdb.reachable() == ("B", "A")

    edge(scenario)


def test_a_pop_with_anothers_name_is_not_talked_to(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        quick = {"reconnect_first": 0.01, "reconnect_most": 0.02, "first_try": 5.0}
        forged = {
            "port": world.overlay,
            "certificate": world.pki / "overlay-D.pem",
            "ca": world.pki / "ca.pem",
        }
        await world.start_one(world.config("B", "AB", PAIR, overlay=forged, timeouts=quick))
        await world.start_one(world.config("A", "AB", PAIR, timeouts=quick))
        await world.until(lambda: world.pops["A"].ready)
        neighbor = world.pops["A"].overlay.neighbors["B"]
        assert not neighbor.up
        assert "certificate" in (neighbor.error or "")

    edge(scenario)

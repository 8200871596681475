"""The system resolver against a name server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

import pytest

from runtime.errors import ResolveError
from runtime.resolver import Resolver, SystemResolver, literal
from wire.dns import Record, Transport, Zone, Zones, respond
from wire.srv import SrvRecord

T = TypeVar("T")

ZONES = Zones(
    [
        Zone(
            "example.net",
            (
                Record("_t._tcp.example.net", "SRV", "1 5 7844 One.example.net."),
                Record("_t._tcp.example.net", "SRV", "2 0 7845 two.example.net."),
                Record("_alias._tcp.example.net", "CNAME", "_t._tcp.example.net."),
                Record("one.example.net", "A", "198.18.1.1"),
                Record("one.example.net", "A", "198.18.1.2"),
                Record("two.example.net", "AAAA", "2001:db8::1"),
                Record("text.example.net", "TXT", '"x"'),
            ),
        )
    ]
)


class NameServer(asyncio.DatagramProtocol):
    def __init__(self, *, silent: bool = False) -> None:
        self.asked = 0
        self._silent = silent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The selector loop's transport is a DatagramTransport by shape only.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked += 1
        answer = None if self._silent else respond(data, ZONES, Transport.UDP)
        if answer is not None:
            self._transport.sendto(answer, addr)


def with_resolver(
    body: Callable[[Resolver, NameServer], Awaitable[T]], *, silent: bool = False
) -> T:
    async def run() -> T:
        loop = asyncio.get_running_loop()
        transport, server = await loop.create_datagram_endpoint(
            lambda: NameServer(silent=silent), local_addr=("127.0.0.1", 0)
        )
        port = transport.get_extra_info("sockname")[1]
        resolver = SystemResolver(servers=[f"127.0.0.1:{port}"], timeout_s=0.1, tries=1)
        try:
            return await body(resolver, server)
        finally:
            await resolver.close()
            transport.close()

    return asyncio.run(run())


@pytest.mark.parametrize("name", ["_t._tcp.example.net", "_alias._tcp.example.net"])
def test_srv(name: str) -> None:
    records = with_resolver(lambda resolver, _: resolver.srv(name))
    assert sorted(records) == [
        SrvRecord(1, 5, 7844, "one.example.net"),
        SrvRecord(2, 0, 7845, "two.example.net"),
    ]


def test_addresses() -> None:
    async def body(resolver: Resolver, server: NameServer) -> None:
        assert sorted(await resolver.addresses("one.example.net")) == ["198.18.1.1", "198.18.1.2"]
        assert await resolver.addresses("two.example.net") == ["2001:db8::1"]
        asked = server.asked
        assert await resolver.addresses("192.0.2.7") == ["192.0.2.7"]
        assert await resolver.addresses("localhost") == ["127.0.0.1", "::1"]
        assert server.asked == asked

    with_resolver(body)


@pytest.mark.parametrize(
    "name", ["nothing.example.net", "text.example.net", "a..b", "x" * 300, "elsewhere.test"]
)
def test_names_without_an_answer(name: str) -> None:
    async def body(resolver: Resolver, _: NameServer) -> None:
        for look_up in (resolver.srv, resolver.addresses):
            with pytest.raises(ResolveError) as caught:
                await look_up(name)
            assert caught.value.name == name

    with_resolver(body)


def test_a_name_that_does_not_exist_is_told_from_a_server_that_does_not_answer() -> None:
    async def body(resolver: Resolver, _: NameServer) -> bool:
        with pytest.raises(ResolveError) as caught:
            await resolver.srv("nothing.example.net")
        return caught.value.missing

    assert with_resolver(body)
    assert not with_resolver(body, silent=True)


def test_literals() -> None:
    assert literal("[::1]") == ["::1"]
    assert literal("a.localhost.") == ["127.0.0.1", "::1"]
    assert literal("example.net") is None

"""Addresses, routes and rules are the fabric's; loopback, Unix sockets and datagrams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.wan.virtual.conftest import Rig

ANYCAST = "198.18.0.1"


def named(name: str) -> Callable[..., Any]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name.encode())
        writer.close()

    return serve


async def ask(address: str, port: int = 80) -> str:
    reader, writer = await asyncio.open_connection(address, port)
    answer = await reader.read()
    writer.close()
    return answer.decode()


def test_anycast_brings_everyone_to_the_nearest(rig: Rig) -> None:
    for pop in "AB":
        rig.serve(pop, named(pop), host=ANYCAST)
    assert rig.run("v", ask(ANYCAST)) == "A"
    assert rig.run("w", ask(ANYCAST)) == "B"


def test_a_catchment_that_moves_resets_what_was_connected(rig: Rig) -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    for pop in "AB":
        rig.serve(pop, hold, host=ANYCAST)

    async def client() -> None:
        reader, writer = await asyncio.open_connection(ANYCAST, 80)
        rig.fabric.announce("A", False, rig.loop.now)
        rig.fabric.settle(rig.loop.now + 3)
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await reader.read()

    rig.run("v", client())


def test_a_private_node_is_reached_by_nobody_and_reaches_all(rig: Rig) -> None:
    rig.serve("s", named("s"))
    rig.serve("A", named("A"))
    assert rig.run("s", ask(rig.address("A"))) == "A"

    async def stranger() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(20):
                await ask(rig.address("s"))

    rig.run("v", stranger())
    assert rig.fabric.link("v", "s").drops["unsolicited"] >= 1


def test_a_partition_lets_nothing_through_until_it_heals(rig: Rig) -> None:
    rig.serve("A", named("A"))
    rig.fabric.partition([["A"], ["v"]], 0.0)

    async def client() -> float:
        rig.loop.call_later(2.5, lambda: rig.fabric.partition([], rig.loop.now))
        assert await ask(rig.address("A")) == "A"
        return rig.loop.time()

    # SYNs go out at 0, 1 and 3 s.
    assert rig.run("v", client()) == pytest.approx(3.2)


def test_every_node_has_its_own_loopback(rig: Rig) -> None:
    rig.serve("A", named("A"), 8000, "127.0.0.1")
    rig.serve("B", named("B"), 8000, "127.0.0.1")
    assert rig.run("A", ask("127.0.0.1", 8000)) == "A"
    assert rig.run("B", ask("127.0.0.1", 8000)) == "B"
    assert rig.loop.time() == 0

    async def client() -> None:
        with pytest.raises(ConnectionRefusedError):
            await ask("127.0.0.1", 8000)

    rig.run("v", client())


def test_loopback_carries_much_and_knows_back_pressure(rig: Rig) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
        writer.close()

    rig.serve("A", serve, 8000, "127.0.0.1")
    sent = bytes(range(256)) * 20_000

    async def client() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", 8000)

        async def write() -> None:
            for start in range(0, len(sent), 100_000):
                writer.write(sent[start : start + 100_000])
                await writer.drain()
            writer.write_eof()

        _, received = await asyncio.gather(write(), reader.read())
        writer.close()
        return received

    assert rig.run("A", client()) == sent


def test_unix_sockets_belong_to_their_node(rig: Rig) -> None:
    async def serve() -> None:
        await asyncio.start_unix_server(named("admin"), "/run/admin.sock")

    rig.run("A", serve())

    async def client() -> str:
        reader, writer = await asyncio.open_unix_connection("/run/admin.sock")
        answer = await reader.read()
        writer.close()
        return answer.decode()

    assert rig.run("A", client()) == "admin"
    with pytest.raises(FileNotFoundError):
        rig.run("B", client())


def test_an_address_is_listened_on_once_and_must_be_ours(rig: Rig) -> None:
    rig.serve("A", named("A"))
    with pytest.raises(OSError, match="in use"):
        rig.serve("A", named("A"))
    with pytest.raises(OSError, match="assign"):
        rig.serve("A", named("A"), host=rig.address("B"))


def test_a_closed_server_takes_nobody(rig: Rig) -> None:
    server = rig.serve("A", named("A"))
    assert [sock.getsockname() for sock in server.sockets] == [(rig.address("A"), 80)]
    server.close()

    async def client() -> None:
        with pytest.raises(ConnectionRefusedError):
            await ask(rig.address("A"))

    rig.run("v", client())


class Collect(asyncio.DatagramProtocol):
    def __init__(self, answer: bool = False) -> None:
        self.answer = answer
        self.seen: list[bytes] = []
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.seen.append(data)
        if self.answer:
            self.transport.sendto(data, addr)


def datagrams(rig: Rig, count: int) -> tuple[list[bytes], list[bytes]]:
    server, client = Collect(answer=True), Collect()

    async def serve() -> None:
        await rig.loop.create_datagram_endpoint(lambda: server, local_addr=(ANYCAST, 53))

    async def send() -> None:
        await rig.loop.create_datagram_endpoint(lambda: client, remote_addr=(ANYCAST, 53))
        await asyncio.sleep(0)
        for number in range(count):
            client.transport.sendto(number.to_bytes(4))
            await asyncio.sleep(0.001)

    rig.run("A", serve())
    rig.run("v", send())
    rig.advance(1)
    return server.seen, client.seen


def test_datagrams_go_there_and_answers_come_back(rig: Rig) -> None:
    there, back = datagrams(rig, 10)
    assert there == back == [number.to_bytes(4) for number in range(10)]


def test_datagrams_are_lost_doubled_and_overtaken(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("loss_pct: 10, duplicate_pct: 10, reorder_pct: 10")
    there, _ = datagrams(rig, 500)
    assert 400 < len(set(there)) < 490
    assert len(there) > len(set(there))
    assert there != sorted(there)

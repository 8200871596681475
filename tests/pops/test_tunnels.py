"""Connectors at the door: registration, refusals, probes, drain, silence."""

from __future__ import annotations

import asyncio
import ssl
import struct
from typing import Any

from wire.tunnel_rpc import Refused, Registered, Unregistered

SETTINGS_FRAME = struct.pack("!I", 0)[1:] + b"\x04\x00" + struct.pack("!I", 0)


def test_a_registered_connector_learns_where_it_is(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A")
        connector = await world.connector("A")
        answer = await connector.registered()
        assert isinstance(answer, Registered)
        assert answer.details.location == "A"
        assert len(answer.details.uuid) == 16
        (held,) = world.pops["A"].registry
        assert (held.version, held.origin_ip, held.index) == ("played", "127.0.0.1", 0)
        await world.until(lambda: held.rtt_s > 0)

    edge(scenario)


def test_a_wrong_secret_is_refused_and_hung_up_on(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A", timeouts={"refuse_linger": 0.05})
        for wrong in ({"secret": b"x" * 32}, {"account": "other"}):
            connector = await world.connector("A", wait=False, **wrong)
            answer = await connector.registered()
            assert isinstance(answer, Refused)
            assert "Unauthorized" in answer.refusal.cause
            await connector.closed.wait()
        assert world.pops["A"].registry.count == 0

    edge(scenario)


def test_the_same_index_twice(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A", timeouts={"refuse_linger": 0.05})
        first = await world.connector("A")
        second = await world.connector("A", wait=False, client=first.client)
        answer = await second.registered()
        assert isinstance(answer, Refused)
        assert answer.refusal.cause == "EDUPCONN"
        await second.closed.wait()
        assert not first.closed.is_set()
        assert world.pops["A"].registry.count == 1

    edge(scenario)


def test_probes_are_no_tunnels(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A")
        context = ssl.create_default_context(cafile=world.pki / "ca.pem")
        for _ in range(3):
            _, writer = await asyncio.open_connection(
                world.address("A"), world.tunnels, ssl=context, server_hostname="h2.cftunnel.com"
            )
            writer.transport.abort()
        tunnels = world.pops["A"].tunnels
        await world.until(lambda: tunnels.probes == 3)
        assert (tunnels.lost, tunnels.refused, tunnels.links) == (0, {}, {})

    edge(scenario)


def test_who_does_not_register_is_hung_up_on(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A", timeouts={"register": 0.1, "refuse_linger": 0.0})
        connector = await world.connector("A", wait=False, registers=False)
        await connector.closed.wait()
        assert world.pops["A"].tunnels.refused == {"it did not register in time": 1}

    edge(scenario)


def test_a_silent_connector_is_noticed_by_its_missing_pings(edge: Any) -> None:
    class Silent(asyncio.Protocol):
        """Sends SETTINGS, as an HTTP/2 server does, and then hears nothing."""

        def __init__(self) -> None:
            self.lost = asyncio.Event()

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.write(SETTINGS_FRAME)

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.set()

    async def scenario(world: Any) -> None:
        await world.start("A", timeouts={"tunnel_ping": 0.05, "tunnel_ping_deadline": 0.1})
        context = ssl.create_default_context(cafile=world.pki / "ca.pem")
        _, silent = await asyncio.get_running_loop().create_connection(
            Silent,
            world.address("A"),
            world.tunnels,
            ssl=context,
            server_hostname="h2.cftunnel.com",
        )
        await silent.lost.wait()

    edge(scenario)


def test_a_draining_connection_finishes_what_runs_and_gets_nothing_new(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        release = asyncio.Event()

        async def slow(request: Any) -> None:
            await release.wait()
            request.stream.send_headers(world.reply(200), end=True)

        await world.start("AB", [("A", "B", 0.01)])
        connector = await world.connector("B", slow)
        visitor = await world.visitor("A")
        running = visitor.start()
        await world.until(lambda: connector.requests)
        connector.unregister()
        connector.end_control()
        await world.until(lambda: any(isinstance(e, Unregistered) for e in connector.events))
        other = await world.connector("B", index=1, client=connector.client)
        await world.until(lambda: world.pops["A"].routes(world.tunnel)[0].connection.endswith(".1"))
        assert (await visitor.fetch()).get("popnet-connection") == "c1"
        assert len(connector.requests) == 1
        release.set()
        assert (await running.whole()).status == 200
        # Only the closing of TCP makes a connector leave.
        await connector.closed.wait()
        assert not other.closed.is_set()

    edge(scenario)


def test_an_idle_connection_that_unregisters_is_closed_at_once(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A")
        connector = await world.connector("A")
        connector.unregister()
        connector.end_control()
        await connector.closed.wait()
        await world.until(lambda: world.pops["A"].registry.count == 0)

    edge(scenario)


def test_a_connector_that_ends_its_control_stream_unasked_is_let_go(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A")
        connector = await world.connector("A")
        connector.end_control()
        await connector.closed.wait()

    edge(scenario)

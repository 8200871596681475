"""The life of a PoP: it opens its doors, serves, drains and leaves. What it is made of: `pops.pop`."""

from __future__ import annotations

import asyncio
import contextlib
import time

from pops.config import PopConfig
from pops.core.answer_rate import AnswerRate
from pops.core.probing import Prober
from pops.drivers.admin import Admin
from pops.drivers.algorithm import Guard
from pops.drivers.dns import TcpDoor, UdpDoor
from pops.pop import Pop
from runtime.clock import Clock, monotonic
from runtime.events import EventLog
from runtime.notify import Notifier
from runtime.tls import server_context

# How long a PoP that leaves waits for its neighbours to have heard of it.
_FAREWELL_S = 1.0


class PopProcess(Pop):
    def __init__(
        self,
        config: PopConfig,
        *,
        clock: Clock = monotonic,
        wall: Clock = time.time,
        notifier: Notifier | None = None,
        events: EventLog | None = None,
        prober: Prober | None = None,
        guard: Guard | None = None,
    ) -> None:
        super().__init__(config, clock=clock, wall=wall, events=events, prober=prober, guard=guard)
        self._notifier = notifier or Notifier(None)
        self.admin = None if config.admin is None else Admin(self, config.admin, self.drain)
        self._servers: list[asyncio.Server] = []
        self._tunnel_servers: list[asyncio.Server] = []
        self._datagrams: list[asyncio.BaseTransport] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then leave politely."""
        async with asyncio.TaskGroup() as tasks:
            keepers = await self.start(tasks)
            await stop.wait()
            await self.leave()
            for keeper in keepers:
                keeper.cancel()
        await self.close()

    async def start(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Open every door, dial every neighbour, and say READY when all that can be reached of them are measured, have
        told what they know and have heard of us; or when that took too long."""
        if self.admin is not None:
            await self.admin.start()
        await self._listen()
        keepers = [
            tasks.create_task(neighbor.keep(purpose), name=f"{neighbor.pop.name} {purpose.value}")
            for neighbor in self.overlay.neighbors.values()
            for purpose in neighbor.first_try
        ]
        patience = self.config.timeouts.first_try
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self.link_state.measured()
        self.link_state.begin()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self.link_state.agreed()
        self.link_state.flooding.starting = False
        self.ways.begin()
        self.ready = True
        self.events.emit("ready", overlay_up=len(self.overlay.up()))
        self._notifier.ready()
        return keepers

    async def _listen(self) -> None:
        config, loop = self.config, asyncio.get_running_loop()
        handshake = config.timeouts.handshake
        self._servers.append(
            await loop.create_server(
                self.overlay.accept,
                config.address,
                config.overlay.port,
                ssl=self.overlay.server_tls,
                ssl_handshake_timeout=handshake,
            )
        )
        listen = config.tunnels_listen
        if listen is not None:
            # No ALPN: connectors of cloudflared's make offer none.
            context = server_context(listen.certificate, ())
            for address in listen.addresses:
                server = await loop.create_server(
                    self.tunnels.accept,
                    address,
                    listen.port,
                    ssl=context,
                    ssl_handshake_timeout=handshake,
                )
                self._tunnel_servers.append(server)
        if config.dns is not None:
            data = self.zones
            limits = config.limits
            rate = AnswerRate(limits.dns_answers_per_s, limits.dns_burst)
            for address in config.dns.addresses:
                transport, _ = await loop.create_datagram_endpoint(
                    lambda: UdpDoor(data, self.dns_stats, rate),
                    local_addr=(address, config.dns.port),
                )
                self._datagrams.append(transport)
                self._servers.append(
                    await loop.create_server(
                        lambda: TcpDoor(data, self.dns_stats), address, config.dns.port
                    )
                )
        await self.visitors.listen()

    def drain(self) -> None:
        """Take no new work, let the running work finish. What listens for visitors goes on: their
        anycast address is withdrawn outside, and until then somebody must answer."""
        if self.draining:
            return
        self.draining = True
        self.ready = False
        self._notifier.stopping()
        self.events.emit("draining")
        for server in self._tunnel_servers:
            server.close()
        self.tunnels.drain()

    async def leave(self) -> None:
        """Drain, stop listening, and wait for what is under way, within the drain timeout."""
        self.drain()
        for server in self._servers:
            server.close()
        for transport in self._datagrams:
            transport.close()
        await self.visitors.drain(self.config.timeouts.drain)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await self.link_state.withdraw()

    def hurry(self) -> None:
        """Stop waiting for what is under way."""
        self.visitors.close()
        self.tunnels.close()

    def abort(self) -> None:
        """Be gone, as after the death of the process."""
        for server in [*self._servers, *self._tunnel_servers]:
            server.close()
        for transport in self._datagrams:
            transport.close()
        self.visitors.close()
        self.link_state.stop()
        self.ways.stop()
        self.balancers.stop()
        self.overlay.abort()
        self.tunnels.abort()
        self.proxy.close()

    async def close(self) -> None:
        self.tunnels.close()
        self.link_state.stop()
        self.ways.stop()
        self.balancers.stop()
        self.overlay.close()
        self.visitors.close()
        self.proxy.close()
        if self.admin is not None:
            self.admin.close()
        for server in [*self._servers, *self._tunnel_servers]:
            server.close()
        self.events.emit("stopped")
        self.events.close()

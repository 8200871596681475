"""One PoP: where what decides and what does I/O meet.

core/directory   who is there and holds which tunnel  <  drivers/overlay, drivers/tunnels
routing/table    the ranked paths that follow from it <  refreshed after every change
drivers/proxy    sends each request along the best    <  drivers/visitors, drivers/overlay
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Iterable

from pops.config import Link, PopConfig
from pops.core.directory import Directory
from pops.core.ingress import Ingress
from pops.core.registry import Connection, Registry
from pops.core.zone import zones
from pops.drivers.admin import Admin
from pops.drivers.dns import TcpDoor, UdpDoor
from pops.drivers.overlay import OverlayMesh
from pops.drivers.proxy import Proxy
from pops.drivers.security import Security
from pops.drivers.stats import DnsStats
from pops.drivers.tunnels import TunnelLink, Tunnels
from pops.drivers.visitors import VisitorDoors
from routing.api import MeasuredLink, Path
from routing.catalogue import algorithm
from routing.table import RouteTable
from runtime.clock import Clock, monotonic
from runtime.events import EventLog
from runtime.http2 import Http2Connection
from runtime.notify import Notifier
from runtime.tls import server_context
from wire.dns import Zones
from wire.overlay import LONGEST_PATH

UNKNOWN_COUNTRY = "XX"


def _both_ways(links: Iterable[Link]) -> dict[tuple[str, str], float]:
    """RTT by directed pair. An RTT is there and back, so one entry serves both directions."""
    found: dict[tuple[str, str], float] = {}
    for link in links:
        found[link.a, link.b] = link.rtt_s
        found.setdefault((link.b, link.a), link.rtt_s)
    return found


class PopProcess:
    def __init__(
        self,
        config: PopConfig,
        *,
        clock: Clock = monotonic,
        wall: Clock = time.time,
        notifier: Notifier | None = None,
        events: EventLog | None = None,
    ) -> None:
        self.config = config
        self.clock = clock
        self.events = events or EventLog(config.events, config.name)
        self.ready = False
        self.draining = False
        self.started_at = self.routes_changed_at = clock()
        self._notifier = notifier or Notifier(None)
        self._rng = random.Random(f"{config.seed}/{config.name}")
        limits, timeouts = config.limits, config.timeouts

        self.directory = Directory(config.name)
        self.registry = Registry(config.tunnels, most=limits.tunnel_connections)
        relays = min(config.routing.hop_limit - 1, LONGEST_PATH - 2)
        self._table = RouteTable(
            config.name,
            algorithm(config.routing.algorithm),
            config.routing.params,
            max_relays=relays,
            rng=random.Random(f"{config.seed}/{config.name}/routing"),
        )
        self._declared = _both_ways(config.links)
        tunnel_ids = {tunnel.name: tunnel.id for tunnel in config.tunnels}
        ingress = Ingress(
            config.name,
            {host.lower(): tunnel_ids[to.tunnel] for host, to in config.hosts.items()},
            self._rng,
            body_limit=limits.body_bytes,
            header_limit=limits.header_bytes,
        )
        self.security = Security(ingress, clock=clock, events=self.events, wall=wall)
        if config.policy is not None:
            self.security.load(config.policy)
        countries = {node.address: node.country for node in config.nodes if node.country}
        self.proxy = Proxy(
            config.name,
            self,
            ingress,
            limits=limits,
            timeouts=timeouts,
            hop_limit=config.routing.hop_limit - 1,  # the first hop is ours
            country_of=lambda address: countries.get(address, UNKNOWN_COUNTRY),
            clock=clock,
        )
        self.tunnels = Tunnels(
            config.name,
            self.registry,
            timeouts=timeouts,
            engine=config.engine,
            new_id=lambda: self._rng.randbytes(16),
            on_change=self._changed,
            events=self.events,
            clock=clock,
        )
        pops = {pop.name: pop for pop in config.pops}
        self.overlay = OverlayMesh(
            config.name,
            config.overlay,
            [pops[name] for name in config.neighbors],
            self.directory,
            timeouts=timeouts,
            engine=config.engine,
            rng=self._rng,
            on_change=self._changed,
            on_news=self._learnt,
            on_request=self.proxy.on_neighbor,
            events=self.events,
            clock=clock,
        )
        self.visitors = VisitorDoors(
            config.visitors,
            limits=limits,
            timeouts=timeouts,
            engine=config.engine,
            on_request=self.proxy.on_visitor,
        )
        self.dns_stats = DnsStats()
        self.admin = Admin(self, config.admin) if config.admin is not None else None
        self._servers: list[asyncio.Server] = []
        self._tunnel_servers: list[asyncio.Server] = []
        self._datagrams: list[asyncio.BaseTransport] = []
        self._refresh_due = False
        self._stale = False

    # What the data path asks (drivers.proxy.World)

    def routes(self, tunnel: str) -> tuple[Path, ...]:
        return self.table.routes(tunnel)

    @property
    def table(self) -> RouteTable:
        """The routes by all that is known. Worked out when somebody asks: in a large edge news comes by the
        hundred, and most of it between two requests."""
        if self._stale:
            self._stale = False
            self._table.set_links(MeasuredLink(a, b, rtt_s) for a, b, rtt_s in self.live_links())
            self._table.set_exits(self.directory.exits())
            self._table.recompute(self.clock())
        return self._table

    def neighbor(self, name: str) -> Http2Connection | None:
        neighbor = self.overlay.neighbors.get(name)
        return neighbor.data if neighbor is not None and neighbor.up else None

    def tunnel(self, tunnel: str, preferred: str) -> tuple[Connection, Http2Connection] | None:
        while (connection := self.registry.choose(tunnel, preferred)) is not None:
            assert isinstance(connection.carrier, TunnelLink)
            http2 = connection.carrier.http2
            if not http2.closed:
                return connection, http2
            # Its streams hear of the loss first, and look for another way before it is off the list.
            self.registry.remove(connection)
        return None

    # Knowledge

    def set_links(self, links: Iterable[Link]) -> None:
        """The declared links have changed."""
        self._declared = _both_ways(links)
        self.events.emit("links_changed", links=len(self._declared) // 2)
        self._refresh_routes()

    def _changed(self) -> None:
        """Something here that others must know. Once per turn of the loop, however much it was."""
        if not self._refresh_due:
            self._refresh_due = True
            asyncio.get_running_loop().call_soon(self._advertise)

    def _advertise(self) -> None:
        self._refresh_due = False
        advert = self.directory.set_local(self.overlay.up(), self.registry.exits())
        if advert is not None:
            self.overlay.flood([advert])
            self._refresh_routes()

    def live_links(self) -> list[tuple[str, str, float]]:
        return self.directory.live_links(self._declared)

    def _learnt(self, moved: list[tuple[str, str]]) -> None:
        for name, pop in moved:
            self.tunnels.moved_away(name, pop)
        self._refresh_routes()

    def _refresh_routes(self) -> None:
        self.routes_changed_at = self.clock()
        self._stale = True

    # Life

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
        """Open every door, dial every neighbour, and say READY when the first tries are over."""
        if self.admin is not None:
            await self.admin.start()
        await self._listen()
        keepers = [
            tasks.create_task(neighbor.keep(purpose), name=f"{neighbor.pop.name} {purpose.value}")
            for neighbor in self.overlay.neighbors.values()
            for purpose in neighbor.first_try
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.timeouts.first_try):
                for neighbor in self.overlay.neighbors.values():
                    for tried in neighbor.first_try.values():
                        await tried.wait()
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
            data = Zones(zones(config))
            for address in config.dns.addresses:
                transport, _ = await loop.create_datagram_endpoint(
                    lambda: UdpDoor(data, self.dns_stats), local_addr=(address, config.dns.port)
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
        self.overlay.abort()
        self.tunnels.abort()
        self.proxy.close()

    async def close(self) -> None:
        self.tunnels.close()
        self.overlay.close()
        self.visitors.close()
        self.proxy.close()
        if self.admin is not None:
            self.admin.close()
        for server in [*self._servers, *self._tunnel_servers]:
            server.close()
        self.events.emit("stopped")
        self.events.close()

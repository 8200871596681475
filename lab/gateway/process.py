"""The gateway of one lab: proxy and page, on their ports, until told to stop."""

from __future__ import annotations

import asyncio
import os

from lab.gateway import ports
from lab.gateway.ports import Wanted, Where
from lab.gateway.proxy import Proxy
from lab.gateway.visitors import VisitorNetwork
from lab.rundir import RunDir
from runtime.events import EventLog
from runtime.notify import Notifier
from topology.plan import Plan


class GatewayError(Exception):
    """The gateway cannot be had as it was asked for."""


class Gateway:
    def __init__(self, run: RunDir, plan: Plan, wanted: Wanted) -> None:
        cities = list(plan.world.visitors)
        if wanted.city is not None and wanted.city not in cities:
            raise GatewayError(f"no visitor {wanted.city!r}; known: {', '.join(cities)}")
        self.run = run
        self.plan = plan
        self.wanted = wanted
        networks = {
            city: VisitorNetwork(city, run.agent_socket(city), self._visitor_gone)
            for city in cities
        }
        default = wanted.city or (cities[0] if cities else "")
        self.proxy = Proxy(networks, default, self._refused)
        self.where = Where(pid=os.getpid(), city=default)
        self._servers: list[asyncio.Server] = []
        self.events = EventLog(str(run.events), "gateway")

    async def serve(self, stop: asyncio.Event, notifier: Notifier) -> None:
        await self.start()
        notifier.ready()
        try:
            await stop.wait()
        finally:
            self.close()

    async def start(self) -> None:
        """Open the ports and tell where they are. Raises ports.PortError."""
        wanted, loop = self.wanted, asyncio.get_running_loop()
        notes = []
        # A world without visitors has nobody to come in as.
        offered = wanted.socks if self.proxy.networks else "off"
        socks, note = ports.open_port("proxy", offered, ports.SOCKS_PORT, wanted.listen)
        notes += [note] if note is not None else []
        if socks is not None:
            self._servers.append(await loop.create_server(self.proxy.accept, sock=socks))
        bound_socks = None if socks is None else socks.getsockname()[1]
        self.where = Where(
            pid=os.getpid(),
            bound_socks=bound_socks,
            socks=ports.published(ports.PUBLISHED_SOCKS, bound_socks),
            city=self.proxy.default,
            notes=tuple(notes),
        )
        ports.write(self.run.path, self.where)

    def close(self) -> None:
        for server in self._servers:
            server.close()
        self.proxy.close()
        self.events.close()

    def _visitor_gone(self, city: str) -> None:
        self.proxy.visitor_gone(city)

    def _refused(self, why: str, city: str | None) -> None:
        self.events.emit("gateway_refused", city=city, why=why)

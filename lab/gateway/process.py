"""The gateway of one lab: proxy and page, on their ports, until told to stop."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from lab.gateway import ports
from lab.gateway.ports import Wanted, Where
from lab.gateway.proxy import Proxy
from lab.gateway.visitors import VisitorNetwork
from lab.rundir import RunDir
from lab.web.observer import Observer
from lab.web.server import WebServer
from runtime.events import EventLog
from runtime.notify import Notifier
from topology.plan import Plan

_COMMAND = "popnet"
_IN_CONTAINER = "docker compose exec lab popnet"


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
        self.web = WebServer(Observer(run, plan, self.about), self.proxy, self.about)
        self._servers: list[asyncio.Server] = []
        self.events = EventLog(str(run.events), "gateway")

    async def serve(self, stop: asyncio.Event, notifier: Notifier) -> None:
        await self.start()
        notifier.ready()
        try:
            await stop.wait()
        finally:
            await self.close()

    async def start(self) -> None:
        """Open the ports and tell where they are. Raises ports.PortError."""
        wanted, loop = self.wanted, asyncio.get_running_loop()
        notes = []
        # A world without visitors has nobody to come in as.
        offered = wanted.socks if self.proxy.networks else "off"
        socks, note = ports.open_port("proxy", offered, ports.SOCKS_PORT, wanted.listen)
        notes += [note] if note is not None else []
        web, note = ports.open_port("page", wanted.web, ports.WEB_PORT, wanted.listen)
        notes += [note] if note is not None else []
        if web is not None:
            await self.web.listen(web)
        bound_web = None if web is None else web.getsockname()[1]
        if socks is not None:
            self._servers.append(await loop.create_server(self.proxy.accept, sock=socks))
        bound_socks = None if socks is None else socks.getsockname()[1]
        self.where = Where(
            pid=os.getpid(),
            bound_web=bound_web,
            bound_socks=bound_socks,
            web=ports.published(ports.PUBLISHED_WEB, bound_web),
            socks=ports.published(ports.PUBLISHED_SOCKS, bound_socks),
            city=self.proxy.default,
            notes=tuple(notes),
        )
        ports.write(self.run.path, self.where)

    def about(self) -> dict[str, Any]:
        """For the page."""
        where = self.where
        return {
            "page": where.page,
            # Who listens beyond loopback sits in a container, and its commands are typed by way of the engine.
            "command": _COMMAND if self.wanted.listen == ports.LOOPBACK else _IN_CONTAINER,
            "socks": where.socks,
            "city": self.proxy.default,
            "cities": list(self.proxy.networks),
            "notes": where.notes,
            "clients": len(self.proxy.clients),
        }

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        self.proxy.close()
        await self.web.close()
        self.events.close()

    def _visitor_gone(self, city: str) -> None:
        self.proxy.visitor_gone(city)

    def _refused(self, why: str, city: str | None) -> None:
        self.events.emit("gateway_refused", city=city, why=why)

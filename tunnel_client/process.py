"""A connector: the core and its drivers, put together on one loop.

Everything that happens comes in here as a call, is put to the supervisor together with the time,
and what the supervisor wants is carried out at once. One timer is armed for the supervisor's next
wish.
"""

from __future__ import annotations

import asyncio
import os
import platform
import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import assert_never
from uuid import UUID

from runtime.admin import AdminServer
from runtime.clock import Clock
from runtime.errors import ResolveError
from runtime.events import EventLog
from runtime.notify import Notifier
from runtime.resolver import Resolver
from runtime.tls import TlsError
from tunnel_client.config import Settings
from tunnel_client.core import effects as do
from tunnel_client.core.configuration import Configuration
from tunnel_client.core.effects import Effect
from tunnel_client.core.supervisor import Supervisor
from tunnel_client.drivers import discovery, status
from tunnel_client.drivers.edge import Dialler, EdgeConnection, EdgeSnapshot
from tunnel_client.drivers.exchange import Requests
from tunnel_client.drivers.log import Log
from tunnel_client.drivers.metrics import Counters, EdgeView, Metrics, Sources
from tunnel_client.drivers.origins import Origins
from tunnel_client.errors import ConfigurationError, UsageError
from wire.tunnel_rpc import ClientInfo, ConnectionDetails, Refusal, Registration

VERSION = "0.1.0"
FEATURES = ("allow_remote_config", "serialized_headers")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_EVENTS = {
    "tunnel_connected": "Registered tunnel connection",
    "tunnel_lost": "Lost tunnel connection",
    "tunnel_reconnecting": "Retrying connection",
    "discovery_failed": "Could not find the edge",
}


class Connector:
    """One process's connector. Make it inside the running loop, then `run` it once."""

    def __init__(
        self,
        settings: Settings,
        *,
        resolver: Resolver,
        clock: Clock,
        rng: random.Random,
        log: Log,
        events: EventLog,
        notifier: Notifier,
    ) -> None:
        """Raises `UsageError` when a certificate or a rule cannot be used."""
        self.settings = settings
        self.connector_id = UUID(int=rng.getrandbits(128), version=4)
        self._resolver = resolver
        self._clock = clock
        self._rng = rng
        self._log = log
        self._events = events
        self._notifier = notifier
        self._loop = asyncio.get_running_loop()
        self._stopped: asyncio.Future[do.Stop] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._tasks: asyncio.TaskGroup
        self._edges: dict[int, EdgeConnection] = {}
        self.supervisor = Supervisor(settings.policy, rng)
        self.configuration = Configuration(settings.ingress, dict(settings.reported_flags))
        self.counters = Counters()
        self.metrics = Metrics(
            Sources(
                counters=self.counters,
                connections=lambda: self.supervisor.snapshot(clock()),
                edges=self._edge_views,
                config_version=lambda: self.configuration.version,
                label=settings.label,
            )
        )
        self._origins = Origins(resolver)
        try:
            self._dialler = Dialler(ca=settings.ca, bind_address=settings.bind_address, clock=clock)
            self._requests = Requests(
                self.configuration,
                self._origins,
                connector_id=self.connector_id,
                tags=settings.tags,
                counters=self.counters,
                metrics=self.metrics,
                clock=clock,
                log=log,
                on_configuration=lambda version: events.emit("configuration", version=version),
            )
        except (TlsError, ConfigurationError) as error:
            raise UsageError(str(error)) from None
        routes = status.routes(
            connector_id=self.connector_id,
            tunnel_id=settings.credentials.tunnel_id,
            supervisor=self.supervisor,
            configuration=self.configuration,
            edges=self._edge_snapshots,
            now=clock,
            drain=self.stop,
        )
        self.admin = AdminServer(
            settings.admin, routes, registry=self.metrics.registry, address=settings.metrics
        )

    async def run(self) -> int:
        """Serve until stopped; returns the exit status."""
        if not self.configuration.ingress.rules:
            self._log.warn("No ingress rules were given, so every request is answered 503")
        try:
            await self.admin.start()
        except OSError as error:
            self._log.error("Cannot open the metrics address", error=str(error))
            return 1
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._log.info(
                    "Starting tunnel",
                    tunnelID=str(self.settings.credentials.tunnel_id),
                    connectorID=str(self.connector_id),
                )
                self._carry_out(self.supervisor.start(self._clock()))
                await self._stopped
                for edge in list(self._edges.values()):
                    edge.hang_up()
                raise _StoppedError
        except* _StoppedError:
            pass
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._origins.close()
            self.admin.close()
        stop = self._stopped.result()
        if stop.code:
            self._log.error("Stopped", reason=stop.reason)
        else:
            self._log.info("Stopped", reason=stop.reason)
        return stop.code

    def stop(self) -> None:
        """Drain; called again, stop now."""
        self._notifier.stopping()
        self._log.info("Draining: no new requests, running ones may end")
        self._events.emit("draining")
        self._carry_out(self.supervisor.drain(self._clock()))

    # What connections report (tunnel_client.drivers.edge.Owner)

    def dialled(self, edge: EdgeConnection) -> None:
        self._carry_out(self.supervisor.dialled(self._clock(), edge.index, edge.attempt))

    def failed(self, edge: EdgeConnection, reason: str, unreachable: bool) -> None:
        self.counters.dials_failed += 1
        self._forget(edge)
        self._carry_out(
            self.supervisor.failed(
                self._clock(), edge.index, edge.attempt, reason, unreachable=unreachable
            )
        )

    def registered(self, edge: EdgeConnection, details: ConnectionDetails) -> None:
        self.counters.registered += 1
        self._carry_out(
            self.supervisor.registered(self._clock(), edge.index, edge.attempt, details)
        )
        self._say_status()

    def refused(self, edge: EdgeConnection, refusal: Refusal) -> None:
        self.counters.refused += 1
        self._carry_out(self.supervisor.refused(self._clock(), edge.index, edge.attempt, refusal))

    def unregistered(self, edge: EdgeConnection) -> None:
        self._carry_out(self.supervisor.unregistered(self._clock(), edge.index, edge.attempt))

    def lost(self, edge: EdgeConnection, reason: str) -> None:
        self._forget(edge)
        self._carry_out(self.supervisor.lost(self._clock(), edge.index, edge.attempt, reason))

    def _forget(self, edge: EdgeConnection) -> None:
        if self._edges.get(edge.index) is edge:
            del self._edges[edge.index]

    # What the supervisor wants

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case do.Discover():
                    self._tasks.create_task(self._discover(), name="look the edge up")
                case do.Dial():
                    self._dial(effect)
                case do.Ping(index, attempt):
                    self._edge(index, attempt, EdgeConnection.ping)
                case do.ReportConfiguration(index, attempt):
                    self._edge(index, attempt, self._report)
                case do.Unregister(index, attempt):
                    self._edge(index, attempt, EdgeConnection.unregister)
                case do.Finish(index, attempt):
                    self._edge(index, attempt, EdgeConnection.finish)
                case do.HangUp():
                    self._hang_up(effect)
                case do.Announce(event, fields):
                    self._announce(event, fields)
                case do.Ready():
                    self._ready()
                case do.Stop():
                    if not self._stopped.done():
                        self._stopped.set_result(effect)
                case unreachable:
                    assert_never(unreachable)
        self._arm()

    def _edge(self, index: int, attempt: int, act: Callable[[EdgeConnection], None]) -> None:
        edge = self._edges.get(index)
        if edge is not None and edge.attempt == attempt:
            act(edge)

    def _dial(self, dial: do.Dial) -> None:
        def make_registration(local_ip: bytes) -> Registration:
            return self._registration(dial, local_ip)

        edge = EdgeConnection(
            dial.index,
            dial.attempt,
            self,
            self._requests.serve,
            make_registration,
            self._dialler,
        )
        self._edges[dial.index] = edge
        edge.start(self._tasks, dial.address)

    def _registration(self, dial: do.Dial, local_ip: bytes) -> Registration:
        credentials = self.settings.credentials
        machine = platform.machine()
        return Registration(
            account_tag=credentials.account_tag,
            tunnel_secret=credentials.secret,
            tunnel_id=credentials.tunnel_id.bytes,
            conn_index=dial.index,
            client=ClientInfo(
                self.connector_id.bytes,
                FEATURES,
                f"popnet-{VERSION}",
                f"{sys.platform}_{_ARCHITECTURES.get(machine, machine)}",
            ),
            origin_local_ip=local_ip,
            # Coming back, the PoP may still believe in the connection that we lost.
            replace_existing=dial.previous > 0,
            num_previous_attempts=dial.previous,
        )

    def _report(self, edge: EdgeConnection) -> None:
        edge.report(self.configuration.local_report())

    def _hang_up(self, effect: do.HangUp) -> None:
        edge = self._edges.get(effect.index)
        if edge is not None and edge.attempt == effect.attempt:
            del self._edges[effect.index]
            edge.hang_up(politely=effect.politely)

    def _announce(self, event: str, fields: Mapping[str, str | int | float]) -> None:
        self._events.emit(event, **fields)
        message = _EVENTS.get(event, event)
        if event == "tunnel_connected":
            self._log.info(message, **fields, protocol="http2")
        else:
            self._log.warn(message, **fields)
        if event == "tunnel_lost":
            self.counters.lost += 1
            self._say_status()

    def _ready(self) -> None:
        self._notifier.ready()
        if self.settings.pidfile:
            try:
                Path(self.settings.pidfile).write_text(f"{os.getpid()}\n", encoding="ascii")
            except OSError as error:
                self._log.error("Cannot write the pid file", error=str(error))

    def _say_status(self) -> None:
        supervisor = self.supervisor
        self._notifier.status(f"{supervisor.ready}/{supervisor.expected} connections")

    # Looking the edge up

    async def _discover(self) -> None:
        edges = self.settings.edges
        try:
            if edges:
                found = await discovery.static(self._resolver, edges)
            else:
                found = await discovery.regions(self._resolver, self.settings.region, self._rng)
        except ResolveError as error:
            effects = self.supervisor.discovery_failed(self._clock(), str(error))
        else:
            effects = self.supervisor.discovered(self._clock(), found)
        self._carry_out(effects)

    # Time

    def _arm(self) -> None:
        due = self.supervisor.next_timer()
        if self._timer is not None:
            if due == self._timer_due and not self._timer.cancelled():
                return
            self._timer.cancel()
            self._timer = None
        if due is not None and not self._stopped.done():
            self._timer_due = due
            delay = max(0.0, due - self._clock())
            self._timer = self._loop.call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        received = {index: edge.received for index, edge in self._edges.items()}
        self._carry_out(self.supervisor.handle_timer(self._clock(), received))

    # What can be seen

    def _edge_snapshots(self) -> list[EdgeSnapshot]:
        return [self._edges[index].snapshot() for index in sorted(self._edges)]

    def _edge_views(self) -> list[EdgeView]:
        where = {c.index: c.location for c in self.supervisor.snapshot(self._clock())}
        return [
            EdgeView(edge.index, where.get(edge.index, ""), edge.rtt_s, edge.streams)
            for edge in self._edge_snapshots()
        ]


class _StoppedError(Exception):
    """Ends the task group, so that whatever it still runs is cancelled."""

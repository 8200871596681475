"""One PoP: where what decides and what does I/O meet.

drivers/linkstate   measures links, tells and hears of them   <  drivers/overlay, drivers/tunnels
routing/lsdb        what is known of the overlay              >  drivers/routes, the tables that follow from it
drivers/proxy       sends each request along the best         <  drivers/visitors, drivers/overlay
"""

from __future__ import annotations

import random
import time

from pops.config import PopConfig
from pops.core.ingress import POOL, Ingress
from pops.core.places import places
from pops.core.probing import Prober, ProbeSettings
from pops.core.records import Record, Records
from pops.core.registry import Connection, Registry
from pops.core.zone import zones
from pops.drivers.algorithm import Guard
from pops.drivers.balancers import Balancers, PoolChoice
from pops.drivers.ingress import IngressExchange
from pops.drivers.linkstate import LinkState
from pops.drivers.overlay import OverlayMesh
from pops.drivers.proxy import Proxy
from pops.drivers.records import RecordBook
from pops.drivers.routes import Routes
from pops.drivers.security import Security
from pops.drivers.stats import DnsStats
from pops.drivers.transit import TransitExchange
from pops.drivers.tunnels import TunnelLink, Tunnels
from pops.drivers.visitors import VisitorDoors
from routing.api import Outcome, Path
from routing.estimators import estimator
from routing.lsdb import Lsdb, Timing
from routing.table import RouteTable
from runtime.clock import Clock, monotonic
from runtime.events import EventLog
from runtime.http2 import Http2Connection
from runtime.streams import Headers
from wire.dns import Zones

UNKNOWN_COUNTRY = "XX"


def make_prober(config: PopConfig) -> Prober:
    """What measures the links of this PoP, as configured."""
    probe = config.routing.probe
    return Prober(
        ProbeSettings(
            every_s=probe.every,
            budget_per_s=probe.budget_per_s,
            burst=probe.burst,
            burst_gap_s=probe.burst_gap,
            overdue_s=probe.overdue,
            quick_s=probe.quick,
            dead_after_s=probe.dead_after,
            dead_unmeasured_s=probe.dead_unmeasured,
        ),
        estimator(probe.estimator),
        random.Random(f"{config.seed}/{config.name}/probes"),
    )


class Pop:
    """The parts, and what each is told of the others. Nothing runs yet: see `pops.process`."""

    def __init__(
        self,
        config: PopConfig,
        *,
        clock: Clock = monotonic,
        wall: Clock = time.time,
        events: EventLog | None = None,
        prober: Prober | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.config = config
        self.clock = clock
        self.events = events or EventLog(config.events, config.name)
        self.ready = False
        self.draining = False
        self.started_at = clock()
        self._rng = random.Random(f"{config.seed}/{config.name}")
        limits, timeouts = config.limits, config.timeouts

        flooding = config.routing.flooding
        self.lsdb = Lsdb(
            config.name,
            rng=random.Random(f"{config.seed}/{config.name}/lsdb"),
            timing=Timing(flooding.min_interval, flooding.refresh, flooding.max_age),
            members=(pop.name for pop in config.pops),
        )
        parts = places(config)
        self.registry = Registry(
            config.tunnels, most=limits.tunnel_connections, places=parts.values()
        )
        self.ways = Routes(config, self.lsdb, events=self.events, clock=clock, guard=guard)
        self.wants_outcomes = self.ways.wants_outcomes
        tunnel_ids = {tunnel.name: tunnel.id for tunnel in config.tunnels}
        ingress = Ingress(
            config.name,
            {},
            self._rng,
            body_limit=limits.body_bytes,
            header_limit=limits.header_bytes,
            beside=config.routing.beside,
        )
        self.zones = Zones(())
        self._tunnel_ids = tunnel_ids

        def serve(records: Records) -> None:
            hosts = {record.name: self._target(record) for record in records.present()}
            ingress.set_hosts(hosts)
            if config.dns is not None:
                self.zones.replace(zones(config, records.everything()))

        self.book = RecordBook(config, on_change=serve, events=self.events)
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
            tunnel_names={
                **{tunnel.id: tunnel.name for tunnel in config.tunnels},
                **{place.id: place.tunnel_name for place in parts.values()},
            },
            country_of=lambda address: countries.get(address, UNKNOWN_COUNTRY),
            clock=clock,
        )
        self.tunnels = Tunnels(
            config.name,
            self.registry,
            timeouts=timeouts,
            most=limits.tunnel_connections,
            engine=config.engine,
            new_id=lambda: self._rng.randbytes(16),
            on_change=self._tunnels_changed,
            events=self.events,
            clock=clock,
            places={node.address: node.name for node in config.nodes},
        )
        self.link_state = LinkState(
            config.name,
            config.routing,
            self.lsdb,
            prober or make_prober(config),
            exits=self.registry.exits,
            load=lambda: float(len(self.proxy.exchanges)),
            on_change=self.ways.changed,
            on_moved=self.tunnels.moved_away,
            events=self.events,
            clock=clock,
        )
        pops = {pop.name: pop for pop in config.pops}
        self.overlay = OverlayMesh(
            config.name,
            config.overlay,
            [pops[name] for name in config.neighbors],
            timeouts=timeouts,
            engine=config.engine,
            rng=self._rng,
            watch=self.link_state,
            on_request=lambda stream: TransitExchange(self.proxy, stream),
            events=self.events,
            clock=clock,
        )
        self.link_state.overlay = self.overlay
        self.link_state.records = self.book
        self.balancers = Balancers(
            config,
            self.registry,
            routes=self.routes,
            exits=lambda: self.ways.exits,
            carrier=self._carrier,
            on_change=self.link_state.touch,
            events=self.events,
            clock=clock,
        )
        self.visitors = VisitorDoors(
            config.visitors,
            limits=limits,
            timeouts=timeouts,
            engine=config.engine,
            on_request=lambda stream: IngressExchange(self.proxy, stream),
            events=self.events,
        )
        self.dns_stats = DnsStats()

    # What the data path asks (drivers.proxy.World)

    def routes(self, tunnel: str, algorithm: str = "") -> tuple[Path, ...]:
        return self.ways.to(tunnel, algorithm)

    def outcome(self, outcome: Outcome, algorithm: str) -> None:
        self.ways.outcome(outcome, algorithm)

    def broken(self, path: tuple[str, ...]) -> tuple[str, str] | None:
        return self.ways.broken(path)

    def pool(self, target: str, headers: Headers) -> PoolChoice:
        return self.balancers.choose(target, headers)

    def _target(self, record: Record) -> str:
        if record.load_balancer:
            return POOL + record.load_balancer
        return self._tunnel_ids[record.tunnel]

    def _tunnels_changed(self) -> None:
        self.balancers.changed()
        self.link_state.touch()

    @staticmethod
    def _carrier(connection: Connection) -> Http2Connection | None:
        assert isinstance(connection.carrier, TunnelLink)
        http2 = connection.carrier.http2
        return None if http2.closed else http2

    @property
    def table(self) -> RouteTable:
        return self.ways.table

    def neighbor(self, name: str) -> Http2Connection | None:
        neighbor = self.overlay.neighbors.get(name)
        return neighbor.data if neighbor is not None and neighbor.up else None

    def tunnel(
        self, tunnel: str, preferred: str, used: tuple[Connection, ...] = ()
    ) -> tuple[Connection, Http2Connection] | None:
        while (connection := self.registry.choose(tunnel, preferred, used)) is not None:
            assert isinstance(connection.carrier, TunnelLink)
            http2 = connection.carrier.http2
            if not http2.closed:
                return connection, http2
            # Its streams hear of the loss first, and look for another way before it is off the list.
            self.registry.remove(connection)
        return None

"""What a connector counts, and how Prometheus sees it.

The data path adds to plain integers; a collector turns them into metrics when somebody looks. Names
that cloudflared has keep its names and meanings, also where they break Prometheus' conventions (a
dashboard made for it then works); the rest are ours, `popnet_tunnel_*`. There is no
`ha_connections` that counts attempts: the gauge says how many connections serve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    UnknownMetricFamily,
)
from prometheus_client.registry import Collector

from tunnel_client.core.policy import ConnectionSnapshot


class Counters:
    """One per process."""

    def __init__(self) -> None:
        self.requests = 0
        self.in_flight = 0
        self.by_code: dict[bytes, int] = {}
        # Requests this connector answered itself because there was no origin's answer, by reason.
        self.errors: dict[str, int] = {}
        self.aborted = 0
        self.bytes_up = 0
        self.bytes_down = 0
        self.registered = 0
        self.refused = 0
        self.dials_failed = 0
        self.lost = 0

    def responded(self, status: bytes) -> None:
        self.by_code[status] = self.by_code.get(status, 0) + 1

    def failed(self, reason: str) -> None:
        self.errors[reason] = self.errors.get(reason, 0) + 1


@dataclass(frozen=True, slots=True)
class EdgeView:
    """What metrics need of one connection that is up."""

    index: int
    location: str
    rtt_s: float | None
    streams: int


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the collector looks."""

    counters: Counters
    connections: Callable[[], Iterable[ConnectionSnapshot]]
    edges: Callable[[], Iterable[EdgeView]]
    config_version: Callable[[], int]
    label: str


ORIGIN_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class _Collector(Collector):
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        counters = self._sources.counters
        connections = list(self._sources.connections())
        serving = [c for c in connections if c.state == "serving"]
        yield from _cloudflared(counters, serving, self._sources.config_version())
        states = GaugeMetricFamily(
            "popnet_tunnel_connections", "Connections to the edge by state.", labels=["state"]
        )
        for state in sorted({c.state for c in connections}):
            states.add_metric([state], sum(c.state == state for c in connections))
        yield states
        rtt = GaugeMetricFamily(
            "popnet_tunnel_rtt_seconds",
            "Round-trip time to the PoP by the last heartbeat.",
            labels=["connection_id", "edge_location"],
        )
        streams = GaugeMetricFamily(
            "popnet_tunnel_streams",
            "Open streams of a connection.",
            labels=["connection_id", "edge_location"],
        )
        for edge in self._sources.edges():
            labels = [str(edge.index), edge.location]
            if edge.rtt_s is not None:
                rtt.add_metric(labels, edge.rtt_s)
            streams.add_metric(labels, edge.streams)
        yield rtt
        yield streams
        yield CounterMetricFamily(
            "popnet_tunnel_requests", "Requests from the edge.", counters.requests
        )
        errors = CounterMetricFamily(
            "popnet_tunnel_request_errors",
            "Requests without an origin's answer.",
            labels=["reason"],
        )
        for reason, count in sorted(counters.errors.items()):
            errors.add_metric([reason], count)
        yield errors
        for name, help_text, value in (
            ("requests_aborted", "Exchanges cut after their response began.", counters.aborted),
            ("registrations", "Registrations the edge accepted.", counters.registered),
            ("registrations_refused", "Registrations the edge refused.", counters.refused),
            ("dials_failed", "Connections that could not be made.", counters.dials_failed),
            ("connections_lost", "Serving connections that were lost.", counters.lost),
        ):
            yield CounterMetricFamily(f"popnet_tunnel_{name}", help_text, value)
        body = CounterMetricFamily(
            "popnet_tunnel_body_bytes", "Body bytes by direction.", labels=["direction"]
        )
        body.add_metric(["up"], counters.bytes_up)
        body.add_metric(["down"], counters.bytes_down)
        yield body
        info = GaugeMetricFamily("popnet_tunnel_info", "This connector.", labels=["label"])
        info.add_metric([self._sources.label], 1)
        yield info


def _cloudflared(
    counters: Counters, serving: list[ConnectionSnapshot], version: int
) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "cloudflared_tunnel_ha_connections", "Connections that serve requests.", len(serving)
    )
    locations = GaugeMetricFamily(
        "cloudflared_tunnel_server_locations",
        "Where each connection ends.",
        labels=["connection_id", "edge_location"],
    )
    for connection in serving:
        locations.add_metric([str(connection.index), connection.location], 1)
    yield locations
    # Counters whose names lack the suffix that the library would add.
    yield UnknownMetricFamily(
        "cloudflared_tunnel_total_requests", "Requests from the edge.", counters.requests
    )
    yield UnknownMetricFamily(
        "cloudflared_tunnel_request_errors",
        "Requests without an origin's answer.",
        sum(counters.errors.values()),
    )
    codes = UnknownMetricFamily(
        "cloudflared_tunnel_response_by_code", "Responses by status.", labels=["status_code"]
    )
    for status, count in sorted(counters.by_code.items()):
        codes.add_metric([status.decode("latin-1")], count)
    yield codes
    yield GaugeMetricFamily(
        "cloudflared_tunnel_concurrent_requests_per_tunnel",
        "Requests under way.",
        counters.in_flight,
    )
    success = UnknownMetricFamily(
        "cloudflared_tunnel_tunnel_register_success", "Registrations.", labels=["rpcName"]
    )
    success.add_metric(["registerConnection"], counters.registered)
    yield success
    yield GaugeMetricFamily(
        "cloudflared_orchestration_config_version", "Version of the configuration.", version
    )


class Metrics:
    """The process's registry."""

    def __init__(self, sources: Sources) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Collector(sources))
        self.origin_seconds = Histogram(
            "popnet_tunnel_origin_response_seconds",
            "From passing a request on to the head of the origin's response.",
            registry=self.registry,
            buckets=ORIGIN_BUCKETS,
        )

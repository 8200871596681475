"""Metrics of every node under one door, and the list of them for Prometheus.

/api/http_sd       targets with their labels: node, kind, lab
                   https://prometheus.io/docs/prometheus/latest/http_sd/
/metrics/NODE      a PoP, a site with connectors, `wan`, or `lab` (nodes and gateway)
/metrics           all of them on one page, each sample with its node
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from prometheus_client.exposition import generate_latest

from lab import adminhttp, configs, jsonlines, metrics
from lab.gateway.proxy import Proxy
from lab.jsonlines import RefusedError, UnreachableError
from lab.web.observer import Observer
from runtime.metrics import Counter, Family, Gauge, registry

WAN, LAB = "wan", "lab"
_WITHIN_S = 4.0


class Exposition:
    def __init__(self, observer: Observer, proxy: Proxy) -> None:
        self._observer = observer
        self._run = observer.run
        self._plan = observer.plan
        self._proxy = proxy

    def nodes(self) -> dict[str, str]:
        """Everything that has metrics, with its kind."""
        sites = [
            site for site in self._plan.world.sites if configs.connector_names(self._plan, site)
        ]
        return {
            **dict.fromkeys(self._plan.pops, "pop"),
            **dict.fromkeys(sites, "site"),
            WAN: WAN,
            LAB: LAB,
        }

    def targets(self, host: str) -> list[dict[str, Any]]:
        """`host` is how whoever asks has reached us: it will find the metrics there too."""
        return [
            {
                "targets": [host],
                "labels": {
                    "__metrics_path__": f"/metrics/{node}",
                    "node": node,
                    "kind": kind,
                    "lab": self._run.name,
                },
            }
            for node, kind in self.nodes().items()
        ]

    async def one(self, node: str) -> bytes | None:
        """Metrics of one node; None when it does not answer, so that Prometheus sees it down."""
        match self.nodes().get(node):
            case "wan":
                return await self._wan()
            case "lab":
                return await self._lab()
            case "pop":
                return await self._program(node, "admin.sock")
            case "site":
                names = configs.connector_names(self._plan, node)
                pages = [(name, await self._program(node, f"{name}.sock")) for name in names]
                found = [({"program": name}, page.decode()) for name, page in pages if page]
                return ("\n".join(metrics.merge(found)) + "\n").encode() if found else None
            case _:
                return None

    async def all(self) -> bytes:
        names = list(self.nodes())
        pages = await asyncio.gather(*(self.one(name) for name in names))
        lines = ["# HELP popnet_up Whether the process answers.", "# TYPE popnet_up gauge"]
        lines += [
            f'popnet_up{{node="{name}"}} {int(page is not None)}'
            for name, page in zip(names, pages, strict=True)
        ]
        found = [
            ({"node": name}, page.decode()) for name, page in zip(names, pages, strict=True) if page
        ]
        return ("\n".join([*lines, *metrics.merge(found)]) + "\n").encode()

    async def _program(self, node: str, door: str) -> bytes | None:
        path = self._run.node(node) / door
        try:
            answer = await adminhttp.request_async(path, "GET", "/metrics", within_s=_WITHIN_S)
        except UnreachableError:
            return None
        return answer.body if answer.status == 200 else None

    async def _wan(self) -> bytes | None:
        path = self._run.wan_socket
        try:
            status = await jsonlines.ask_async(path, {"op": "status"}, _WITHIN_S)
            links = await jsonlines.ask_async(path, {"op": "links", "pairs": None}, _WITHIN_S)
        except (UnreachableError, RefusedError):
            return None
        return generate_latest(
            registry(lambda: wan_families(status, links["links"]), process=False)
        )

    async def _lab(self) -> bytes:
        state = await self._observer.state()
        return generate_latest(registry(lambda: lab_families(state, self._proxy)))


def wan_families(status: dict[str, Any], links: list[dict[str, Any]]) -> Iterator[Family]:
    """The wan process, by its own account. A link's labels are its two ends; "" is the whole Internet."""
    yield Counter("popnet_wan_packets", "Packets that were judged.", [({}, status["packets"])])
    yield Gauge("popnet_wan_on_the_way", "Packets in the air.", [({}, status["on_the_way"])])
    yield Gauge("popnet_wan_flows", "Flows that are known.", [({}, status["flows"])])
    lateness = status["lateness"]
    yield Gauge(
        "popnet_wan_lateness_seconds",
        "How much later than the model says packets were handed over.",
        [
            ({"quantile": quantile}, lateness[key])
            for quantile, key in (("0.5", "p50_s"), ("0.99", "p99_s"), ("1", "max_s"))
            if lateness.get(key) is not None
        ],
    )
    yield Gauge(
        "popnet_wan_attached",
        "1 while the node is attached.",
        [({"of": one["node"]}, float(one["attached"])) for one in status["nodes"]],
    )
    ends = [({"source": one["from"] or "", "destination": one["to"] or ""}, one) for one in links]
    counted = (
        ("popnet_wan_link_packets", "Packets that came to the link.", "packets"),
        ("popnet_wan_link_bytes", "Bytes that came to the link.", "bytes"),
        ("popnet_wan_link_delivered", "Packets that the link delivered.", "delivered"),
    )
    for name, text, key in counted:
        yield Counter(name, text, [(labels, one["counters"][key]) for labels, one in ends])
    yield Counter(
        "popnet_wan_link_drops",
        "Packets that the link dropped, by reason.",
        [
            ({**labels, "reason": reason}, count)
            for labels, one in ends
            for reason, count in one["counters"]["drops"].items()
        ],
    )
    yield Gauge(
        "popnet_wan_link_queue_bytes",
        "Bytes waiting before the link.",
        [(labels, one["counters"]["queue_bytes"]) for labels, one in ends],
    )
    yield Gauge(
        "popnet_wan_link_delay_seconds",
        "One-way delay of the link as it is set now.",
        [(labels, one["current"]["one_way_s"]) for labels, one in ends],
    )


def lab_families(state: dict[str, Any], proxy: Proxy) -> Iterator[Family]:
    """Nodes, catchment and tunnels as the lab sees them, and the gateway itself."""
    yield Gauge(
        "popnet_lab_node_ready",
        "1 while all programs of the node run and it is attached.",
        [
            ({"of": one["name"], "of_kind": one["kind"]}, float(one["state"] == "ready"))
            for one in state["nodes"]
        ],
    )
    landed = [row for row in state["catchment"] if row["lands"] is not None]
    yield Gauge(
        "popnet_lab_catchment",
        "1 for the PoP at which a visitor lands.",
        [({"visitor": row["visitor"], "pop": row["lands"]}, 1.0) for row in landed],
    )
    yield Gauge(
        "popnet_lab_catchment_rtt_seconds",
        "RTT of a visitor to the PoP at which it lands, as the links are set now.",
        [({"visitor": row["visitor"]}, (row["rtt_ms"] or 0.0) / 1e3) for row in landed],
    )
    for name, text, key in (
        ("popnet_lab_tunnel_connections", "Connections that a connector has.", "ready"),
        ("popnet_lab_tunnel_connections_wanted", "Connections that a connector wants.", "wanted"),
    ):
        yield Gauge(
            name,
            text,
            [
                ({"site": one["site"], "connector": one["name"], "tunnel": one["tunnel"]}, one[key])
                for one in state["connectors"]
            ],
        )
    traffic = proxy.totals()
    yield Gauge("popnet_gateway_clients", "Clients of the proxy now.", [({}, len(proxy.clients))])
    for name, text, index in (
        ("popnet_gateway_connections", "Connections made for clients of the proxy.", 0),
        ("popnet_gateway_failures", "Connections that could not be made.", 1),
        ("popnet_gateway_sent_bytes", "Bytes carried into the world.", 2),
        ("popnet_gateway_received_bytes", "Bytes carried out of the world.", 3),
    ):
        yield Counter(
            name, text, [({"city": city}, values[index]) for city, values in traffic.items()]
        )

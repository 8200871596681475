"""What an operator asks a PoP, as JSON over its admin socket.

GET /ready /status /tunnels /requests?since=NUMBER /metrics      POST /drain
GET /routes /why?tunnel=NAME[&algorithm=NAME] /graph /lsdb: see drivers/views
GET and PUT /policy, POST /policy/test      GET and PUT /records      GET /pools /checks
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from pops.core.rules import PolicyError
from pops.drivers import views
from pops.drivers.metrics import collect
from pops.drivers.records import UnknownTargetError
from pops.drivers.views import ms
from runtime.admin import JSON, TEXT, AdminRequest, AdminServer, Answer
from runtime.metrics import registry
from wire.errors import UNREADABLE

if TYPE_CHECKING:
    from pops.pop import Pop


def _json(value: object, status: int = 200) -> Answer:
    return status, JSON, json.dumps(value, indent=1).encode() + b"\n"


def _measured_s(pop: Pop, neighbor: str) -> float | None:
    found = pop.link_state.probes.prober.measurement(neighbor)
    return None if found is None else found.rtt_s


class Admin:
    def __init__(self, pop: Pop, path: str, drain: Callable[[], None]) -> None:
        self._pop = pop
        self._drain = drain
        self._server = AdminServer(
            path,
            {
                ("GET", "/ready"): self.ready,
                ("GET", "/status"): self.status,
                ("GET", "/tunnels"): self.tunnels,
                ("GET", "/routes"): lambda _: _json(views.routes(pop)),
                ("GET", "/graph"): lambda _: _json(views.graph(pop)),
                ("GET", "/lsdb"): lambda _: _json(views.lsdb(pop)),
                ("GET", "/why"): self.why,
                ("GET", "/requests"): self.requests,
                ("POST", "/drain"): self.drain,
                ("GET", "/records"): self.records,
                ("PUT", "/records"): self.put_record,
                ("GET", "/pools"): self.pools,
                ("GET", "/checks"): self.checks,
                ("GET", "/policy"): self.policy,
                ("PUT", "/policy"): self.put_policy,
                ("POST", "/policy/test"): self.test_policy,
            },
            registry=registry(lambda: collect(pop)),
        )

    async def start(self) -> None:
        await self._server.start()

    def close(self) -> None:
        self._server.close()

    def ready(self, request: AdminRequest) -> Answer:
        pop = self._pop
        fields = {
            "ready": pop.ready,
            "draining": pop.draining,
            "overlay_up": len(pop.overlay.up()),
            "overlay_neighbors": len(pop.overlay.neighbors),
            "tunnel_connections": pop.registry.count,
            "routes_to": [one.name for one in pop.config.tunnels if pop.routes(one.id)],
        }
        return _json(fields, 200 if pop.ready else 503)

    def status(self, request: AdminRequest) -> Answer:
        pop = self._pop
        visitors = pop.visitors.snapshot()
        return _json(
            {
                "name": pop.config.name,
                "address": pop.config.address,
                "region": pop.config.region,
                "ready": pop.ready,
                "draining": pop.draining,
                "uptime_s": round(pop.clock() - pop.started_at, 3),
                "visitors": {"connections": visitors.connections, "streams": visitors.streams},
                "exchanges": len(pop.proxy.exchanges),
                "requests": sum(pop.proxy.stats.requests.values()),
                "overlay": {
                    name: {
                        "up": neighbor.up,
                        "rtt_ms": ms(_measured_s(pop, name)),
                        "error": neighbor.error,
                    }
                    for name, neighbor in pop.overlay.neighbors.items()
                },
                "reachable": pop.lsdb.reachable(),
                "tunnels": self._tunnels(),
            }
        )

    def tunnels(self, request: AdminRequest) -> Answer:
        return _json(self._tunnels())

    def _tunnels(self) -> list[dict[str, Any]]:
        now = self._pop.clock()
        return [
            {
                "tunnel": c.tunnel_name,
                "id": c.tunnel,
                "connector": c.connector,
                "index": c.index,
                "connection": c.name,
                "version": c.version,
                "peer": c.origin_ip,
                "site": c.site or None,
                "rtt_ms": ms(c.rtt_s),
                "streams": c.carrier.streams,
                "draining": c.draining,
                "age_s": round(now - c.since, 3),
            }
            for c in sorted(self._pop.registry, key=lambda c: c.name)
        ]

    async def why(self, request: AdminRequest) -> Answer:
        pop = self._pop
        asked = parse_qs(request.query)
        name, algorithm = (asked.get(key, [""])[-1] for key in ("tunnel", "algorithm"))
        tunnel, table = views.tunnel_id(pop, name), views.table_of(pop, algorithm)
        if tunnel is None:
            known = ", ".join(one.name for one in pop.config.tunnels) or "none"
            return 404, TEXT, f"no tunnel {name!r}; there are {known}\n".encode()
        if table is None:
            known = ", ".join([pop.ways.table.algorithm.name, *pop.ways.beside])
            return 404, TEXT, f"{algorithm!r} is not worked out here; {known} is\n".encode()
        steps = views.explaining(table, tunnel, pop.clock())
        while True:
            try:
                next(steps)
            except StopIteration as done:
                return _json(views.why(pop, table, tunnel, done.value))
            await asyncio.sleep(0)

    def requests(self, request: AdminRequest) -> Answer:
        """The last requests of visitors, oldest first; with ?since=NUMBER those after that one."""
        pop = self._pop
        since = request.query.removeprefix("since=")
        number = int(since) if since.isascii() and since.isdigit() else 0
        return _json(pop.proxy.recent.since(number, pop.clock()))

    def records(self, request: AdminRequest) -> Answer:
        return _json(msgspec.to_builtins(self._pop.book.records.everything()))

    def put_record(self, request: AdminRequest) -> Answer:
        try:
            asked = msgspec.json.decode(request.body, type=dict[str, object])
            record = self._pop.book.change(asked)
        except (UnknownTargetError, *UNREADABLE) as error:
            return 400, TEXT, f"{error}\n".encode()
        return _json(msgspec.to_builtins(record))

    def pools(self, request: AdminRequest) -> Answer:
        return _json(self._pop.balancers.snapshot())

    def checks(self, request: AdminRequest) -> Answer:
        return _json(self._pop.balancers.checks.snapshot())

    def policy(self, request: AdminRequest) -> Answer:
        return _json(self._pop.security.snapshot())

    def put_policy(self, request: AdminRequest) -> Answer:
        try:
            policy = self._pop.security.replace(request.body)
        except PolicyError as error:
            return 400, TEXT, f"{error}\n".encode()
        return _json({"version": policy.version, "rules": len(policy.rules)})

    def test_policy(self, request: AdminRequest) -> Answer:
        try:
            verdict = self._pop.security.test(json.loads(request.body))
        except (PolicyError, ValueError) as error:
            return 400, TEXT, f"{error}\n".encode()
        return _json(
            {
                "rule": verdict.rule,
                "name": verdict.name,
                "status": verdict.status,
                "detail": verdict.detail,
                "retry_after_s": round(verdict.retry_after_s, 3),
                "logged": verdict.logged,
            }
        )

    def drain(self, request: AdminRequest) -> Answer:
        self._drain()
        return _json({"draining": True})

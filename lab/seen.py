"""What the PoPs of a world know and decide, asked the same way of a running lab and of a world in virtual time."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

import msgspec

from lab.driver import Lab, LabError
from lab.experiment.truth import Rtt, Truth
from lab.rtts import current_rtts
from lab.standing import standing
from topology.plan import Plan

# In virtual time: how long PoPs have measured before they are asked. Longer than a route is young.
_MEASURED_FOR_S = 15.0

_VERDICT = ("rule", "name", "status", "detail")


class Seen(Protocol):
    plan: Plan

    def pops(self) -> list[str]:
        """Those that serve, in the order of the world file."""

    def ask(self, pop: str, what: str, tunnel: str = "", algorithm: str = "") -> Any:
        """`what`: routes, why, graph, lsdb, records, pools.

        LabError when the PoP does not answer or does not know what is named.
        """

    def judge(self, pop: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Which security rule the request would meet: `rule`, `name`, `status` (0: it passes) and `detail`."""

    def lands(self, visitor: str) -> str | None: ...

    def rtt_s(self) -> Rtt:
        """Round trips as the links really are at this moment."""

    def wait(self, seconds: float) -> None: ...


class InLab:
    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.plan = lab.plan

    def pops(self) -> list[str]:
        # Who has vanished still answers us, and has its opinion.
        states = {one["name"]: one["state"] for one in standing(self._lab)["nodes"]}
        return [pop for pop in self.plan.pops if states[pop] in ("ready", "vanished")]

    def ask(self, pop: str, what: str, tunnel: str = "", algorithm: str = "") -> Any:
        given = {"tunnel": tunnel, "algorithm": algorithm}
        query = urlencode({key: value for key, value in given.items() if value})
        return self._told(pop, "GET", f"/{what}?{query}" if query else f"/{what}")

    def judge(self, pop: str, request: Mapping[str, Any]) -> dict[str, Any]:
        told = self._told(pop, "POST", "/policy/test", json.dumps(request).encode())
        return {key: told[key] for key in _VERDICT}

    def _told(self, pop: str, method: str, target: str, body: bytes | None = None) -> Any:
        answer = self._lab.admin(pop, method, target, body)
        if answer.status != 200:
            raise LabError(f"{pop}: {answer.body.decode(errors='replace').strip()}")
        return answer.json()

    def lands(self, visitor: str) -> str | None:
        rows = self._lab.wan("catchment")["rows"]
        lands: str | None = next(row["lands"] for row in rows if row["visitor"] == visitor)
        return lands

    def rtt_s(self) -> Rtt:
        return current_rtts(self._lab)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


class InVirtualTime:
    def __init__(self, world: Any) -> None:
        self._world = world
        self.plan: Plan = world.plan

    def pops(self) -> list[str]:
        return [pop for pop in self.plan.pops if self._world.nodes[pop].ready]

    def ask(self, pop: str, what: str, tunnel: str = "", algorithm: str = "") -> Any:
        from pops.drivers import views

        process = self._process(pop)
        match what:
            case "routes":
                return views.routes(process)
            case "graph":
                return views.graph(process)
            case "lsdb":
                return views.lsdb(process)
            case "records":
                return msgspec.to_builtins(process.book.records.everything())
            case "pools":
                return process.balancers.snapshot()
        identity = views.tunnel_id(process, tunnel)
        if identity is None:
            raise LabError(f"{pop} knows no tunnel {tunnel!r}")
        table = views.table_of(process, algorithm)
        if table is None:
            raise LabError(f"{pop} does not work out {algorithm!r}")
        told = table.explain(identity, process.clock())
        return views.why(process, table, identity, told)

    def judge(self, pop: str, request: Mapping[str, Any]) -> dict[str, Any]:
        verdict = self._process(pop).security.test(request)
        return {key: getattr(verdict, key) for key in _VERDICT}

    def _process(self, pop: str) -> Any:
        process = self._world.nodes[pop].pop
        if process is None:
            raise LabError(f"{pop} does not run")
        return process

    def lands(self, visitor: str) -> str | None:
        lands: str | None = self._world.lands(visitor)
        return lands

    def rtt_s(self) -> Rtt:
        rtt_s: Rtt = self._world.rtt_s
        return rtt_s

    def wait(self, seconds: float) -> None:
        self._world.run_for(seconds)


def in_lab(name: str | None) -> Seen:
    return InLab(Lab.open(name, tell=lambda text: print(f"popnet: {text}", file=sys.stderr)))  # noqa: T201


@contextlib.contextmanager
def in_virtual_time(file: Path) -> Iterator[Seen]:
    from lab.drivers.virtual import VirtualWorld
    from lab.worlds import load_world

    with VirtualWorld(Plan.of(load_world(file))) as world:
        world.start()
        world.run_for(_MEASURED_FOR_S)
        yield InVirtualTime(world)


def truth_of(seen: Seen) -> Truth:
    """Declared round trips at this moment, among the PoPs that serve."""
    return Truth.of(seen.plan, seen.rtt_s(), seen.pops())

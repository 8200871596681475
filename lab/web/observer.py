"""One account of the whole lab: gathered from its processes when somebody looks, kept for a moment.

Whoever does not answer is left out and named: an account that waits for the slowest, or stops at the first failure,
would be useless just when something is broken.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from math import inf
from pathlib import Path
from typing import Any, Final

import msgspec

from lab import adminhttp, configs, jsonlines
from lab.jsonlines import Message, RefusedError, UnreachableError
from lab.rundir import RunDir
from lab.standing import node_state
from topology.plan import Plan

_WITHIN_S: Final = 1.5
_AT_ONCE: Final = 8
_REQUESTS_KEPT: Final = 200
_REQUESTS_SHOWN: Final = 60


@dataclass(slots=True)
class Observer:
    run: RunDir
    plan: Plan
    gateway: Callable[[], Message]
    """What the gateway says of itself."""
    _declared: list[dict[str, Any]] = field(init=False)
    _state: Message | None = None
    _gathered_at: float = -inf
    _gathering: asyncio.Lock = field(default_factory=asyncio.Lock)
    _seen: dict[str, tuple[float, int]] = field(default_factory=dict)
    _requests: deque[Message] = field(default_factory=lambda: deque(maxlen=_REQUESTS_KEPT))
    _names: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        delay = configs.declared(self.plan)
        neighbors = {pop: set(self.plan.neighbors(pop)) for pop in self.plan.pops}
        self._declared = [
            {"a": a, "b": b, "declared_ms": _ms(delay(a, b) + delay(b, a))}
            for a, b in combinations(self.plan.pops, 2)
            if b in neighbors[a] or a in neighbors[b]
        ]
        self._names = {node.address: name for name, node in self.plan.nodes.items()}

    @property
    def interval_s(self) -> float:
        """How often it is worth asking: once a second, less often in large worlds."""
        return max(1.0, len(self.plan.pops) / 16)

    async def state(self, newer_than_s: float | None = None) -> Message:
        """An account not older than that; by default than `interval_s`. Who comes meanwhile shares it."""
        allowed = self.interval_s if newer_than_s is None else newer_than_s
        async with self._gathering:
            if self._state is None or time.monotonic() - self._gathered_at > allowed:
                self._state = await self._gather()
                self._gathered_at = time.monotonic()
            return self._state

    # Gathering

    async def _gather(self) -> Message:
        silent: list[str] = []
        lab, wan, catchment, rtts = await asyncio.gather(
            self._ask(self.run.lab_socket, {"op": "status"}, "lab", silent),
            self._ask(self.run.wan_socket, {"op": "status"}, "wan", silent),
            self._ask(self.run.wan_socket, {"op": "catchment"}, "wan", silent),
            self._ask(
                self.run.wan_socket,
                {"op": "rtts", "pairs": [[one["a"], one["b"]] for one in self._declared]},
                "wan",
                silent,
            ),
        )
        nodes = self._nodes(lab, wan)
        state_of = {node["name"]: node["state"] for node in nodes}
        # A paused process would keep everybody waiting, a dead one has nothing to say.
        asked = [pop for pop in self.plan.pops if state_of[pop] in ("ready", "vanished", "unknown")]
        pops = await self._pops(asked, silent)
        for node in nodes:
            if pops.get(node["name"], {}).get("draining"):
                node["state"] = "draining"
        return {
            "t": time.time(),
            "lab": self.run.name,
            "world": self.plan.name,
            "algorithm": self.plan.world.routing.algorithm,
            "phase": lab.get("phase", "unknown"),
            "since": lab.get("since"),
            "nodes": nodes,
            "hosts": list(self.plan.world.dns),
            "overlay": self._overlay(rtts.get("rtts_s"), pops),
            "catchment": [_catchment(row) for row in catchment.get("rows", ())],
            "connectors": await self._connectors(state_of, silent),
            "requests": self._last_requests(),
            "wan": {
                key: wan[key]
                for key in ("packets", "lateness", "on_the_way", "flows")
                if key in wan
            },
            "gateway": self.gateway(),
            "silent": sorted(set(silent)),
        }

    async def _ask(self, path: Path, message: Message, who: str, silent: list[str]) -> Message:
        try:
            return await jsonlines.ask_async(path, message, within_s=_WITHIN_S)
        except (UnreachableError, RefusedError):
            silent.append(who)
            return {}

    def _nodes(self, lab: Message, wan: Message) -> list[Message]:
        told = {node["name"]: node for node in lab.get("nodes", ())}
        attached = {node["node"]: node for node in wan.get("nodes", ())}
        return [
            {
                "name": name,
                "kind": node.kind,
                "address": node.address,
                "place": node.place,
                "country": node.country,
                "region": node.region,
                "lat": node.lat,
                "lon": node.lon,
                "state": node_state(told.get(name), attached.get(name)),
                "announced": bool(attached.get(name, {}).get("announced")),
            }
            for name, node in self.plan.nodes.items()
        ]

    async def _pops(self, names: list[str], silent: list[str]) -> dict[str, Message]:
        found: dict[str, Message] = {}

        async def ask(name: str) -> None:
            path = self.run.node(name) / "admin.sock"
            since = self._seen.get(name, (0.0, 0))
            try:
                status = await _json(path, "/status")
                # A PoP that was started again counts from one.
                number = since[1] if status["uptime_s"] >= since[0] else 0
                requests = await _json(path, f"/requests?since={number}")
            except UnreachableError:
                silent.append(name)
                return
            found[name] = status
            if requests:
                number = requests[-1]["number"]
            self._seen[name] = (status["uptime_s"], number)
            now = time.time()
            self._requests.extend(self._request(name, one, now) for one in requests)

        await _all(ask(name) for name in names)
        return found

    def _request(self, ingress: str, told: Message, now: float) -> Message:
        """A PoP's account of one request, with names for addresses and the time by our clock."""
        return {
            "id": f"{ingress}-{told['ray']}",
            "t": round(now - told["age_s"], 3),
            "visitor": self._names.get(told["visitor"], told["visitor"]),
            "site": told["site"],
            **{
                key: told[key]
                for key in (
                    "method",
                    "host",
                    "path",
                    "status",
                    "head_ms",
                    "pops",
                    "connection",
                    "problem",
                    "ray",
                )
            },
        }

    def _last_requests(self) -> list[Message]:
        """Newest first."""
        return sorted(self._requests, key=lambda one: -one["t"])[:_REQUESTS_SHOWN]

    def _overlay(
        self, current: list[float | None] | None, pops: Mapping[str, Message]
    ) -> list[Message]:
        found = []
        for index, pair in enumerate(self._declared):
            a, b = pair["a"], pair["b"]
            seen = [
                pops[one]["overlay"][other]
                for one, other in ((a, b), (b, a))
                if one in pops and other in pops[one]["overlay"]
            ]
            measured = [one["rtt_ms"] for one in seen if one["rtt_ms"] is not None and one["up"]]
            current_s = None if current is None else current[index]
            found.append(
                {
                    **pair,
                    "current_ms": None if current_s is None else _ms(current_s),
                    "measured_ms": min(measured, default=None),
                    "up": bool(seen) and all(one["up"] for one in seen),
                }
            )
        return found

    async def _connectors(self, state_of: Mapping[str, str], silent: list[str]) -> list[Message]:
        found: list[Message] = []

        async def ask(site: str, name: str, tunnel: str, wanted: int) -> None:
            entry: Message = {"site": site, "name": name, "tunnel": tunnel, "wanted": wanted}
            try:
                status = await _json(self.run.node(site) / f"{name}.sock", "/status")
                connections = [_connection(one) for one in status["connections"]]
                ready = int(status["ready"])
            except (UnreachableError, KeyError):
                silent.append(f"{site} {name}")
                connections, ready = [], 0
            found.append({**entry, "ready": ready, "connections": connections})

        await _all(
            ask(site, name, *entry)
            for site in self.plan.world.sites
            if state_of[site] != "paused"
            for name, entry in configs.connector_names(self.plan, site).items()
        )
        return sorted(found, key=lambda one: (one["site"], one["name"]))


async def _json(path: Path, target: str) -> Any:
    answer = await adminhttp.request_async(path, "GET", target, within_s=_WITHIN_S)
    try:
        return msgspec.json.decode(answer.body)
    except msgspec.DecodeError as error:
        raise UnreachableError(f"{path}{target}: {error}") from error


async def _all(asking: Iterable[Awaitable[None]]) -> None:
    """A few at a time: a world may have hundreds of processes."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(question: Awaitable[None]) -> None:
        async with gate:
            await question

    await asyncio.gather(*(one(question) for question in asking))


def _ms(seconds: float) -> float | None:
    return None if seconds == inf else round(seconds * 1e3, 2)


def _catchment(row: Message) -> Message:
    rtt, nearest = row["rtt_s"], row["nearest_rtt_s"]
    return {
        "visitor": row["visitor"],
        "lands": row["lands"],
        "rtt_ms": None if rtt is None else _ms(rtt),
        "nearest": row["nearest"],
        "nearest_rtt_ms": None if nearest is None else _ms(nearest),
        "pinned": row.get("pinned"),
    }


def _connection(one: Message) -> Message:
    rtt = one.get("rtt_s")
    return {
        "index": one["index"],
        "state": one["state"],
        "pop": one.get("location"),
        "region": one.get("region"),
        "rtt_ms": None if rtt is None else _ms(rtt),
        "streams": one.get("streams", 0),
        "reason": one.get("reason", ""),
    }

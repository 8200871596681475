"""Small worlds and hand-made packets for the tests of the WAN."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable

import pytest

from topology.load import parse_world
from topology.plan import Plan
from wan import packet
from wan.fabric import Fabric
from wan.router import Pending, Router

WORLD: dict[str, object] = {
    "popnet": 1,
    "seed": 7,
    "pops": {"LHR": {"region": 1}, "NRT": {"region": 2}, "SIN": {"region": 1}},
    "visitors": ["tokyo", "london"],
    "sites": {"dublin": {}},
    "internet": {
        "rtt_ms": {
            "LHR": {"NRT": 240, "SIN": 160},
            "NRT": {"SIN": 70},
            "tokyo": {"NRT": 4, "LHR": 250, "SIN": 72, "dublin": 260, "london": 252},
            "london": {"LHR": 6},
            "dublin": {"LHR": 10, "NRT": 250, "SIN": 170},
        },
        "defaults": {"rate_mbit": "unlimited"},
    },
    "anycast": {"convergence": 3},
}


def make_plan(**sections: object) -> Plan:
    return Plan.of(parse_world(json.dumps({**WORLD, **sections})))


@pytest.fixture
def plan() -> Plan:
    return make_plan()


@pytest.fixture
def planner() -> Callable[..., Plan]:
    return make_plan


class Bench:
    """A router without devices: what nodes send goes in, what would be written comes out, with its time."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.fabric = Fabric(plan)
        self.router = Router(self.fabric)
        for name, door in self.fabric.doors.items():
            self.fabric.attach(name, 100)
            if door.node.kind == "pop":
                self.fabric.announce(name, True, 0.0)

    def address(self, name: str) -> str:
        return self.plan.nodes[name].address if name in self.plan.nodes else name

    def send(self, source: str, data: bytes, now: float = 0.0) -> None:
        self.router.submit(self.fabric.doors[source], data, now)

    def arrivals(self, until: float = 1e9) -> list[tuple[float, str, bytes]]:
        """(time, node, packet) of all that is due, in order."""
        from heapq import heappop

        pending: Pending = self.router.pending
        out: list[tuple[float, str, bytes]] = []
        while pending and pending[0][0] <= until:
            at, _, target, data = heappop(pending)
            if hasattr(target, "due"):
                target.due(at, data)
            else:
                out.append((at, target.destination.name, bytes(data)))
        return out

    def udp(
        self,
        source: str,
        destination: str,
        ports: tuple[int, int] = (40000, 53),
        size: int = 100,
        **ip: int,
    ) -> bytes:
        body = struct.pack("!HHHH", *ports, size - 20, 0) + bytes(size - 28)
        return self.ip(source, destination, packet.UDP, body, **ip)

    def tcp(
        self, source: str, destination: str, ports: tuple[int, int] = (40000, 443), **ip: int
    ) -> bytes:
        return self.ip(
            source,
            destination,
            packet.TCP,
            struct.pack("!HHIIBBHHH", *ports, 1, 0, 80, 2, 1000, 0, 0),
            **ip,
        )

    def echo(
        self,
        source: str,
        destination: str,
        ident: int = 9,
        kind: int = 8,
        size: int = 84,
        **ip: int,
    ) -> bytes:
        body = struct.pack("!BBHHH", kind, 0, 0, ident, 1) + bytes(size - 28)
        body = body[:2] + packet.checksum(body).to_bytes(2) + body[4:]
        return self.ip(source, destination, packet.ICMP, body, **ip)

    def ip(
        self,
        source: str,
        destination: str,
        protocol: int,
        body: bytes,
        *,
        ttl: int = 64,
        flags: int = 0x4000,
    ) -> bytes:
        addresses = (packet.pack_address(self.address(name)) for name in (source, destination))
        front = struct.pack(
            "!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 7, flags, ttl, protocol, 0, *addresses
        )
        return front[:10] + packet.checksum(front).to_bytes(2) + front[12:] + body


@pytest.fixture
def bench(plan: Plan) -> Bench:
    return Bench(plan)


@pytest.fixture
def bench_of() -> Callable[..., Bench]:
    return lambda **sections: Bench(make_plan(**sections))

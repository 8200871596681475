"""A fabric as people and programs see it from outside: rows of JSON values."""

from __future__ import annotations

import math

from wan.fabric import Fabric
from wan.link import Link

Row = dict[str, object]


def nodes(fabric: Fabric) -> list[Row]:
    """Every node: whether it is there, and what it lost before any link."""
    return [
        {
            "node": door.name,
            "attached": door.attached,
            "announced": door.announced,
            "vanished": door.vanished,
            "address": door.node.address,
            "routed": fabric.catchment.is_routed(door.name),
            "drops": door.drops,
        }
        for door in fabric.doors.values()
    ]


def catchment(fabric: Fabric, address: str) -> list[Row]:
    """Where every visitor lands and what that costs it: RTT as it is now, beside the lowest declared one."""
    rows: list[Row] = []
    for name, door in fabric.doors.items():
        if door.node.kind != "visitor":
            continue
        lands = fabric.catchment.lands(name, address)
        nearest = fabric.catchment.nearest(name, address)
        rows.append(
            {
                "visitor": name,
                "lands": lands,
                "rtt_s": None if lands is None else finite(fabric.rtt(name, lands)),
                "nearest": nearest,
                "nearest_rtt_s": finite(fabric.plan.rtt(name, nearest)),
                "pinned": fabric.catchment.pins.get(name),
            }
        )
    return rows


def link(source: str, destination: str, subject: Link, now: float) -> Row:
    """One direction: as declared, as it is now, and what passed it."""
    return {
        "from": source,
        "to": destination,
        "declared": subject.declared,
        "current": subject.spec,
        "counters": {
            "packets": subject.packets,
            "bytes": subject.bytes,
            "delivered": subject.delivered,
            "duplicates": subject.duplicates,
            "drops": subject.drops,
            "queue_bytes": subject.queued_bytes(now),
        },
    }


def finite(seconds: float) -> float | None:
    """JSON has no infinity."""
    return seconds if math.isfinite(seconds) else None

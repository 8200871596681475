"""SRV records as a tunnel client uses them: which names to ask for, and which answers are region 1 and 2.

RFC 2782: lowest priority first, and within one priority a weighted draw. The first two records of
that order are the two regions; each region's target is then looked up for its addresses.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

TUNNEL_PORT = 7844
# The names inside the edge's certificate, by what a connection is for.
SERVER_NAME_HTTP2 = "h2.cftunnel.com"
SERVER_NAME_QUIC = "quic.cftunnel.com"
SERVER_NAME_PROBE = "probe.cftunnel.com"

_DOMAIN = "argotunnel.com"
_SERVICE = "v2-origintunneld"


@dataclass(frozen=True, slots=True, order=True)
class SrvRecord:
    priority: int
    weight: int
    port: int
    target: str


def tunnel_service(region: str = "") -> str:
    """The name whose SRV records lead to the tunnel regions; `region` is "", "us" or "fed"."""
    prefix = f"{region}-" if region else ""
    return f"_{prefix}{_SERVICE}._tcp.{_DOMAIN}"


def region_target(number: int, region: str = "") -> str:
    """The name that stands for region `number` (1 or 2) in those records."""
    prefix = f"{region}-" if region else ""
    return f"{prefix}region{number}.v2.{_DOMAIN}"


def in_order(records: Iterable[SrvRecord], rng: random.Random) -> list[SrvRecord]:
    """The order in which to use `records` (RFC 2782, "Usage rules")."""
    # Sorted first, so that the draw does not depend on the order of the answer.
    waiting = sorted(records)
    ordered: list[SrvRecord] = []
    while waiting:
        lowest = waiting[0].priority
        group = [record for record in waiting if record.priority == lowest]
        waiting = waiting[len(group) :]
        while group:
            # Sorted by weight, so records of weight 0 stand first and have the small chance that
            # the RFC gives them.
            mark = rng.randint(0, sum(record.weight for record in group))
            running = 0
            for i, record in enumerate(group):
                running += record.weight
                if running >= mark:
                    ordered.append(group.pop(i))
                    break
    return ordered

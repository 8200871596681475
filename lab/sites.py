"""Which site serves: by what a response says, or by the world file before there is one."""

from __future__ import annotations

from collections.abc import Iterable

from topology.model_pools import parted
from topology.plan import Plan

SITE_FIELD = "popnet-site"


def site_of(plan: Plan, host: str | None) -> str | None:
    """The site behind a host name; None where there may be several, for then only a response tells."""
    world = plan.world
    record = world.dns.get(host or "")
    if record is None:
        return None
    pool = world.load_balancers.get(record.load_balancer or "")
    members = [record.tunnel or ""] if pool is None else [*pool.pool]
    sites = set()
    for tunnel, only in map(parted, members):
        if tunnel in world.tunnels:
            sites |= {only} if only else {*world.tunnels[tunnel].sites}
    return sites.pop() if len(sites) == 1 else None


def site_that_answered(
    plan: Plan, host: str | None, headers: Iterable[tuple[str, str]]
) -> str | None:
    """As the edge says in its answer: it knows from where the connection was made."""
    told = next((value for name, value in headers if name == SITE_FIELD), None)
    return told if told in plan.world.sites else site_of(plan, host)

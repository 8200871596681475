"""Which site serves: by what a response says of its tunnel, or by the world file before there is one."""

from __future__ import annotations

from collections.abc import Iterable

from topology.plan import Plan

TUNNEL_FIELD = "popnet-tunnel"


def site_of(plan: Plan, host: str | None) -> str | None:
    """The site behind a host name; None for a load balancer, where only a response tells."""
    record = plan.world.dns.get(host or "")
    return _site(plan, record.tunnel if record is not None else None)


def site_that_answered(
    plan: Plan, host: str | None, headers: Iterable[tuple[str, str]]
) -> str | None:
    """As the edge says in its answer."""
    told = next((value for name, value in headers if name == TUNNEL_FIELD), None)
    return _site(plan, told) or site_of(plan, host)


def _site(plan: Plan, tunnel: str | None) -> str | None:
    found = plan.world.tunnels.get(tunnel or "")
    return found.site if found is not None else None

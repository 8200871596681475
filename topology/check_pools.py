"""Checks of meaning for load balancers: members that are there, and one way to check each tunnel."""

from __future__ import annotations

from topology.document import Document
from topology.model import World
from topology.model_pools import parted
from topology.names import Names
from topology.problems import shown


def check_pools(document: Document, world: World, names: Names) -> None:
    for name, balancer in world.load_balancers.items():
        for member in balancer.pool:
            _check_member(document, world, names, name, member)
        if balancer.fallback is not None:
            here = ("load_balancers", name, "fallback")
            names.check(here, balancer.fallback, names.tunnels, "tunnel")
    _check_health(document, world)


def _check_member(
    document: Document, world: World, names: Names, balancer: str, member: str
) -> None:
    here = ("load_balancers", balancer, "pool", member)
    at_key = here in document.keys
    tunnel, site = parted(member)
    if not names.check(here, tunnel, names.tunnels, "tunnel", at_key=at_key) or not site:
        return
    if tunnel in world.load_balancers[balancer].pool:
        allowed = "a tunnel as a whole, or some of its sites"
        document.problem(here, f"{shown(member)} beside {shown(tunnel)}", allowed, at_key=at_key)
    elif tunnel in world.tunnels:
        names.check(here, site, world.tunnels[tunnel].sites, f"site of {tunnel}", at_key=at_key)


def _check_health(document: Document, world: World) -> None:
    """A service is well or not, whoever asks: what checks say of a tunnel goes to all PoPs once, for all its pools."""
    first: dict[str, str] = {}
    for name, balancer in world.load_balancers.items():
        tunnels = [parted(member)[0] for member in balancer.pool]
        others = {tunnel: first.setdefault(tunnel, name) for tunnel in tunnels}
        for tunnel, other in others.items():
            if world.load_balancers[other].health != balancer.health:
                line = document.spot(("load_balancers", other, "health"))[0]
                there = f"load_balancers.{other}.health (line {line})"
                found = f"other checks of {shown(tunnel)} than {there}"
                here = ("load_balancers", name, "health")
                document.problem(here, found, "the same health in every pool of a tunnel")
                break

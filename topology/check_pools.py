"""Checks of meaning for load balancers: members that are there, and one way to check each tunnel."""

from __future__ import annotations

from topology.document import Document
from topology.model import World
from topology.names import Names
from topology.problems import shown


def check_pools(document: Document, world: World, names: Names) -> None:
    for name, balancer in world.load_balancers.items():
        for tunnel in balancer.pool:
            here = ("load_balancers", name, "pool", tunnel)
            names.check(here, tunnel, names.tunnels, "tunnel", at_key=here in document.keys)
        if balancer.fallback is not None:
            here = ("load_balancers", name, "fallback")
            names.check(here, balancer.fallback, names.tunnels, "tunnel")
    _check_health(document, world)


def _check_health(document: Document, world: World) -> None:
    """A service is well or not, whoever asks: what checks say of a tunnel goes to all PoPs once, for all its pools."""
    first: dict[str, str] = {}
    for name, balancer in world.load_balancers.items():
        others = {tunnel: first.setdefault(tunnel, name) for tunnel in balancer.pool}
        for tunnel, other in others.items():
            if world.load_balancers[other].health != balancer.health:
                line = document.spot(("load_balancers", other, "health"))[0]
                there = f"load_balancers.{other}.health (line {line})"
                found = f"other checks of {shown(tunnel)} than {there}"
                here = ("load_balancers", name, "health")
                document.problem(here, found, "the same health in every pool of a tunnel")
                break

"""A tunnel's connectors at one site, where a load balancer wants them apart: a destination of its own.

To routing it is one more tunnel, whose connections are some of those of another. Its identity follows from the tunnel's
and the site's name, so that all PoPs call it the same without telling each other.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from pops.config import PopConfig


@dataclass(frozen=True, slots=True)
class Place:
    """`id` is a UUID, as `tunnel` is; `name`: TUNNEL@SITE."""

    id: str
    tunnel: str
    tunnel_name: str
    site: str

    @property
    def name(self) -> str:
        return f"{self.tunnel_name}@{self.site}"


def place_id(tunnel: str, site: str) -> str:
    """As RFC 9562 section 5.5 makes a UUID of a name."""
    return tunnel if not site else str(uuid.uuid5(uuid.UUID(tunnel), site))


def places(config: PopConfig) -> dict[str, Place]:
    """Those that the pools of this world have, by identity."""
    return {one.id: one for one in _places(config)}


def _places(config: PopConfig) -> Iterator[Place]:
    ids = {tunnel.name: tunnel.id for tunnel in config.tunnels}
    for balancer in config.load_balancers.values():
        for member in balancer.members:
            if member.site:
                tunnel = ids[member.tunnel]
                yield Place(place_id(tunnel, member.site), tunnel, member.tunnel, member.site)


def destinations(config: PopConfig) -> dict[str, str]:
    """Identity -> name, of tunnels and of their connectors at one site."""
    names = {tunnel.id: tunnel.name for tunnel in config.tunnels}
    return names | {one.id: one.name for one in _places(config)}

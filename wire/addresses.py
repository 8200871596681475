"""Who stands behind an address, as far as limits are concerned."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address


@lru_cache(maxsize=1024)
def network(address: str) -> str:
    """Who has one address of IPv6 has all of its /64."""
    if ":" not in address:
        return address
    return IPv6Address(address.partition("%")[0]).exploded[:19]

"""Which addresses nodes and anycast groups have.

Unicast lies in 100.64.0.0/10 (RFC 6598), a /16 a kind, so that an address tells what it belongs to;
anycast in 198.18.0.0/15 (RFC 2544, for benchmarks): neither is anyone's on the real Internet.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

UNICAST = "100.64.0.0/10"
BLOCKS = {
    "pop": IPv4Address("100.64.0.0"),
    "visitor": IPv4Address("100.65.0.0"),
    "site": IPv4Address("100.66.0.0"),
}
# Without the first and the last address of a block: some programs take those for a network's own.
CAPACITY = 2**16 - 2

VISITORS_ANYCAST = "198.18.0.1"
DNS_ANYCAST = "198.18.0.53"
REGION_ANYCAST = {
    region: tuple(f"198.18.{region}.{host}" for host in range(1, 11)) for region in (1, 2)
}


def unicast(kind: str, names: Sequence[str]) -> dict[str, str]:
    """One address a node, in file order."""
    assert len(names) <= CAPACITY, "the loader refuses worlds that do not fit"
    return {name: str(BLOCKS[kind] + number) for number, name in enumerate(names, 1)}

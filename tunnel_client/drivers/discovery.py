"""Where the edge is: by SRV and address look-ups, or as `--edge` says.

The first two SRV records, in the order of RFC 2782, are the two regions; their targets' addresses
are the addresses to dial. There is no partial answer: with one region alone, four connections would
end in one PoP.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from runtime.errors import ResolveError
from runtime.resolver import Resolver
from wire.srv import in_order, tunnel_service

REGIONS = 2
HostPort = tuple[str, int]


async def regions(resolver: Resolver, region: str, rng: random.Random) -> list[list[HostPort]]:
    """The addresses of each region. Raises `ResolveError`."""
    name = tunnel_service(region)
    records = in_order(await resolver.srv(name), rng)
    if len(records) < REGIONS:
        raise ResolveError(name, f"{len(records)} SRV record found, two regions are needed")
    found = await asyncio.gather(
        *(resolver.addresses(record.target) for record in records[:REGIONS])
    )
    return [
        [(address, record.port) for address in addresses]
        for record, addresses in zip(records, found, strict=False)
    ]


async def static(resolver: Resolver, edges: Sequence[HostPort]) -> list[list[HostPort]]:
    """The addresses of `--edge`, even positions region 1, odd ones region 2. A name gives one address.

    Raises `ResolveError`.
    """
    found = [((await resolver.addresses(host))[0], port) for host, port in edges]
    return [found[0::2], found[1::2]]

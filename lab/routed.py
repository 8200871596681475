"""Does every PoP know a way to every connected tunnel? Only then is a lab ready: a first request finds its site."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from lab import adminhttp
from lab.jsonlines import UnreachableError
from lab.rundir import RunDir


async def routed(run: RunDir, pops: Iterable[str], tunnels: Collection[str]) -> bool:
    """Asks each PoP, and stops at the first that does not."""
    for pop in pops:
        try:
            answer = await adminhttp.request_async(run.node(pop) / "admin.sock", "GET", "/ready")
            known = msgspec.json.decode(answer.body)["routes_to"]
        except (UnreachableError, msgspec.DecodeError, KeyError):
            return False
        if not set(tunnels) <= set(known):
            return False
    return True

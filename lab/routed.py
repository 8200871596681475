"""Is what a lab needs for a first request there, and to stay? Only then is it ready.

`routed`: every PoP knows a way to every connected tunnel. `settled`: the connections of a connector end where their
addresses lead. PoPs that come up one by one draw anycast addresses to themselves, and with them the packets of
connections to others: those are dead, and neither end knows it before the next ping.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from lab import adminhttp, jsonlines
from lab.jsonlines import RefusedError, UnreachableError
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


async def settled(run: RunDir, site: str, connector: str) -> bool:
    """Of a connector that is cloudflared nothing is known, and nothing is asked: it does not tell its addresses."""
    try:
        answer = await adminhttp.request_async(
            run.node(site) / f"{connector}.sock", "GET", "/status"
        )
        if answer.status != 200:
            return True
        for one in msgspec.json.decode(answer.body)["connections"]:
            if one["state"] != "serving":
                continue
            address = one["address"].rpartition(":")[0]
            asked = {"op": "lands", "node": site, "address": address}
            told = await jsonlines.ask_async(run.wan_socket, asked)
            if told["lands"] != one["location"]:
                return False
    except RefusedError:
        return True  # An address that is not anycast leads where it always did.
    except (UnreachableError, msgspec.DecodeError, KeyError):
        return False
    return True

"""What somebody who asks for something means: the tunnel or load balancer behind a URL or a name, and the request.

A host name leads where the DNS records of a PoP say at this moment, not where the world file said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from lab.driver import LabError, known
from topology.plan import Node


@dataclass(frozen=True, slots=True)
class Named:
    """One of `tunnel` and `balancer`, the other is empty. So is `host`, where a tunnel was named itself.

    `path` is with its query, as in a request.
    """

    host: str
    path: str
    tunnel: str = ""
    balancer: str = ""


def named(text: str, records: Iterable[Mapping[str, Any]], tunnels: Iterable[str]) -> Named:
    """`records` as a PoP's admin door tells them; removed ones lead nowhere. LabError when the name does not either."""
    try:
        parts = urlsplit(text if "//" in text else f"//{text}")
    except ValueError as error:
        raise LabError(f"{text!r} is no URL: {error}") from None
    host = parts.hostname or ""
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if text in (names := list(tunnels)):
        return Named("", "/", text)
    leads = {one["name"]: one for one in records if one.get("tunnel") or one.get("load_balancer")}
    found = known(host, [*leads, *names], "host name")
    if found not in leads:
        return Named("", "/", found)
    record = leads[found]
    return Named(found, path, record.get("tunnel", ""), record.get("load_balancer", ""))


def request(asked: Named, visitor: Node) -> dict[str, Any]:
    """The plain GET of this visitor, as the security policy is asked about it."""
    return {
        "host": asked.host,
        "path": asked.path,
        "address": visitor.address,
        "country": visitor.country or "XX",
    }

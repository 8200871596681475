"""The `load` section as a plan: who asks for what, and when. The same for every driver.

The plan follows from the seed alone, and each visitor has its own stream of luck for what it asks: another
rate changes when things happen, not what they are. Times count from the start of the load.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from urllib.parse import urlsplit

from lab.load_client import Visit
from topology.model_load import Load
from topology.plan import Plan


@dataclass(frozen=True, slots=True)
class Arrival:
    at_s: float
    visitor: str
    url: str
    method: str = "GET"

    @property
    def body(self) -> bytes:
        """What a request with a body brings: a kilobyte or so that differs by request."""
        return self.url.encode() * 32 if self.method in ("POST", "PUT", "PATCH") else b""


def stream(*key: object) -> Random:
    """Random numbers that a second run has too; `hash()` would not do."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return Random(int.from_bytes(digest))


def arrivals(
    load: Load, plan: Plan, until_s: float, *, seed: int | None = None
) -> Iterator[Arrival]:
    """All requests before `until_s`, in their order."""
    seed = plan.seed if seed is None else seed
    visitors = load.visitors or tuple(plan.world.visitors)
    urls, weights = _urls(load)
    when = stream(seed, "load", "when")
    methods, shares = list(load.methods), list(load.methods.values())
    how = stream(seed, "load", "methods")
    whose = {name: stream(seed, "load", name) for name in visitors}
    mean_s = 1 / load.rate_per_s
    number, at_s = 0, 0.0
    while visitors:
        match load.arrivals:
            case "poisson":
                at_s += when.expovariate(load.rate_per_s)
            case "constant":
                at_s = number * mean_s
            case "uniform":
                at_s = (number + when.random()) * mean_s
        if at_s >= until_s:
            return
        number += 1
        visitor = visitors[when.randrange(len(visitors))]
        luck = whose[visitor]
        url = luck.choices(urls, weights)[0]
        if load.sizes:
            url = url.replace("{size}", str(luck.choice(load.sizes)))
        url = url.replace("{id}", str(number))
        yield Arrival(at_s, visitor, url, how.choices(methods, shares)[0] if methods else "GET")


def _urls(load: Load) -> tuple[list[str], list[float]]:
    if load.url is not None:
        return [load.url], [1.0]
    return list(load.mix), list(load.mix.values())


@dataclass(frozen=True, slots=True)
class Sample:
    """One request that is over. Times in seconds; `cause` is "" or why it failed, in few words."""

    t_s: float
    visitor: str
    host: str
    url: str
    path: str
    status: int
    cause: str
    warm: bool
    bytes: int
    dns_s: float
    connect_s: float
    tls_s: float
    first_byte_s: float
    total_s: float
    method: str = "GET"
    digest: str = ""  # "right", or what is wrong with the answer, where it tells

    @property
    def ok(self) -> bool:
        return not self.cause

    @classmethod
    def of(cls, arrival: Arrival, visit: Visit, t_s: float) -> Sample:
        phases = visit.phases
        return cls(
            t_s=round(t_s, 6),
            visitor=arrival.visitor,
            host=urlsplit(arrival.url).hostname or "",
            url=arrival.url,
            path=visit.header("popnet-path"),
            status=visit.status,
            cause=_cause(visit),
            warm=visit.warm,
            bytes=visit.bytes,
            dns_s=round(phases.get("dns", 0.0), 6),
            connect_s=round(phases.get("tcp", 0.0), 6),
            tls_s=round(phases.get("tls", 0.0), 6),
            first_byte_s=round(visit.first_byte_s, 6),
            total_s=round(visit.total_s, 6),
            method=arrival.method,
            digest=visit.digest,
        )


# What an error text is about, by a part of it: addresses and ports would make a cause of each failure.
_CAUSES = ("timed out", "no answer in time", "refused", "reset", "unreachable", "ended")


def _cause(visit: Visit) -> str:
    if visit.error:
        phase, _, why = visit.error.partition(": ")
        known = next((cause for cause in _CAUSES if cause in why.lower()), why)
        return f"{phase}: {known}"
    return "" if visit.ok else f"status {visit.status}"

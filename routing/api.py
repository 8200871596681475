"""What a routing algorithm sees, and what it returns.

An algorithm is a function `decide(state: RoutingState) -> Routes` in a module of its own, beside a dict `PARAMS`
of its parameters with their defaults. It runs at one PoP, sees what that PoP knows, and ranks the paths from there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise, permutations
from typing import Any

import networkx as nx


@dataclass(frozen=True, slots=True)
class MeasuredLink:
    """One directed link of the overlay as its source measured it.

    `rtt_s` is there and back; `loss` is the share of probes lost, 0 to 1; `samples` says how many measurements
    stand behind the estimate, `age_s` how long ago the newest of them was taken.
    """

    source: str
    destination: str
    rtt_s: float
    jitter_s: float = 0.0
    loss: float = 0.0
    samples: int = 0
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Exit:
    """A tunnel connection that requests can leave the overlay by.

    `connection` names it within the tunnel (connector and index); `rtt_s` is the last leg, PoP to connector and
    back; `load` is the number of requests running on it. `up`: the service behind it is well, as far as it is checked;
    `check_s`: smoothed round trip of those checks from `pop`, 0 without.
    """

    pop: str
    connection: str
    rtt_s: float
    load: float = 0.0
    draining: bool = False
    up: bool = True
    check_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Path:
    """A way to one exit: the PoPs from here to the egress, and the cost in named terms, in seconds."""

    pops: tuple[str, ...]
    connection: str
    terms: Mapping[str, float] = field(hash=False)

    @property
    def cost_s(self) -> float:
        return sum(self.terms.values())

    @property
    def way(self) -> tuple[tuple[str, ...], str]:
        """What makes it this path and no other, whatever it costs at the moment."""
        return self.pops, self.connection

    def __str__(self) -> str:
        terms = " + ".join(f"{name} {cost * 1e3:.1f}" for name, cost in self.terms.items())
        return f"{'>'.join(self.pops)} {self.connection}: {terms} = {self.cost_s * 1e3:.1f} ms"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request from here fared: the path that carried it, the time to its first byte, and whether it worked."""

    tunnel: str
    pops: tuple[str, ...]
    connection: str
    ttfb_s: float
    ok: bool


Routes = Mapping[str, list[Path]]
"""Tunnel -> paths, best first. A tunnel without a path may be left out."""


@dataclass(frozen=True, slots=True)
class RoutingState:
    """One PoP's knowledge at one moment; frozen, so that the same state gives the same answer.

    `graph` is a read-only networkx DiGraph. Its edges carry `rtt_s`, `jitter_s`, `loss`, `samples` and `age_s`, its
    nodes `load` and `age_s`. `outcomes` are the requests since the last call. `memory` is the algorithm's own dict
    and lives as long as the PoP; `rng` is seeded per PoP.
    """

    me: str
    now: float
    seq: int
    graph: nx.DiGraph[str]
    tunnels: Mapping[str, tuple[Exit, ...]]
    previous: Mapping[str, tuple[Path, ...]]
    outcomes: tuple[Outcome, ...]
    memory: dict[str, Any]
    rng: random.Random
    params: Mapping[str, Any]

    def paths(self, destination: str, max_relays: int) -> Iterator[tuple[str, ...]]:
        """Every loop-free path from here to `destination` over at most `max_relays` relays, shortest first."""
        if destination == self.me:
            yield (self.me,)
            return
        relays = [pop for pop in self.graph if pop not in (self.me, destination)]
        for count in range(max_relays + 1):
            for between in permutations(relays, count):
                pops = (self.me, *between, destination)
                if all(self.graph.has_edge(a, b) for a, b in pairwise(pops)):
                    yield pops

    def rtt_s(self, pops: tuple[str, ...]) -> float:
        """Sum of the RTTs of the links along `pops`."""
        return sum(float(self.graph[a][b]["rtt_s"]) for a, b in pairwise(pops))


Decide = Callable[[RoutingState], Routes]

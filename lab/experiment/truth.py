"""What the world declares, and no PoP knows: the round trip of a way, the best way there is, what brute force predicts.

A way begins at the ingress PoP and ends at the service's site: the links between its PoPs, and the last leg from the
egress PoP to the connector. Round trips in seconds, access lines included; nothing is added for the work of PoPs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from topology import addresses
from topology.plan import LinkSpec, Plan
from wan.catchment import Catchment

Rtt = Callable[[str, str], float]

# What brute force may use on behalf of an algorithm. Of one that is not named: any number of relays.
RELAYS: Mapping[str, int] = {"direct": 0, "static": 0, "one-relay": 1}


class Truth:
    """Round trips at one moment, between neighbours that are there."""

    def __init__(self, links: Mapping[str, Mapping[str, float]], rtt_s: Rtt) -> None:
        self._links = links
        self._rtt_s = rtt_s

    @classmethod
    def of(cls, plan: Plan, rtt_s: Rtt, there: Iterable[str]) -> Truth:
        alive = set(there)
        return cls(
            {
                pop: {other: rtt_s(pop, other) for other in plan.neighbors(pop) if other in alive}
                for pop in plan.pops
                if pop in alive
            },
            rtt_s,
        )

    def way_s(self, pops: Sequence[str], site: str) -> float:
        """Declared round trip of a way that was taken."""
        return math.fsum(self._rtt_s(a, b) for a, b in pairwise((*pops, site)))

    def best(
        self, ingress: str, exits: Iterable[str], site: str, relays: int | None = None
    ) -> tuple[float, tuple[str, ...]]:
        """The shortest way over at most so many relays: (round trip, PoPs). Infinite when there is none.

        One more link a step (Bellman's recursion): after n steps the best of all ways of at most n links is known.
        """
        most = len(self._links) if relays is None else relays + 1
        known: dict[str, tuple[float, tuple[str, ...]]] = {ingress: (0.0, (ingress,))}
        latest = dict(known)
        for _ in range(most):
            found: dict[str, tuple[float, tuple[str, ...]]] = {}
            for at, (cost, way) in latest.items():
                for to, rtt in self._links.get(at, {}).items():
                    ahead = (cost + rtt, (*way, to))
                    if math.isfinite(rtt) and ahead < min(
                        found.get(to, (math.inf, ())), known.get(to, (math.inf, ()))
                    ):
                        found[to] = ahead
            if not found:
                break
            known.update(found)
            latest = found
        ends = [
            (known[leave][0] + self._rtt_s(leave, site), known[leave][1])
            for leave in exits
            if leave in known
        ]
        return min(ends, default=(math.inf, ()))


def declared_rtt(plan: Plan) -> Rtt:
    """As the world file says, whatever has happened since."""

    def one_way_s(*stages: LinkSpec | None) -> float:
        specs = [stage for stage in stages if stage is not None]
        return math.inf if any(one.down for one in specs) else sum(s.one_way_s for s in specs)

    def rtt_s(a: str, b: str) -> float:
        ends = plan.access(a), plan.access(b)
        return one_way_s(ends[0], plan.link(a, b), ends[1]) + one_way_s(
            ends[1], plan.link(b, a), ends[0]
        )

    return rtt_s


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the declared RTTs promise, averaged over the visitors: requests on a warm connection."""

    base_ms: float
    gain_ms: float

    @property
    def share(self) -> float:
        return self.gain_ms / self.base_ms if self.base_ms else 0.0


def exits_of(plan: Plan, site: str) -> tuple[str, ...]:
    """Where the site's connectors land: the closest PoP of each region, by the declared RTTs."""
    catchment = Catchment(plan.anycast, plan.rtt, plan.convergence_s, plan.pins)
    for pop in plan.pops:
        catchment.announce(pop)
    landed = [
        catchment.lands(site, group[0]) for group in addresses.REGION_ANYCAST.values() if group
    ]
    return tuple(dict.fromkeys(pop for pop in landed if pop is not None))


def predict(
    plan: Plan, rtt_s: Rtt, site: str, visitors: Sequence[str], algorithms: Sequence[str]
) -> dict[str, Prediction]:
    """By algorithm but the first, which is the baseline."""
    truth, exits = Truth.of(plan, rtt_s, plan.pops), exits_of(plan, site)

    def average_ms(algorithm: str) -> float:
        relays = RELAYS.get(algorithm)
        times = []
        for visitor in visitors:
            ingress = plan.landing(visitor)
            best_s, _ = truth.best(ingress, exits, site, relays)
            times.append(rtt_s(visitor, ingress) + best_s)
        return 1e3 * math.fsum(times) / len(times)

    base_ms = average_ms(algorithms[0])
    return {name: Prediction(base_ms, base_ms - average_ms(name)) for name in algorithms[1:]}

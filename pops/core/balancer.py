"""Which member of a load balancer's pool serves a request: steering, session affinity, and what when members are down.

    proximity          the lowest cost of the path, from this PoP to the member's connector
    dynamic            the lowest path cost plus smoothed round trip of the health checks: a slow service counts
    least_outstanding  the fewest requests of this PoP under way, for its weight
    random             any, each as likely
    weighted           any, as likely as its weight
    failover           the first of the pool that is up; it gets its requests back when it heals

Members that are down or draining are left out. A request that fails at one member may be sent to the next, so the
answer is always the whole order. When no member is up the fallback serves, or nobody.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

Steering = Literal["proximity", "dynamic", "least_outstanding", "random", "weighted", "failover"]
STEERINGS: tuple[Steering, ...] = (
    "proximity",
    "dynamic",
    "least_outstanding",
    "random",
    "weighted",
    "failover",
)


@dataclass(frozen=True, slots=True)
class Member:
    """One tunnel of a pool, or its connectors at one site: a destination of routes."""

    tunnel: str
    weight: float = 1.0


class State(Enum):
    """A member's, at one PoP. Only who is up gets requests."""

    UP = "up"
    DRAINING = "draining"
    LEFT_ALONE = "left alone"  # own requests failed, several in a row
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Condition:
    """What this PoP knows of a member now. `cost_s`: of the best path to it; None: there is no way.

    `exits`: its connections, at all PoPs; `up`: as health checks say; `alone_s`: how long it will still be left alone.
    """

    cost_s: float | None
    up: bool = True
    draining: bool = False
    check_s: float = 0.0
    outstanding: int = 0
    exits: int = 1
    alone_s: float = 0.0
    alone_why: str = ""

    @property
    def state(self) -> State:
        if not self.up or self.cost_s is None:
            return State.DOWN
        if self.draining:
            return State.DRAINING
        return State.LEFT_ALONE if self.alone_s else State.UP

    @property
    def serves(self) -> bool:
        return self.state is State.UP


@dataclass(frozen=True, slots=True)
class Pool:
    """A load balancer as configured. `affinity`: the name of its cookie, empty without; `fallback`: a tunnel."""

    name: str
    members: tuple[Member, ...]
    steering: Steering = "proximity"
    affinity: str = ""
    affinity_s: float = 3600.0
    fallback: str = ""

    def order(
        self, conditions: Mapping[str, Condition], rng: random.Random, stays_with: str = ""
    ) -> list[str]:
        """The members to try, best first; empty when nobody serves. `stays_with`: the member of an older session."""
        able = [one for one in self.members if conditions[one.tunnel].serves]
        if not able:
            return [self.fallback] if self.fallback else []
        ranked = self._ranked(able, conditions, rng)
        if stays_with in ranked:
            ranked.remove(stays_with)
            ranked.insert(0, stays_with)
        return ranked

    def _ranked(
        self, able: Sequence[Member], conditions: Mapping[str, Condition], rng: random.Random
    ) -> list[str]:
        match self.steering:
            case "failover":
                return [one.tunnel for one in able]
            case "random":
                names = [one.tunnel for one in able]
                rng.shuffle(names)
                return names
            case "weighted":
                return _by_weight(able, rng)
            case "least_outstanding":
                # Equal ones in turn by chance, so that the first of the file does not get all of a quiet time.
                keys = {
                    one.tunnel: (
                        conditions[one.tunnel].outstanding / one.weight,
                        rng.random(),
                    )
                    for one in able
                }
                return sorted(keys, key=lambda name: keys[name])
            case "dynamic":
                costs = {
                    one.tunnel: (conditions[one.tunnel].cost_s or 0.0)
                    + conditions[one.tunnel].check_s
                    for one in able
                }
                return sorted(costs, key=lambda name: costs[name])
            case "proximity":
                near = {one.tunnel: conditions[one.tunnel].cost_s or 0.0 for one in able}
                return sorted(near, key=lambda name: near[name])


def _by_weight(able: Sequence[Member], rng: random.Random) -> list[str]:
    """A random order in which each place is given out by weight among those left (Efraimidis and Spirakis, 2006)."""
    keys = {one.tunnel: rng.random() ** (1.0 / one.weight) for one in able if one.weight > 0.0}
    ranked = sorted(keys, key=lambda name: -keys[name])
    return ranked + [one.tunnel for one in able if one.weight <= 0.0]

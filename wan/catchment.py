"""Which member of an anycast group a node lands at: the one of lowest declared RTT, or its pin.

BGP sees adjacencies, not delays: a link that becomes slow moves nobody, a link that is cut, a member that dies
or stops announcing does, once the routes have converged. Until then packets go where nobody answers.
An announcement that comes (back) is known everywhere at once: what takes seconds in BGP is to unlearn a
route, path by path (RFC 4098 section 1; Labovitz et al., "Delayed Internet Routing Convergence", 2000).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from topology.plan import Anycast

Pair = tuple[str, str]


class Catchment:
    """The routes to all anycast addresses. `rtt` is the declared one; `epoch` grows when any route moved."""

    def __init__(
        self,
        groups: tuple[Anycast, ...],
        rtt: Callable[[str, str], float],
        convergence_s: float,
        pins: Mapping[str, str],
    ) -> None:
        self._groups = {group.address: group.members for group in groups}
        self._members = {name for group in groups for name in group.members}
        self._rtt = rtt
        self._convergence_s = convergence_s
        self.pins = dict(pins)
        self.epoch = 0
        self._routed: set[str] = set()
        self._leaving: dict[str, float] = {}
        self._unreachable: set[Pair] = set()
        self._losing: dict[Pair, float] = {}
        self._landings: dict[Pair, str | None] = {}

    def lands(self, source: str, address: str) -> str | None:
        """Where packets to `address` go; None when no member is routed. KeyError: no anycast address."""
        key = (source, address)
        if key not in self._landings:
            self._landings[key] = self._choose(source, self._groups[address])
        return self._landings[key]

    def _choose(self, source: str, members: tuple[str, ...]) -> str | None:
        routed = [
            name
            for name in members
            if name in self._routed and (source, name) not in self._unreachable
        ]
        pinned = self.pins.get(source)
        if pinned in routed:
            return pinned
        # min() keeps the first of equals: ties go by file order.
        return min(routed, key=lambda name: self._rtt(source, name), default=None)

    def nearest(self, source: str, address: str) -> str:
        """The member of lowest declared RTT, whether or not it is alive."""
        return min(self._groups[address], key=lambda name: self._rtt(source, name))

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(self._groups)

    def members(self, address: str) -> tuple[str, ...]:
        return self._groups[address]

    def is_member(self, name: str) -> bool:
        return name in self._members

    def is_routed(self, name: str) -> bool:
        return name in self._routed

    def announce(self, name: str) -> None:
        self._leaving.pop(name, None)
        if name in self._members and name not in self._routed:
            self._routed.add(name)
            self._moved()

    def withdraw(self, name: str, now: float) -> None:
        if name in self._routed:
            self._leaving.setdefault(name, now + self._convergence_s)

    def cut(self, source: str, member: str, now: float) -> None:
        """No packet gets from `source` to `member` and back any more."""
        if (source, member) not in self._unreachable:
            self._losing.setdefault((source, member), now + self._convergence_s)

    def heal(self, source: str, member: str) -> None:
        self._losing.pop((source, member), None)
        if (source, member) in self._unreachable:
            self._unreachable.remove((source, member))
            self._moved()

    def pin(self, source: str, member: str | None) -> None:
        if member is None:
            self.pins.pop(source, None)
        else:
            self.pins[source] = member
        self._moved()

    @property
    def next_at(self) -> float:
        """When the next route converges; infinite when none is about to."""
        return min([*self._leaving.values(), *self._losing.values()], default=math.inf)

    def settle(self, now: float) -> tuple[str, ...]:
        """Carry out what has converged by `now`; returns the members withdrawn by it, in their order."""
        gone = tuple(sorted((name for name, at in self._leaving.items() if at <= now)))
        lost = [pair for pair, at in self._losing.items() if at <= now]
        for name in gone:
            del self._leaving[name]
            self._routed.remove(name)
        for pair in lost:
            del self._losing[pair]
            self._unreachable.add(pair)
        if gone or lost:
            self._moved()
        return gone

    def _moved(self) -> None:
        self._landings.clear()
        self.epoch += 1

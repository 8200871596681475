"""Which address of the edge a connection dials.

The edge offers two regions, each with some addresses; all addresses of a region are one anycast
prefix. A new connection goes to the region with more free addresses, so four connections become two
and two, which is two PoPs. An address serves one connection at a time. A reconnecting connection
keeps its address, for anycast already leads it to another PoP if its own is gone; it moves on only
when it could not get through, or was told that it is a duplicate.

It moves on within its region as long as that may live. cloudflared takes any free address, and so may
end with three connections in one region, because a dial failed while anycast was still converging; we
want two and two. A region is given up when nothing got through to it for REGION_DEAD_S.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Address:
    """An edge address: an IP literal, never a name. `region` counts from 1."""

    host: str
    port: int
    region: int

    @property
    def family(self) -> int:
        return 6 if ":" in self.host else 4

    def __str__(self) -> str:
        host = f"[{self.host}]" if self.family == 6 else self.host
        return f"{host}:{self.port}"


class Family(Enum):
    """`--edge-ip-version`."""

    AUTO = "auto"
    V4 = "4"
    V6 = "6"


# How long a region is used by its other address family after the first one proved unreachable.
FALLBACK_S = 600.0

# How long dials to a region may fail before its connections go to the other one. Routes on the real Internet
# take seconds to a minute to converge; in between, a region whose nearest PoP died looks dead and is not.
REGION_DEAD_S = 20.0


class _Region:
    """One region's addresses in two families, of which one is in use."""

    def __init__(self, addresses: Sequence[Address], family: Family | None) -> None:
        self._secondary: list[Address] = []
        if family is None:
            self._primary = list(addresses)
        elif family is Family.AUTO:
            first = addresses[0].family if addresses else 4
            self._primary = [a for a in addresses if a.family == first]
            self._secondary = [a for a in addresses if a.family != first]
        else:
            self._primary = [a for a in addresses if str(a.family) == family.value]
        self._fallback_until: float | None = None
        self.failing_since: float | None = None

    def may_live(self, now: float) -> bool:
        return self.failing_since is None or now - self.failing_since < REGION_DEAD_S

    def in_use(self, now: float) -> list[Address]:
        if self._fallback_until is not None and now < self._fallback_until:
            return self._secondary
        self._fallback_until = None
        return self._primary

    def unreachable(self, now: float, address: Address) -> None:
        if self._secondary and address in self._primary:
            self._fallback_until = now + FALLBACK_S


class AddressBook:
    """Who uses which address. Users are connection indexes."""

    def __init__(
        self,
        regions: Sequence[Sequence[tuple[str, int]]],
        rng: random.Random,
        family: Family | None = Family.AUTO,
    ) -> None:
        self._rng = rng
        self._regions = [
            _Region([Address(host, port, i) for host, port in dict.fromkeys(region)], family)
            for i, region in enumerate(regions, 1)
        ]
        self._held: dict[int, Address] = {}

    def count(self, now: float) -> int:
        """Addresses in use: more connections than that cannot be."""
        return sum(len(region.in_use(now)) for region in self._regions)

    def holds(self, user: int) -> Address | None:
        return self._held.get(user)

    def keep_or_take(self, now: float, user: int) -> Address | None:
        """The user's address, a free one if it has none; None when all are taken."""
        held = self._held.get(user)
        return held if held is not None else self._take(now, user, avoid=None)

    def move_on(self, now: float, user: int) -> Address | None:
        """Another address than the one in use; the same one again when there is no other."""
        held = self._held.pop(user, None)
        if held is not None:
            home = self._regions[held.region - 1]
            if home.may_live(now):
                other = self._take(now, user, avoid=held, regions=[home])
                if other is not None:
                    return other
        other = self._take(now, user, avoid=held)
        return other if other is not None else self._take(now, user, avoid=None)

    def failed(self, now: float, user: int) -> None:
        """A dial to the user's address did not get through."""
        held = self._held.get(user)
        if held is not None and self._regions[held.region - 1].failing_since is None:
            self._regions[held.region - 1].failing_since = now

    def succeeded(self, user: int) -> None:
        """A dial to the user's address got through: its region lives."""
        held = self._held.get(user)
        if held is not None:
            self._regions[held.region - 1].failing_since = None

    def release(self, user: int) -> None:
        self._held.pop(user, None)

    def unreachable(self, now: float, user: int) -> None:
        """The user's address could not be reached for want of a route: use the other family."""
        held = self._held.get(user)
        if held is not None:
            self._regions[held.region - 1].unreachable(now, held)

    def inherit(self, older: AddressBook, users: Sequence[int]) -> None:
        """After a later look-up: `users` keep the addresses they have in the `older` book."""
        self._held = {user: older._held[user] for user in users if user in older._held}

    def _take(
        self,
        now: float,
        user: int,
        *,
        avoid: Address | None,
        regions: Sequence[_Region] | None = None,
    ) -> Address | None:
        taken = set(self._held.values())
        free = [
            [a for a in region.in_use(now) if a not in taken and a != avoid]
            for region in (self._regions if regions is None else regions)
        ]
        most = max((len(addresses) for addresses in free), default=0)
        if most == 0:
            return None
        region = self._rng.choice([addresses for addresses in free if len(addresses) == most])
        address = self._rng.choice(region)
        self._held[user] = address
        return address

"""Load balancers at work: which tunnel serves a request, and the checks that tell which of them are well.

Whoever holds a connection of a pool's tunnel checks the service behind it, through that connection, one for each
connector. What comes out goes to all PoPs with the connection's LSA entry, so each can choose. Beside that an ingress
PoP notes how its own requests fare: a member that fails several in a row is left alone for a while.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

from pops.config import Balancer, Health, PopConfig
from pops.core.balancer import Condition, Member, Pool, State
from pops.core.ingress import POOL
from pops.core.places import destinations, place_id
from pops.core.registry import Registry
from pops.drivers.checks import Carrier, Checks
from routing.api import Exit, Path
from runtime.clock import Clock
from runtime.events import EventLog
from runtime.streams import Headers

# A service that answers so is not well.
_UNWELL = frozenset({b"502", b"503", b"504"})


class Balancers:
    """`exits()`: tunnel -> exits as the LSDB has them; `routes(tunnel)`: the ranked paths; `on_change()`: something
    that the others must hear."""

    def __init__(
        self,
        config: PopConfig,
        registry: Registry,
        *,
        routes: Callable[[str], Sequence[Path]],
        exits: Callable[[], Mapping[str, Sequence[Exit]]],
        carrier: Carrier,
        on_change: Callable[[], None],
        events: EventLog,
        clock: Clock,
    ) -> None:
        ids = {tunnel.name: tunnel.id for tunnel in config.tunnels}
        self.names = destinations(config)
        self.pools = {name: _pool(name, one, ids) for name, one in config.load_balancers.items()}
        # A tunnel in several pools is checked alike in all of them.
        self._health: dict[str, Health] = {}
        for balancer in config.load_balancers.values():
            for member in balancer.members:
                for one in (ids[member.tunnel], place_id(ids[member.tunnel], member.site)):
                    self._health.setdefault(one, balancer.health)
        self.outstanding: Counter[str] = Counter()
        self.chosen: Counter[tuple[str, str]] = Counter()  # (pool, tunnel's name)
        self._routes = routes
        self._exits = exits
        self._events = events
        self._clock = clock
        self._rng = random.Random(f"{config.seed}/{config.name}/pools")
        self.checks = Checks(
            self._health,
            registry,
            carrier=carrier,
            on_change=on_change,
            events=events,
            clock=clock,
            rng=self._rng,
        )
        self._errors: Counter[str] = Counter()
        self._alone: dict[str, tuple[float, str]] = {}  # member -> until when, why

    # Choosing

    def order(self, pool: str, cookie: str) -> list[str]:
        """The tunnels to try for a request to a pool, best first."""
        return self._order(pool, cookie, self._rng)

    def outlook(self, pool: str) -> list[str]:
        """The same for a request without a session; where chance decides, a likeliest one first.

        It takes nothing of the luck that requests are shared out by.
        """
        return self._order(pool, "", _Even())

    def _order(self, pool: str, cookie: str, rng: random.Random) -> list[str]:
        chosen = self.pools[pool]
        conditions = {one.tunnel: self.condition(one.tunnel) for one in chosen.members}
        session = ""
        if chosen.affinity and cookie:
            session = next((t for t in conditions if mark(pool, t) == cookie), "")
        ranked = chosen.order(conditions, rng, session)
        if not ranked and any(one.alone_s for one in conditions.values()):
            # Left alone for errors of our own requests only: better than nobody.
            ranked = [t for t, one in conditions.items() if one.up and one.cost_s is not None]
        return ranked

    def condition(self, tunnel: str) -> Condition:
        paths = self._routes(tunnel)
        exits = self._exits().get(tunnel, ())
        checks = [leave.check_s for leave in exits if leave.up and leave.check_s]
        until, why = self._alone.get(tunnel, (0.0, ""))
        return Condition(
            cost_s=paths[0].cost_s if paths else None,
            exits=len(exits),
            up=any(leave.up for leave in exits),
            # An exit whose service is down counts as draining for routes, so those are no sign of leaving.
            draining=any(leave.up for leave in exits)
            and all(leave.draining for leave in exits if leave.up),
            check_s=min(checks, default=0.0),
            outstanding=self.outstanding[tunnel],
            alone_s=max(0.0, until - self._clock()),
            alone_why=why,
        )

    def choose(self, target: str, headers: Headers) -> PoolChoice:
        """For one request to `target`, a pool as the ingress names it. Tell the choice how the request fares."""
        name = target.removeprefix(POOL)
        pool = self.pools[name]
        cookie = _cookie(headers, pool.affinity) if pool.affinity else ""
        return PoolChoice(self, pool, self.order(name, cookie), cookie)

    def fared(self, tunnel: str, *, ok: bool, reason: str = "", site: str = "") -> None:
        """How one of our own requests ended. `site`: where, if that is known."""
        if ok:
            if self._errors[tunnel]:
                self._errors[tunnel] = 0
            return
        self._errors[tunnel] += 1
        health = self._health.get(tunnel, Health())
        if self._errors[tunnel] >= health.fall:
            self._errors[tunnel] = 0
            alone_s = health.every * health.rise
            self._alone[tunnel] = (self._clock() + alone_s, reason)
            self._events.emit(
                "member_left_alone",
                tunnel=self.names.get(tunnel),
                site=site or None,
                reason=reason,
                seconds=round(alone_s, 3),
            )

    def changed(self) -> None:
        """Connections have come or gone."""
        self.checks.changed()

    def stop(self) -> None:
        self.checks.stop()

    def snapshot(self) -> dict[str, object]:
        """Pools with their members as this PoP sees them."""
        return {
            name: {
                "steering": pool.steering,
                "order": [self.names.get(one, one) for one in self.outlook(name)],
                "members": [
                    {
                        "tunnel": self.names.get(one.tunnel, one.tunnel),
                        "weight": one.weight,
                        "up": condition.up and not condition.alone_s,
                        "draining": condition.draining,
                        **_state(condition),
                        "cost_ms": None
                        if condition.cost_s is None
                        else round(condition.cost_s * 1e3, 3),
                        "check_ms": round(condition.check_s * 1e3, 3),
                        "outstanding": condition.outstanding,
                        "chosen": self.chosen[name, self.names.get(one.tunnel, one.tunnel)],
                    }
                    for one in pool.members
                    if (condition := self.condition(one.tunnel))
                ],
            }
            for name, pool in self.pools.items()
        }


class _Even(random.Random):
    """Gives nobody the better of another, so that weights alone tell."""

    def random(self) -> float:
        return 0.5


def _state(condition: Condition) -> dict[str, object]:
    """In words, with what brought it about."""
    state = condition.state
    cause = reason = None
    if state is State.LEFT_ALONE:
        cause, reason = "requests", condition.alone_why
    elif state is State.DOWN:
        if not condition.exits:
            cause, reason = "connections", "no PoP in reach holds a connection of it"
        elif not condition.up:
            cause = "checks"
        else:
            cause, reason = "routes", "there is no way to it"
    return {
        "state": state.value,
        "cause": cause,
        "reason": reason or None,
        "left_alone_s": round(condition.alone_s, 3),
    }


class PoolChoice:
    """Which members one request may go to, best first, and which has it now."""

    __slots__ = ("_balancers", "_cookie", "_now", "_pool", "tunnels")

    def __init__(self, balancers: Balancers, pool: Pool, tunnels: list[str], cookie: str) -> None:
        self._balancers = balancers
        self._pool = pool
        self._cookie = cookie
        self._now = ""
        self.tunnels = tunnels

    @property
    def pool(self) -> str:
        return self._pool.name

    def takes(self, tunnel: str) -> None:
        """This member has the request from now on."""
        self.over()
        self._now = tunnel
        balancers = self._balancers
        balancers.outstanding[tunnel] += 1
        balancers.chosen[self.pool, balancers.names.get(tunnel, tunnel)] += 1

    def answered(self, status: bytes, site: str) -> Headers:
        """A response has begun, from `site` if that is known; what it tells the visitor of the pool."""
        balancers, pool, tunnel = self._balancers, self._pool, self._now
        ok = status not in _UNWELL
        reason = "" if ok else f"status {status.decode('latin-1')}"
        balancers.fared(tunnel, ok=ok, reason=reason, site=site)
        fields: Headers = []
        if pool.affinity and (value := mark(pool.name, tunnel)) != self._cookie:
            cookie = f"{pool.affinity}={value}; Path=/; Max-Age={pool.affinity_s:.0f}; HttpOnly"
            fields.append((b"set-cookie", cookie.encode()))
        return fields

    def failed(self, reason: str) -> None:
        """The member gave no answer."""
        self._balancers.fared(self._now, ok=False, reason=reason)

    def over(self) -> None:
        if self._now:
            self._balancers.outstanding[self._now] -= 1
            self._now = ""


def _cookie(headers: Headers, name: str) -> str:
    wanted = name.encode() + b"="
    for field, value in headers:
        if field == b"cookie":
            for pair in value.split(b";"):
                if pair.strip().startswith(wanted):
                    return pair.strip()[len(wanted) :].decode("latin-1")
    return ""


def mark(pool: str, tunnel: str) -> str:
    """What a session cookie says: which member, without naming it."""
    return sha256(f"{pool}/{tunnel}".encode()).hexdigest()[:16]


def _pool(name: str, balancer: Balancer, ids: Mapping[str, str]) -> Pool:
    return Pool(
        name,
        tuple(Member(place_id(ids[one.tunnel], one.site), one.weight) for one in balancer.members),
        balancer.steering,
        affinity=balancer.affinity or "",
        affinity_s=balancer.affinity_s,
        fallback=ids[balancer.fallback] if balancer.fallback else "",
    )

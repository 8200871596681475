"""Load balancers at work: which tunnel serves a request, and the checks that tell which of them are well.

Whoever holds a connection of a pool's tunnel checks the service behind it, through that connection, one for each
connector. What comes out goes to all PoPs with the connection's LSA entry, so each can choose. Beside that an ingress
PoP notes how its own requests fare: a member that fails several in a row is left alone for a while.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

from pops.config import Balancer, Health, PopConfig
from pops.core import egress
from pops.core.balancer import Condition, Member, Pool
from pops.core.health import Health as State
from pops.core.health import Patient, Thresholds
from pops.core.ingress import POOL
from pops.core.registry import Connection, Registry
from routing.api import Exit, Path
from runtime.clock import Clock
from runtime.events import EventLog
from runtime.http2 import Http2Connection
from runtime.streams import Headers, Stream
from wire.http2.engine import ErrorCode
from wire.overlay import Fault

# (connection) -> what carries its streams, or None when it is closed.
Carrier = Callable[[Connection], Http2Connection | None]
# A service that answers so is not well.
_UNWELL = frozenset({b"502", b"503", b"504"})
# A change of a check's round trip below both is not worth an LSA.
_CHANGE_FACTOR, _CHANGE_S = 0.2, 0.005


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
        self.names = {tunnel.id: tunnel.name for tunnel in config.tunnels}
        self.pools = {name: _pool(name, one, ids) for name, one in config.load_balancers.items()}
        # A tunnel in several pools is checked as the first of them wants.
        self._health: dict[str, Health] = {}
        for balancer in config.load_balancers.values():
            for member in balancer.members:
                self._health.setdefault(ids[member.tunnel], balancer.health)
        self.outstanding: Counter[str] = Counter()
        self.chosen: Counter[tuple[str, str]] = Counter()  # (pool, tunnel's name)
        self.checks: Counter[tuple[str, str]] = Counter()  # (tunnel's name, ok | failed)
        self._registry = registry
        self._routes = routes
        self._exits = exits
        self._carrier = carrier
        self._on_change = on_change
        self._events = events
        self._clock = clock
        self._rng = random.Random(f"{config.seed}/{config.name}/pools")
        self._patients: dict[str, Patient] = {}  # by connector and tunnel
        self._errors: Counter[str] = Counter()
        self._alone_until: dict[str, float] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._running: dict[_Check, None] = {}

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
        if not ranked and any(not one.up for one in conditions.values()):
            # Left alone for errors of our own requests only: better than nobody.
            ranked = [
                t for t, one in conditions.items() if self._checked_up(t) and one.cost_s is not None
            ]
        return ranked

    def condition(self, tunnel: str) -> Condition:
        paths = self._routes(tunnel)
        exits = self._exits().get(tunnel, ())
        checks = [leave.check_s for leave in exits if leave.up and leave.check_s]
        alone = self._alone_until.get(tunnel, 0.0) > self._clock()
        return Condition(
            cost_s=paths[0].cost_s if paths else None,
            up=self._checked_up(tunnel) and not alone,
            # An exit whose service is down counts as draining for routes, so those are no sign of leaving.
            draining=any(leave.up for leave in exits)
            and all(leave.draining for leave in exits if leave.up),
            check_s=min(checks, default=0.0),
            outstanding=self.outstanding[tunnel],
        )

    def _checked_up(self, tunnel: str) -> bool:
        exits = self._exits().get(tunnel, ())
        return any(leave.up for leave in exits)

    def choose(self, target: str, headers: Headers) -> PoolChoice:
        """For one request to `target`, a pool as the ingress names it. Tell the choice how the request fares."""
        name = target.removeprefix(POOL)
        pool = self.pools[name]
        cookie = _cookie(headers, pool.affinity) if pool.affinity else ""
        return PoolChoice(self, pool, self.order(name, cookie), cookie)

    def fared(self, tunnel: str, *, ok: bool, reason: str = "") -> None:
        """How one of our own requests ended."""
        if ok:
            if self._errors[tunnel]:
                self._errors[tunnel] = 0
            return
        self._errors[tunnel] += 1
        health = self._health.get(tunnel, Health())
        if self._errors[tunnel] >= health.fall:
            self._errors[tunnel] = 0
            self._alone_until[tunnel] = self._clock() + health.every * health.rise
            self._events.emit("member_left_alone", tunnel=self.names.get(tunnel), reason=reason)

    # Checking

    def changed(self) -> None:
        """Connections have come or gone: every connector of a pool's tunnel has one check running."""
        wanted = {_patient_key(one): one for one in self._registry if one.tunnel in self._health}
        for key in [key for key in self._timers if key not in wanted]:
            self._timers.pop(key).cancel()
            self._patients.pop(key, None)
        for key, connection in wanted.items():
            if key not in self._patients:
                health = self._health[connection.tunnel]
                self._patients[key] = Patient(Thresholds(health.fall, health.rise))
                # The first at once: until then nobody knows, and it counts as well.
                self._arm(key, 0.0)
            patient = self._patients[key]
            connection.up = patient.state is not State.DOWN
            connection.check_s = patient.check_s

    def _arm(self, key: str, wait: float) -> None:
        self._timers[key] = asyncio.get_running_loop().call_later(wait, self._check, key)

    def _check(self, key: str) -> None:
        connection = next(
            (one for one in self._registry if _patient_key(one) == key and not one.avoided), None
        ) or next((one for one in self._registry if _patient_key(one) == key), None)
        if connection is None:
            self._timers.pop(key, None)
            self._patients.pop(key, None)
            return
        health = self._health[connection.tunnel]
        # Spread, so that the checks of many PoPs do not march in step.
        self._arm(key, health.every * self._rng.uniform(0.9, 1.1))
        http2 = self._carrier(connection)
        if http2 is None:
            self._result(key, connection.tunnel_name, None, "the connection is gone")
            return
        name = connection.tunnel_name
        check = _Check(
            http2, health, self._clock, lambda rtt, why: self._done(check, key, name, rtt, why)
        )
        self._running[check] = None

    def _done(self, check: _Check, key: str, name: str, rtt_s: float | None, reason: str) -> None:
        self._running.pop(check, None)
        self._result(key, name, rtt_s, reason)

    def _result(self, key: str, name: str, rtt_s: float | None, reason: str) -> None:
        patient = self._patients.get(key)
        if patient is None:
            return
        now = self._clock()
        self.checks[name, "failed" if rtt_s is None else "ok"] += 1
        before = patient.check_s
        changed = patient.failed(now, reason) if rtt_s is None else patient.succeeded(now, rtt_s)
        if changed:
            self._events.emit("member_" + patient.state.value, tunnel=name, reason=reason or None)
        told = [one for one in self._registry if _patient_key(one) == key]
        slower = any(
            abs(patient.check_s - one.check_s) > max(_CHANGE_S, _CHANGE_FACTOR * one.check_s)
            for one in told
        )
        if changed or slower or not before:
            for one in told:
                one.up, one.check_s = patient.state is not State.DOWN, patient.check_s
            self._on_change()

    def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for check in list(self._running):
            check.stop()
        self._running.clear()

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
                        "up": condition.up,
                        "draining": condition.draining,
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

    def answered(self, status: bytes) -> Headers:
        """A response has begun; what it tells the visitor of the pool."""
        balancers, pool, tunnel = self._balancers, self._pool, self._now
        ok = status not in _UNWELL
        balancers.fared(tunnel, ok=ok, reason="" if ok else f"status {status.decode('latin-1')}")
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


def _patient_key(connection: Connection) -> str:
    return f"{connection.tunnel}/{connection.connector}"


def _pool(name: str, balancer: Balancer, ids: Mapping[str, str]) -> Pool:
    return Pool(
        name,
        tuple(Member(ids[one.tunnel], one.weight) for one in balancer.members),
        balancer.steering,
        affinity=balancer.affinity or "",
        affinity_s=balancer.affinity_s,
        fallback=ids[balancer.fallback] if balancer.fallback else "",
    )


class _Check:
    """One request to the service, on a stream of its own; `on_done(rtt or None, why not)` comes once."""

    def __init__(
        self,
        http2: Http2Connection,
        health: Health,
        clock: Clock,
        on_done: Callable[[float | None, str], None],
    ) -> None:
        self._expect = health.expect
        self._clock = clock
        self._on_done: Callable[[float | None, str], None] | None = on_done
        self._sent_at = clock()
        self._timer = asyncio.get_running_loop().call_later(health.timeout, self._late, health)
        self._stream: Stream = http2.open(self)
        self._stream.send_headers(
            [
                (b":method", b"GET"),
                (b":scheme", b"https"),
                (b":authority", health.host.encode() or b"health.popnet"),
                (b":path", health.path.encode()),
                (b"user-agent", b"popnet-health"),
                (b"accept-encoding", b"identity"),
            ],
            end=True,
        )

    def headers_received(self, headers: Headers, end: bool) -> None:
        if headers[0][1][:1] == b"1":
            return
        got = egress.understand(headers, "", websocket=False)
        if isinstance(got, Fault):
            self._finish(None, got.detail)
        else:
            status = got.status.decode("latin-1")
            wanted = status in self._expect or f"{status[:1]}xx" in self._expect
            if wanted:
                self._finish(self._clock() - self._sent_at, "")
            else:
                self._finish(None, f"status {status}")
        if not end:
            # Its body is not wanted.
            self._stream.reset(ErrorCode.CANCEL)

    def data_received(self, data: bytes, end: bool) -> None: ...

    def trailers_received(self, headers: Headers) -> None: ...

    def drained(self) -> None: ...

    def lost(self, code: int) -> None:
        self._finish(None, "the connection was lost")

    def _late(self, health: Health) -> None:
        self._finish(None, f"no answer within {health.timeout:g} s")
        self._stream.reset(ErrorCode.CANCEL)

    def stop(self) -> None:
        self._timer.cancel()
        self._on_done = None

    def _finish(self, rtt_s: float | None, reason: str) -> None:
        self._timer.cancel()
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            on_done(rtt_s, reason)

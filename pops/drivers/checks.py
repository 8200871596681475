"""Health checks of the services behind the tunnels that end in this PoP: one for each connector of a pool's tunnel.

What comes out goes to all PoPs with the connection's LSA entry. Why a service is down, and what it needs to be up
again, is known here only.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from pops.config import Health
from pops.core import egress
from pops.core.health import Health as State
from pops.core.health import Patient, Thresholds
from pops.core.registry import Connection, Registry
from runtime.clock import Clock
from runtime.events import EventLog
from runtime.http2 import Http2Connection
from runtime.streams import Headers, Stream
from wire.http2.engine import ErrorCode
from wire.overlay import Fault

# (connection) -> what carries its streams, or None when it is closed.
Carrier = Callable[[Connection], Http2Connection | None]
# A change of a check's round trip below both is not worth an LSA.
_CHANGE_FACTOR, _CHANGE_S = 0.2, 0.005


class Checks:
    """`wanted`: how to check, by tunnel; `on_change()`: something that the others must hear."""

    def __init__(
        self,
        wanted: Mapping[str, Health],
        registry: Registry,
        *,
        carrier: Carrier,
        on_change: Callable[[], None],
        events: EventLog,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._health = wanted
        self._registry = registry
        self._carrier = carrier
        self._on_change = on_change
        self._events = events
        self._clock = clock
        self._rng = rng
        self.counts: Counter[tuple[str, str]] = Counter()  # (tunnel's name, ok | failed)
        self._patients: dict[str, Patient] = {}  # by connector and tunnel
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._running: dict[_Check, None] = {}

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

    def _of(self, key: str) -> list[Connection]:
        return [one for one in self._registry if _patient_key(one) == key]

    def _arm(self, key: str, wait: float) -> None:
        self._timers[key] = asyncio.get_running_loop().call_later(wait, self._check, key)

    def _check(self, key: str) -> None:
        held = self._of(key)
        connection = next((one for one in held if not one.avoided), held[0] if held else None)
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
        self.counts[name, "failed" if rtt_s is None else "ok"] += 1
        before = patient.check_s
        changed = patient.failed(now, reason) if rtt_s is None else patient.succeeded(now, rtt_s)
        told = self._of(key)
        if changed:
            self._events.emit(
                "member_" + patient.state.value,
                tunnel=name,
                # Of several connectors: which.
                site=next((one.site for one in told if one.site), None),
                connector=key.rpartition("/")[2],
                reason=reason or None,
                successes_needed=patient.missing or None,
                flapping=patient.flapping,
            )
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

    def snapshot(self) -> list[dict[str, object]]:
        """Each connector that is checked from here. Empty fields: not known."""
        return [
            {
                "tunnel": one.tunnel_name,
                "site": one.site or None,
                "connector": one.connector,
                "state": patient.state.value,
                "flapping": patient.flapping,
                "reason": patient.reason or None,
                "failures": patient.failures,
                "successes_missing": patient.missing,
                "check_ms": round(patient.check_s * 1e3, 3),
            }
            for one, patient in self.patients()
        ]

    def patients(self) -> Iterable[tuple[Connection, Patient]]:
        """One of each connector's connections, and how what is behind it is."""
        for key, patient in sorted(self._patients.items()):
            for one in self._of(key)[:1]:
                yield one, patient


def _patient_key(connection: Connection) -> str:
    return f"{connection.tunnel}/{connection.connector}"


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

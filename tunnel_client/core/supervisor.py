"""All connections of one connector: when to dial which address, what silence means, how to leave.

Inputs are methods that take `now` and return what to do; nothing is done here. The order of a start
is cloudflared's: connection 0 alone, and the others, a moment apart, once it is registered; never
more connections than addresses. The rest is ours, see the package's docstring.

A driver calls `next_timer` after every call, and `handle_timer` when that time has come.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runtime.backoff import Backoff
from tunnel_client.core import effects as do
from tunnel_client.core.addresses import AddressBook
from tunnel_client.core.connection import Connection, Heartbeat, Input, State
from tunnel_client.core.effects import Effect
from tunnel_client.core.policy import ConnectionSnapshot, Policy
from wire.tunnel_rpc import CAUSE_DUPLICATE, CAUSE_UNAUTHORIZED, ConnectionDetails, Refusal


@dataclass(slots=True)
class _Leaving:
    """A drain under way, and when it is over whatever still runs."""

    deadline: float
    code: int = 0
    reason: str = "drained"
    stopped: bool = field(default=False)


class Supervisor:
    """See the module's docstring. One per process."""

    def __init__(self, policy: Policy, rng: random.Random) -> None:
        self.policy = policy
        self._rng = rng
        self._book: AddressBook | None = None
        self._connections: list[Connection] = []
        self._backoffs: list[Backoff] = []
        self._discovery = self._backoff()
        self._discover_due: float | None = None
        self._discovering = False
        self._leaving: _Leaving | None = None
        self._started_others = False
        self._was_ready = False

    def _backoff(self) -> Backoff:
        base = self.policy.backoff_base_s
        return Backoff(self._rng, base_s=base, cap_s=base * 2.0**self.policy.retries)

    # What can be seen

    @property
    def ready(self) -> int:
        """Connections that serve requests. None while leaving."""
        return sum(connection.state is State.SERVING for connection in self._connections)

    @property
    def expected(self) -> int:
        """How many connections there are meant to be."""
        return len(self._connections) or self.policy.connections

    def snapshot(self, now: float) -> tuple[ConnectionSnapshot, ...]:
        return tuple(
            ConnectionSnapshot(
                index=c.index,
                state=c.state.name.lower(),
                location=c.location,
                address=str(c.address) if c.address is not None else "",
                region=c.address.region if c.address is not None else 0,
                attempts=c.attempt,
                since_s=now - c.since,
                reason=c.reason,
            )
            for c in self._connections
        )

    # Finding the edge

    def start(self, now: float) -> list[Effect]:
        return self._discover()

    def _discover(self) -> list[Effect]:
        self._discovering = True
        self._discover_due = None
        return [do.Discover()]

    def discovered(self, now: float, regions: Sequence[Sequence[tuple[str, int]]]) -> list[Effect]:
        """The regions' addresses, one sequence each."""
        if self._leaving is not None:
            return []
        book = AddressBook(regions, self._rng, self.policy.family)
        if book.count(now) == 0:
            return self.discovery_failed(now, "no address of the wanted family")
        self._discovering = False
        self._discovery.reset()
        if self._connections:
            self._adopt(book)
            return []
        return self._begin(now, book)

    def discovery_failed(self, now: float, reason: str) -> list[Effect]:
        if self._leaving is not None:
            return []
        self._discovering = False
        delay = self._discovery.next_delay()
        self._discover_due = now + delay
        return [do.Announce("discovery_failed", {"reason": reason, "retry_in_s": round(delay, 3)})]

    def _begin(self, now: float, book: AddressBook) -> list[Effect]:
        self._book = book
        for index in range(min(self.policy.connections, book.count(now))):
            heartbeat = Heartbeat(self.policy.heartbeat_interval_s, self.policy.heartbeat_count)
            self._connections.append(Connection(index, heartbeat, since=now))
            self._backoffs.append(self._backoff())
        return self._dial(now, self._connections[0])

    def _adopt(self, book: AddressBook) -> None:
        """A later look-up: connections that are up keep their addresses, the others take new ones."""
        assert self._book is not None
        book.inherit(self._book, [c.index for c in self._connections if c.up])
        self._book = book

    # One connection

    def _dial(self, now: float, connection: Connection) -> list[Effect]:
        assert self._book is not None
        if connection.move_on:
            address = self._book.move_on(now, connection.index)
        else:
            address = self._book.keep_or_take(now, connection.index)
        if address is None:
            # Fewer addresses than when we began: wait for one to become free.
            connection.due = now + self._backoffs[connection.index].next_delay()
            return []
        connection.move_on = False
        connection.move(Input.DUE)
        connection.attempt += 1
        connection.address = address
        connection.since = now
        connection.due = now + self.policy.dial_timeout_s
        return [do.Dial(connection.index, connection.attempt, address, connection.failures)]

    def _current(self, index: int, attempt: int, *states: State) -> Connection | None:
        """The connection, if the report is about its present attempt and it is in one of `states`."""
        if index >= len(self._connections):
            return None
        connection = self._connections[index]
        if connection.attempt != attempt or connection.state not in states:
            return None
        return connection

    def dialled(self, now: float, index: int, attempt: int) -> list[Effect]:
        """TCP and TLS are up; the edge speaks next."""
        connection = self._current(index, attempt, State.DIALLING)
        if connection is None:
            return [do.HangUp(index, attempt)]
        assert self._book is not None
        self._book.succeeded(index)
        connection.move(Input.DIALLED)
        connection.failed_dials = 0
        connection.since = now
        connection.due = now + self.policy.register_timeout_s
        connection.heartbeat.start(now)
        return []

    def failed(
        self, now: float, index: int, attempt: int, reason: str, *, unreachable: bool = False
    ) -> list[Effect]:
        """The dial failed: `unreachable` when there is no route to that address family."""
        connection = self._current(index, attempt, State.DIALLING)
        if connection is None:
            return []
        assert self._book is not None
        self._book.failed(now, index)
        if unreachable:
            self._book.unreachable(now, index)
        connection.move_on = True
        connection.failed_dials += 1
        found: list[Effect] = self._ended(now, connection, reason)
        wanted = self.policy.max_edge_addr_retries
        if (
            connection.failed_dials % wanted == 0
            and not self._discovering
            and self._discover_due is None
        ):
            found += self._discover()
        return found

    def registered(
        self, now: float, index: int, attempt: int, details: ConnectionDetails
    ) -> list[Effect]:
        connection = self._current(index, attempt, State.REGISTERING)
        if connection is None:
            return []
        connection.move(Input.REGISTERED)
        connection.due = None
        connection.since = now
        connection.failures = 0
        connection.reason = ""
        connection.location = details.location
        assert connection.address is not None
        found: list[Effect] = [
            do.Announce(
                "tunnel_connected",
                {
                    "connIndex": index,
                    "location": details.location,
                    "address": str(connection.address),
                    "region": connection.address.region,
                },
            )
        ]
        # The first heartbeat at once: it tells the RTT.
        found.append(do.Ping(index, attempt))
        if not self._was_ready:
            self._was_ready = True
            found.append(do.Ready())
        if index == 0 and not details.remotely_managed:
            found.append(do.ReportConfiguration(index, attempt))
        if not self._started_others:
            self._started_others = True
            for position, other in enumerate(self._connections[1:]):
                other.due = now + position * self.policy.start_interval_s
        return found

    def refused(self, now: float, index: int, attempt: int, refusal: Refusal) -> list[Effect]:
        """The edge answered a registration with an error."""
        connection = self._current(index, attempt, State.REGISTERING)
        if connection is None:
            return []
        duplicate = refusal.cause == CAUSE_DUPLICATE
        known = duplicate or CAUSE_UNAUTHORIZED in refusal.cause
        if not (known or refusal.should_retry or self._was_ready):
            # The edge says that trying again is no use, and nothing of us works yet: better to end
            # with the reason than to look alive.
            return self._stop(now, 1, f"registration refused: {refusal.cause}")
        connection.move_on = duplicate
        return [
            do.HangUp(index, attempt),
            *self._ended(now, connection, refusal.cause, at_least_s=refusal.retry_after_s),
        ]

    def lost(self, now: float, index: int, attempt: int, reason: str) -> list[Effect]:
        """The connection is gone, or its control stream failed before registration."""
        connection = self._current(
            index, attempt, State.REGISTERING, State.SERVING, State.LEAVING, State.FINISHING
        )
        if connection is None:
            return []
        return self._ended(now, connection, reason)

    def _ended(
        self, now: float, connection: Connection, reason: str, *, at_least_s: float = 0.0
    ) -> list[Effect]:
        served = connection.state is State.SERVING
        if served and now - connection.since >= self.policy.stable_s:
            self._backoffs[connection.index].reset()
        location = connection.location
        connection.heartbeat.stop()
        connection.reason = reason
        connection.location = ""
        connection.since = now
        if connection.move(Input.ENDED) is State.DONE:
            connection.due = None
            return self._stop_if_all_done()
        connection.failures += 1
        delay = max(at_least_s, self._backoffs[connection.index].next_delay())
        connection.due = now + delay
        index = connection.index
        found: list[Effect] = []
        if served:
            found.append(
                do.Announce(
                    "tunnel_lost", {"connIndex": index, "location": location, "reason": reason}
                )
            )
        found.append(
            do.Announce(
                "tunnel_reconnecting",
                {
                    "connIndex": index,
                    "location": location,
                    "reason": reason,
                    "retry_in_s": round(delay, 3),
                },
            )
        )
        return found

    # Leaving

    def drain(self, now: float) -> list[Effect]:
        """Stop gracefully. A second call stops at once."""
        if self._leaving is not None:
            return self._stop(now, 1, "stopped before running requests ended")
        self._leaving = _Leaving(now + self.policy.grace_period_s)
        self._discover_due = None
        found: list[Effect] = []
        for connection in self._connections:
            was = connection.state
            attempt = connection.attempt
            if connection.move(Input.LEAVE) is State.LEAVING:
                connection.due = now + self.policy.unregister_timeout_s
                found.append(do.Unregister(connection.index, attempt))
                continue
            connection.due = None
            connection.heartbeat.stop()
            if was in (State.DIALLING, State.REGISTERING):
                found.append(do.HangUp(connection.index, attempt))
        return found + self._stop_if_all_done()

    def unregistered(self, now: float, index: int, attempt: int) -> list[Effect]:
        """The edge answered, or cannot: either way no new requests are expected."""
        connection = self._current(index, attempt, State.LEAVING)
        if connection is None:
            return []
        connection.move(Input.UNREGISTERED)
        connection.due = None
        return [do.Finish(index, attempt)]

    def _stop_if_all_done(self) -> list[Effect]:
        leaving = self._leaving
        if leaving is None or leaving.stopped:
            return []
        if any(connection.state is not State.DONE for connection in self._connections):
            return []
        leaving.stopped = True
        return [do.Stop(leaving.code, leaving.reason)]

    def _stop(self, now: float, code: int, reason: str) -> list[Effect]:
        """Hang everything up and be done."""
        if self._leaving is None:
            self._leaving = _Leaving(now)
        if self._leaving.stopped:
            return []
        self._leaving.stopped = True
        found: list[Effect] = []
        for connection in self._connections:
            if connection.state is State.DIALLING or connection.up:
                found.append(do.HangUp(connection.index, connection.attempt))
            connection.state = State.DONE
            connection.due = None
            connection.heartbeat.stop()
        found.append(do.Stop(code, reason))
        return found

    # Time

    def next_timer(self) -> float | None:
        times = [t for c in self._connections if (t := c.next_timer()) is not None]
        if self._discover_due is not None:
            times.append(self._discover_due)
        if self._leaving is not None and not self._leaving.stopped:
            times.append(self._leaving.deadline)
        return min(times, default=None)

    def handle_timer(self, now: float, received: Mapping[int, int]) -> list[Effect]:
        """`received`: bytes so far of each connection that is up, by index."""
        found: list[Effect] = []
        leaving = self._leaving
        if leaving is not None and not leaving.stopped and now >= leaving.deadline:
            return self._stop(now, 0, "grace period over")
        if self._discover_due is not None and now >= self._discover_due:
            found += self._discover()
        for connection in self._connections:
            if connection.due is not None and now >= connection.due:
                found += self._due(now, connection)
            beat = connection.heartbeat
            if beat.due is not None and now >= beat.due:
                index, attempt = connection.index, connection.attempt
                if beat.tick(now, received.get(index, 0)):
                    found.append(do.Ping(index, attempt))
                else:
                    found.append(do.HangUp(index, attempt, politely=False))
                    found += self._ended(now, connection, "no sign of life")
        return found

    def _due(self, now: float, connection: Connection) -> list[Effect]:
        index, attempt = connection.index, connection.attempt
        match connection.state:
            case State.WAITING:
                return self._dial(now, connection)
            case State.DIALLING:
                return [
                    do.HangUp(index, attempt),
                    *self.failed(now, index, attempt, "no connection in time"),
                ]
            case State.REGISTERING:
                return [
                    do.HangUp(index, attempt),
                    *self._ended(now, connection, "not registered in time"),
                ]
            case State.LEAVING:
                return self.unregistered(now, index, attempt)
            case _:
                connection.due = None
                return []

"""The life of one connection to the edge, as a table.

                  due             dialled               registered
    WAITING ------------> DIALLING -------> REGISTERING -----------> SERVING
       ^                     | ended             | ended                | ended
       +---------------------+-------------------+----------------------+

    leaving:   SERVING --leave--> LEAVING --unregistered--> FINISHING --ended--> DONE
               every other state --leave--> DONE

`ended` is whatever ends an attempt: a dial that failed, a refusal, a lost connection, silence, a
deadline. Pairs that are not in the table cannot happen: reports about old attempts are dropped
before they get here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from tunnel_client.core.addresses import Address


class State(Enum):
    WAITING = auto()
    DIALLING = auto()
    REGISTERING = auto()
    SERVING = auto()
    LEAVING = auto()
    FINISHING = auto()
    DONE = auto()


class Input(Enum):
    DUE = auto()
    DIALLED = auto()
    REGISTERED = auto()
    ENDED = auto()
    LEAVE = auto()
    UNREGISTERED = auto()


TABLE: dict[tuple[State, Input], State] = {
    (State.WAITING, Input.DUE): State.DIALLING,
    (State.WAITING, Input.LEAVE): State.DONE,
    (State.DIALLING, Input.DIALLED): State.REGISTERING,
    (State.DIALLING, Input.ENDED): State.WAITING,
    (State.DIALLING, Input.LEAVE): State.DONE,
    (State.REGISTERING, Input.REGISTERED): State.SERVING,
    (State.REGISTERING, Input.ENDED): State.WAITING,
    (State.REGISTERING, Input.LEAVE): State.DONE,
    (State.SERVING, Input.ENDED): State.WAITING,
    (State.SERVING, Input.LEAVE): State.LEAVING,
    (State.LEAVING, Input.UNREGISTERED): State.FINISHING,
    (State.LEAVING, Input.ENDED): State.DONE,
    (State.FINISHING, Input.ENDED): State.DONE,
}

# States in which a connection exists, so that heartbeats and reports about it make sense.
UP = frozenset({State.REGISTERING, State.SERVING, State.LEAVING, State.FINISHING})


class IllegalInputError(AssertionError):
    """Only a bug makes this: an input that the state does not have."""


@dataclass(slots=True)
class Heartbeat:
    """Finds silence: `count` intervals without one received byte.

    It counts intervals, not seconds: a process that was stopped and comes back has seen one late
    tick, not a minute of silence, and gives the bytes that wait in its socket a chance.
    """

    interval_s: float
    count: int
    silent: int = 0
    _received: int = -1
    due: float | None = None

    def start(self, now: float) -> None:
        self.silent = 0
        self._received = -1
        self.due = now + self.interval_s

    def stop(self) -> None:
        self.due = None

    def tick(self, now: float, received: int) -> bool:
        """Whether the connection still lives; `received` counts its bytes so far."""
        self.due = now + self.interval_s
        if received != self._received:
            self._received = received
            self.silent = 0
            return True
        self.silent += 1
        return self.silent < self.count


@dataclass(slots=True)
class Connection:
    """What is known of one connection of the tunnel; changed by the supervisor only."""

    index: int
    heartbeat: Heartbeat
    state: State = State.WAITING
    attempt: int = 0
    address: Address | None = None
    location: str = ""
    # When to dial (WAITING), when to give up (DIALLING, REGISTERING).
    due: float | None = None
    # Failures in a row, as told to the edge, and failed dials in a row.
    failures: int = 0
    failed_dials: int = 0
    since: float = 0.0
    reason: str = ""
    move_on: bool = field(default=False)

    def move(self, given: Input) -> State:
        try:
            self.state = TABLE[self.state, given]
        except KeyError:
            raise IllegalInputError(f"{given.name} in state {self.state.name}") from None
        return self.state

    @property
    def up(self) -> bool:
        return self.state in UP

    def next_timer(self) -> float | None:
        times = [t for t in (self.due, self.heartbeat.due) if t is not None]
        return min(times, default=None)

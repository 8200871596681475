"""What an agent does about what it learns: facts go in, effects come out, no I/O.

A program's life, which only ever moves along these arrows (an agent never starts a program again by itself:
that something died is what people want to see):

    IDLE --spawned--> STARTING --ready--> READY --stopping--> STOPPING
                          \\__________________\\___________________\\--exited--> DEAD --spawned--> STARTING
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from wan.agent.config import AgentConfig, Program


class Phase(Enum):
    IDLE = "idle"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    DEAD = "dead"


class Fact(Enum):
    SPAWNED = "spawned"
    IS_READY = "ready"
    IS_STOPPING = "stopping"
    EXITED = "exited"


# What is not in the table changes nothing: a late READY of a program that is leaving, say.
_TABLE: Final[Mapping[tuple[Phase, Fact], Phase]] = {
    (Phase.IDLE, Fact.SPAWNED): Phase.STARTING,
    (Phase.DEAD, Fact.SPAWNED): Phase.STARTING,
    (Phase.STARTING, Fact.IS_READY): Phase.READY,
    (Phase.STARTING, Fact.IS_STOPPING): Phase.STOPPING,
    (Phase.READY, Fact.IS_STOPPING): Phase.STOPPING,
    (Phase.STARTING, Fact.EXITED): Phase.DEAD,
    (Phase.READY, Fact.EXITED): Phase.DEAD,
    (Phase.STOPPING, Fact.EXITED): Phase.DEAD,
}

_ALIVE: Final = frozenset({Phase.STARTING, Phase.READY, Phase.STOPPING})


@dataclass(frozen=True, slots=True)
class Spawn:
    program: Program


@dataclass(frozen=True, slots=True)
class Signal:
    """`group`: the whole process group of the program, not its first process alone."""

    pid: int
    number: signal.Signals
    group: bool


@dataclass(frozen=True, slots=True)
class Announce:
    up: bool


@dataclass(frozen=True, slots=True)
class Record:
    event: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Exit:
    code: int


Effect = Spawn | Signal | Announce | Record | Exit


@dataclass(frozen=True, slots=True)
class ProgramState:
    name: str
    phase: Phase
    paused: bool
    pid: int | None
    ended: str | None
    starts: int

    def __str__(self) -> str:
        text = "paused" if self.paused else self.phase.value
        return f"{self.name} {text}" + (f" ({self.ended})" if self.ended else "")


@dataclass(frozen=True, slots=True)
class AgentState:
    node: str
    attached: bool
    announced: bool
    programs: tuple[ProgramState, ...]

    @property
    def ready(self) -> bool:
        return self.attached and all(program.phase is Phase.READY for program in self.programs)

    def as_json(self) -> dict[str, Any]:
        return {
            "node": self.node,
            "attached": self.attached,
            "announced": self.announced,
            "ready": self.ready,
            "programs": [
                {
                    "name": program.name,
                    "state": "paused" if program.paused else program.phase.value,
                    "pid": program.pid,
                    "ended": program.ended,
                    "starts": program.starts,
                }
                for program in self.programs
            ],
        }

    def __str__(self) -> str:
        link = "attached" if self.attached else "not attached"
        return ", ".join([f"{self.node}: {link}", *map(str, self.programs)])


@dataclass(slots=True)
class _Running:
    program: Program
    phase: Phase = Phase.IDLE
    paused: bool = False
    pid: int | None = None
    ended: str | None = None
    starts: int = 0
    kill_at: float | None = None

    @property
    def alive(self) -> bool:
        return self.phase in _ALIVE

    def learn(self, fact: Fact) -> bool:
        after = _TABLE.get((self.phase, fact))
        if after is None:
            return False
        self.phase = after
        return True

    def signal(self, number: signal.Signals, *, group: bool = True) -> Signal:
        assert self.pid is not None
        # A program that keeps the agent's terminal also keeps its process group.
        return Signal(self.pid, number, group and self.program.log is not None)


@dataclass(slots=True)
class AgentCore:
    """One node's agent. Times are monotonic seconds."""

    config: AgentConfig
    attached: bool = False
    leaving: bool = False
    _announced: bool = False
    _programs: dict[str, _Running] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._programs = {program.name: _Running(program) for program in self.config.programs}

    def snapshot(self) -> AgentState:
        return AgentState(
            self.config.node,
            self.attached,
            self._announced and self.attached,
            tuple(
                ProgramState(
                    name, running.phase, running.paused, running.pid, running.ended, running.starts
                )
                for name, running in self._programs.items()
            ),
        )

    # Facts

    def start(self) -> list[Effect]:
        """All programs that do not run."""
        return [Spawn(one.program) for one in self._programs.values() if not one.alive]

    def spawned(self, name: str, pid: int) -> list[Effect]:
        running = self._programs[name]
        running.learn(Fact.SPAWNED)
        running.pid, running.ended, running.paused, running.kill_at = pid, None, False, None
        running.starts += 1
        effects: list[Effect] = [Record("program_started", {"program": name, "pid": pid})]
        if not running.program.reports_ready:
            effects += self._became_ready(running)
        return effects

    def notified(self, name: str, message: str) -> list[Effect]:
        """A program spoke to its $NOTIFY_SOCKET: lines of sd_notify(3), of which two matter here."""
        running = self._programs[name]
        effects: list[Effect] = []
        for line in message.splitlines():
            if line == "READY=1":
                effects += self._became_ready(running)
            elif line == "STOPPING=1" and running.learn(Fact.IS_STOPPING):
                effects.append(Record("program_stopping", {"program": name}))
        return [*effects, *self._announcement()]

    def exited(self, pid: int, how: str, code: int) -> list[Effect]:
        for name, running in self._programs.items():
            if running.pid == pid and running.learn(Fact.EXITED):
                running.pid, running.ended, running.paused, running.kill_at = None, how, False, None
                effects: list[Effect] = [Record("program_exited", {"program": name, "how": how})]
                effects += self._announcement()
                if self._may_leave():
                    effects.append(Exit(code if self.config.follow else 0))
                return effects
        return []

    def wan_attached(self) -> list[Effect]:
        self.attached = True
        self._announced = False
        return [Record("node_attached", {}), *self._announcement()]

    def wan_lost(self) -> list[Effect]:
        if not self.attached:
            return []
        self.attached = False
        self._announced = False
        return [Record("node_detached", {})]

    def next_timer(self) -> float | None:
        return min(
            (one.kill_at for one in self._programs.values() if one.kill_at is not None),
            default=None,
        )

    def handle_timer(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for running in self._programs.values():
            if running.kill_at is not None and running.kill_at <= now and running.alive:
                running.kill_at = None
                effects.append(running.signal(signal.SIGKILL))
        return effects

    # Requests

    def request(
        self, message: Mapping[str, Any], now: float
    ) -> tuple[dict[str, Any], list[Effect]]:
        """One line from agent.sock: the answer, and what to do before giving it."""
        operation = message.get("op")
        if operation == "status":
            return {"ok": True, **self.snapshot().as_json()}, []
        if operation == "exit":
            return {"ok": True}, self.leave(now)
        chosen = message.get("program")
        if chosen is not None and chosen not in self._programs:
            names = ", ".join(self._programs) or "none"
            return _refusal(f"{self.config.node} has no program {chosen!r} (it has: {names})"), []
        programs = [one for name, one in self._programs.items() if chosen in (None, name)]
        alive = [one for one in programs if one.alive]
        effects: list[Effect]
        match operation:
            case "start":
                effects = [Spawn(one.program) for one in programs if not one.alive]
            case "kill":
                effects = [one.signal(signal.SIGKILL) for one in alive]
            case "stop":
                effects = [effect for one in alive for effect in self._stop(one, now)]
            case "pause":
                effects = []
                for one in alive:
                    one.paused = True
                    effects.append(one.signal(signal.SIGSTOP))
            case "resume":
                effects = []
                for one in alive:
                    one.paused = False
                    effects.append(one.signal(signal.SIGCONT))
            case _:
                return _refusal(f"unknown operation {operation!r}"), []
        record = Record(f"node_{operation}", {"programs": [one.program.name for one in programs]})
        return {"ok": True, "changed": len(effects) > 0}, [record, *effects]

    def leave(self, now: float) -> list[Effect]:
        """Ask every program to stop, then end; a second time: end at once."""
        alive = [one for one in self._programs.values() if one.alive]
        if self.leaving:
            return [*(one.signal(signal.SIGKILL) for one in alive), Exit(0)]
        self.leaving = True
        if not alive:
            return [Exit(0)]
        return [effect for one in alive for effect in self._stop(one, now)]

    def _stop(self, running: _Running, now: float) -> list[Effect]:
        running.kill_at = now + running.program.stop_grace_s
        effects: list[Effect] = [running.signal(signal.SIGTERM, group=False)]
        if running.paused:
            running.paused = False
            effects.append(running.signal(signal.SIGCONT))
        return effects

    def _became_ready(self, running: _Running) -> list[Effect]:
        if not running.learn(Fact.IS_READY):
            return []
        record = Record("program_ready", {"program": running.program.name})
        return [record, *self._announcement()]

    def _announcement(self) -> list[Effect]:
        """Tell the WAN when it must learn something new. A paused program still counts: its kernel answers."""
        if not self.config.anycast or not self.attached:
            return []
        up = all(running.phase is Phase.READY for running in self._programs.values())
        if up == self._announced:
            return []
        self._announced = up
        return [Announce(up)]

    def _may_leave(self) -> bool:
        if any(running.alive for running in self._programs.values()):
            return False
        return self.leaving or self.config.follow


def _refusal(why: str) -> dict[str, Any]:
    return {"ok": False, "error": why}

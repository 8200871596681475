"""Runs the algorithm of a routing table: those with a name here, a plug-in in a process of its own.

A plug-in is foreign code: it may loop for ever, be slow, or take its process with it, and the PoP must serve on. So it
decides in `python -m routing.worker`, and while it does, the last good table stays in force (routing/table.py).

    no child  >  starting  >  ready  <  >  asked         broken: the file is no algorithm; nothing brings it back
        ^            |          |           |
        +- resting <-+----------+-----------+            killed or gone: it comes back after a rest, ever longer

An answer is due after 50 ms. One that is late is taken all the same, if it comes within a second: the machine may have
had other things to do. Late answers that the plug-in is to blame for, by what its process used or waited for, are
counted, and the third in a row ends it.

In virtual time everything is one process, and a deadline by the clock on the wall would make runs differ: there
`guard` surrounds each decision, and whoever gave it ends the run when one does not come back.
"""

from __future__ import annotations

import asyncio
import enum
import random
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any, NoReturn, cast

import msgspec

from pops.config import PopConfig
from routing import plugin, worker
from routing.api import Routes, RoutingState
from routing.catalogue import CATALOGUE, Algorithm
from routing.errors import AlgorithmError, RoutingError, UnknownAlgorithmError
from routing.table import RouteChange, RouteTable
from runtime.backoff import Backoff
from runtime.clock import Clock
from runtime.events import EventLog

Guard = Callable[[str], AbstractContextManager[None]]
"""Surrounds a decision of the plug-in of this name."""

DEADLINE_S = 0.05
HOPELESS_S = 1.0
START_S = 15.0
MOST_LATE = 3
# Of what a plug-in prints, so much reaches our stderr before it has to be started again.
MOST_PRINTED = 64 * 1024


MOST_SAID = 1000
LOADING = "is being loaded"


class State(enum.Enum):
    none = "no process"
    starting = "being started"
    ready = "ready"
    asked = "asked"
    resting = "to be started again"
    broken = "broken"


def foreign(config: PopConfig) -> str | None:
    """Where the plug-in of this PoP is, as routing.plugin.load knows it; None: the algorithm is one of our own.

    Raises UnknownAlgorithmError.
    """
    routing = config.routing
    if routing.plugin is not None:
        return routing.plugin
    if routing.algorithm in CATALOGUE:
        return None
    if routing.algorithm not in (names := plugin.installed()):
        raise UnknownAlgorithmError(routing.algorithm, (*CATALOGUE, *names))
    return f"{plugin.GROUP}:{routing.algorithm}"


def chosen(config: PopConfig, guard: Guard | None) -> Algorithm:
    """The algorithm that a table is made with. A plug-in without a guard decides elsewhere."""
    routing, file = config.routing, foreign(config)
    name = routing.algorithm
    if file is None:
        return CATALOGUE[name]
    if guard is None:
        return _refusing(config, "decides in a process of its own")
    try:
        found = plugin.load(file)
        found.with_params(routing.params)
    except RoutingError as error:
        return _refusing(config, str(error))
    return _guarded(Algorithm(name, found.decide, found.params, learns=True), guard)


def _refusing(config: PopConfig, problem: str) -> Algorithm:
    """It knows its name and takes its parameters on trust."""
    name = config.routing.algorithm

    def decide(state: RoutingState) -> NoReturn:
        raise AlgorithmError(name, problem)

    return Algorithm(name, decide, dict(config.routing.params), learns=True)


def _guarded(found: Algorithm, guard: Guard) -> Algorithm:
    def decide(state: RoutingState) -> Routes:
        with guard(found.name):
            return found.decide(state)

    return Algorithm(found.name, decide, found.params, learns=found.learns)


class AlgorithmRunner:
    """`run` computes the table anew, now or as soon as the plug-in answers; `done` hears what came of it."""

    def __init__(
        self,
        config: PopConfig,
        table: RouteTable,
        *,
        done: Callable[[list[RouteChange]], None],
        events: EventLog,
        clock: Clock,
        guard: Guard | None = None,
    ) -> None:
        self.state = State.none
        self._table = table
        self._done = done
        self._events = events
        self._clock = clock
        self._file = foreign(config) if guard is None else None
        self._params: Mapping[str, Any] = config.routing.params
        self._seed = f"{config.seed}/{config.name}/algorithm"
        self._backoff = Backoff(random.Random(f"{self._seed}/rest"), base_s=1.0, cap_s=30.0)
        self._told: str | None = None
        self._child: _Child | None = None
        self._asked: RoutingState | None = None
        self._asked_at = 0.0
        self._late = 0
        self._wanted = False
        self._problem = LOADING
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self._children: set[_Child] = set()

    # What the PoP calls

    def start(self) -> None:
        """Have the plug-in loaded by the time it is needed."""
        if self._file is not None and self.state is State.none and not self._stopped:
            self._spawn(self._file)

    def run(self, now: float) -> None:
        if self._file is None:
            self._finished(self._table.recompute(now))
            return
        self.start()
        if self.state is State.ready:
            self._ask(now)
        elif self.state is State.asked:
            self._wanted = True
        else:
            self._wanted = True
            self._finished(self._table.fail(self._table.begin(now), self._problem, now))

    def stop(self) -> None:
        self._stopped = True
        self._end_child()

    async def ended(self) -> None:
        """After `stop`: the process is gone, too."""
        for child in list(self._children):
            await child.gone.wait()

    # One decision

    def _ask(self, now: float) -> None:
        assert self._child is not None
        self._wanted = False
        self._asked, self._asked_at = self._table.begin(now), now
        self.state = State.asked
        self._arm(HOPELESS_S, self._hopeless)
        self._child.send(worker.question(self._asked))

    def answered(self, body: bytes) -> None:
        """A message has come from the child."""
        if self.state is State.starting:
            self._loaded(msgspec.msgpack.decode(body, type=worker.Ready))
            return
        asked, now = self._asked, self._clock()
        if self.state is not State.asked or asked is None:
            self.failed("speaks without being asked")
            return
        self._disarm()
        self._asked, self.state = None, State.ready
        answer = msgspec.msgpack.decode(body, type=worker.Answer)
        took_s = now - self._asked_at
        to_blame = answer.cpu_s > DEADLINE_S or answer.waits > 0
        self._late = self._late + 1 if took_s > DEADLINE_S and to_blame else 0
        if self._late >= MOST_LATE:
            self._asked = asked
            self.failed(
                f"is slow: {took_s * 1e3:.0f} ms for a decision, the {MOST_LATE}rd in a row that took "
                f"more than {DEADLINE_S * 1e3:g} ms"
            )
            return
        if answer.error is not None:
            self._finished(self._table.fail(asked, answer.error, now))
        else:
            self._finished(self._table.accept(asked, worker.routes_of(answer), now))
        if self._wanted:
            self._ask(self._clock())

    def _hopeless(self) -> None:
        self.failed(f"has not decided within {HOPELESS_S:g} s")

    def failed(self, problem: str) -> None:
        """The child is of no use any more: without it until it has rested."""
        if self._stopped:
            return
        asked, now = self._asked, self._clock()
        self._end_child()
        self._problem, self._wanted = problem, True
        self.state = State.resting
        self._arm(self._backoff.ceiling_s / 2 + self._backoff.next_delay() / 2, self._rested)
        state = asked if asked is not None else self._table.begin(now)
        self._finished(self._table.fail(state, problem, now))

    def _finished(self, changes: list[RouteChange]) -> None:
        error = self._table.error
        if error != self._told:
            self._told = error
            loading = self.state is State.starting and self._problem == LOADING
            if error is not None and not loading:
                self._events.emit(
                    "algorithm_failed",
                    algorithm=self._table.algorithm.name,
                    problem=error[:MOST_SAID],
                )
        self._done(changes)

    # The child

    def _spawn(self, file: str) -> None:
        self.state = State.starting
        child = self._child = _Child(self)
        self._children = {one for one in self._children if not one.gone.is_set()} | {child}
        child.opening = asyncio.get_running_loop().create_task(
            self._open(child, file), name="plug-in"
        )
        self._arm(START_S, lambda: self.failed(f"is not loaded within {START_S:g} s"))

    async def _open(self, child: _Child, file: str) -> None:
        command = (sys.executable, "-P", "-m", "routing.worker", file)
        try:
            await asyncio.get_running_loop().subprocess_exec(lambda: child, *command)
        except OSError as error:
            child.gone.set()
            self.failed(f"cannot be started: {error.strerror or error}")
            return
        if child.over:
            return
        child.send(worker.Hello(dict(self._params), self._seed))

    def _loaded(self, ready: worker.Ready) -> None:
        self._disarm()
        if ready.error is not None:
            self._problem = ready.error
            self._end_child()
            self.state = State.broken
        else:
            self.state, self._late = State.ready, 0
        if self._wanted:
            # What was decided without it is decided anew.
            self.run(self._clock())

    def _rested(self) -> None:
        self.state = State.none
        self.start()

    def _end_child(self) -> None:
        self._disarm()
        child, self._child, self._asked = self._child, None, None
        if child is not None:
            child.end()

    def _arm(self, after_s: float, call: Callable[[], None]) -> None:
        self._disarm()
        self._timer = asyncio.get_running_loop().call_later(after_s, call)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Child(asyncio.SubprocessProtocol):
    """The pipes of one process: messages on its stdout, what the plug-in prints on its stderr."""

    def __init__(self, runner: AlgorithmRunner) -> None:
        self.opening: asyncio.Task[None] | None = None
        self.gone = asyncio.Event()
        self._runner: AlgorithmRunner | None = runner
        self._transport: asyncio.SubprocessTransport | None = None
        self._buffer = bytearray()
        self._printed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)
        if self._runner is None:
            self.end()

    def send(self, message: msgspec.Struct) -> None:
        assert self._transport is not None
        pipe = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))
        if not pipe.is_closing():
            pipe.write(worker.packed(message))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd != 1:
            self._print(data)
            return
        self._buffer += data
        while self._runner is not None and len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "big")
            if length > worker.MOST_BYTES:
                self._runner.failed(f"answers with {length} bytes")
                return
            if len(self._buffer) < 4 + length:
                return
            body = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            try:
                self._runner.answered(body)
            except msgspec.MsgspecError as error:
                self._runner.failed(f"answers with what is no answer: {error}")

    def _print(self, data: bytes) -> None:
        left = MOST_PRINTED - self._printed
        if left <= 0:
            return
        self._printed += len(data)
        sys.stderr.write(data[:left].decode(errors="replace"))
        if self._printed >= MOST_PRINTED:
            sys.stderr.write("\npopnet: the algorithm prints too much; the rest is dropped\n")

    @property
    def over(self) -> bool:
        """Nobody wants to hear of it any more."""
        return self._runner is None

    def process_exited(self) -> None:
        self.gone.set()
        if self._runner is not None and self._transport is not None:
            code = self._transport.get_returncode()
            self._runner.failed(f"has ended its process (exit {code})")

    def end(self) -> None:
        self._runner = None
        if self.opening is not None and not self.opening.done() and self._transport is None:
            # Cancelled half-way the process would have no owner: it is ended when it is there.
            return
        if self._transport is not None:
            if self._transport.get_returncode() is None:
                with suppress(ProcessLookupError):
                    self._transport.kill()
            self._transport.close()

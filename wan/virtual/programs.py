"""What runs where. A program is a context: tasks and callbacks made in it belong to it and to its node.

A killed program is one whose callbacks never run again, as after SIGKILL: no `finally`, no farewell; what its
kernel does for it (FIN to every peer) is `network`'s affair. A paused one finds everything still to do when
it goes on, as after SIGSTOP.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, TypeVar

from wan.virtual.errors import NowhereError

T = TypeVar("T")
HERE: contextvars.ContextVar[Program] = contextvars.ContextVar("here")


class State(Enum):
    RUNNING = "running"
    PAUSED = "paused"
    DEAD = "dead"


class Closable:
    """Something of a program that its kernel closes when the program dies."""

    def orphan(self) -> None:
        """The program is gone; nobody is to be called."""

    def wake(self) -> None:
        """The program runs again."""

    def bury(self) -> None:
        """The world ends: whoever was called by this hears that it is over."""


class Turns(asyncio.AbstractEventLoop):
    """The loop, as programs and their kernels know it: whose turn it is, and what happens when."""

    now: float
    programs: list[Program]
    # (when, order, TimerHandle, None) or (when, order, what the network does then, with what).
    agenda: list[tuple[float, int, Any, Any]]
    next: Callable[[], int]

    def at(self, when: float, what: Callable[[Any], None], argument: Any) -> None:
        """The network's own timers: no handle, no context, never cancelled."""
        raise NotImplementedError

    def halted(self, program: Program) -> None:
        """Nothing of it is called any more."""
        raise NotImplementedError

    def resumed(self, program: Program) -> None:
        """What was to be called meanwhile is called now."""
        raise NotImplementedError


class Program:
    """One process of a node, from its start to its end. Made by `Network.program`."""

    def __init__(self, loop: Turns, node: str, name: str) -> None:
        self.loop = loop
        self.node = node
        self.name = name
        self.state = State.RUNNING
        # In the order in which they were opened, for that is the order in which they are closed.
        self.open: dict[Closable, None] = {}
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self._buried: list[Closable] = []
        self.context = contextvars.Context()
        self.context.run(HERE.set, self)
        loop.programs.append(self)

    def __repr__(self) -> str:
        return f"<{self.node}/{self.name} {self.state.value}>"

    def start(self, coroutine: Coroutine[Any, Any, T], *, name: str = "main") -> asyncio.Task[T]:
        """A task of this program."""
        label = f"{self.node}/{self.name} {name}"
        task = self.loop.create_task(coroutine, name=label, context=self.context.copy())
        self.tasks[task] = None
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.tasks.pop(task, None)

    def call(self, callback: Callable[..., T], *args: Any) -> T:
        """Run a plain function as this program."""
        return self.context.copy().run(callback, *args)

    def kill(self) -> None:
        if self.state is not State.DEAD:
            self.state = State.DEAD
            self.loop.halted(self)
            # Kept as they are until the world ends: what is collected runs code.
            self._buried = list(self.open)
            for each in self._buried:
                each.orphan()

    def bury(self) -> None:
        """The world ends."""
        self.kill()
        for each in self._buried:
            each.bury()

    def pause(self) -> None:
        if self.state is State.RUNNING:
            self.state = State.PAUSED
            self.loop.halted(self)

    def resume(self) -> None:
        if self.state is State.PAUSED:
            self.state = State.RUNNING
            self.loop.resumed(self)
            for each in list(self.open):
                self.loop.call_soon(each.wake, context=self.context.copy())


def here() -> Program:
    """The program that asks."""
    try:
        return HERE.get()
    except LookupError:
        raise NowhereError from None

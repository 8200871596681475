"""What goes wrong in virtual time and could not on a machine."""

from __future__ import annotations

from collections.abc import Sequence


class VirtualError(Exception):
    """Root of this package's errors."""


class DeadlockError(VirtualError):
    """Nothing is left to happen, and somebody waits. `waiting` names who, and where."""

    def __init__(self, now: float, waiting: Sequence[str]) -> None:
        self.waiting = tuple(waiting)
        listed = "".join(f"\n  {line}" for line in waiting) or " nobody knows who"
        super().__init__(f"at {now:.6f} s nothing is left to happen, but these wait:{listed}")


class StandstillError(VirtualError):
    """Callbacks go on and on, and time does not. `running` names what ran in the last turn."""

    def __init__(self, now: float, turns: int, running: Sequence[str]) -> None:
        self.running = tuple(running)
        listed = "".join(f"\n  {line}" for line in running)
        super().__init__(f"time stands still at {now:.6f} s after {turns} turns of:{listed}")


class RefusedError(VirtualError, NotImplementedError):
    """Something that would leave the loop: threads, real sockets, signals, other processes."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} would leave virtual time: there is nothing but the loop")


class NowhereError(VirtualError):
    """The network was asked for by code that runs on no node."""

    def __init__(self) -> None:
        super().__init__("this code runs on no node: start it by Network.program(...).start(...)")

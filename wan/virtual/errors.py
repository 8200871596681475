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


class RefusedError(VirtualError, NotImplementedError):
    """Something that would leave the loop: threads, real sockets, signals, other processes."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} would leave virtual time: there is nothing but the loop")


class NowhereError(VirtualError):
    """The network was asked for by code that runs on no node."""

    def __init__(self) -> None:
        super().__init__("this code runs on no node: start it by Network.program(...).start(...)")

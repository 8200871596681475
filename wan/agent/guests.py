"""Guests: programs that somebody runs inside the node from outside of it, by way of agent.sock.

    {"op": "exec", "arguments": [...], "environment": {...}, "directory": null}  + three descriptors (SCM_RIGHTS)
    {"ok": true, "pid": 7}, and when it has ended {"ended": "exit 0", "code": 0}
    {"op": "signal", "number": 2}   to its process group, meanwhile

The descriptors become its standard streams, so nothing it reads or writes passes through the agent. Whoever asked
keeps the connection: its end is the guest's end. One guest a connection.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wan.agent.config import Program
from wan.agent.spawn import spawn

_STREAMS = 3


class GuestError(Exception):
    """What was asked cannot be done; the text says why."""


@dataclass(slots=True)
class _Guest:
    pid: int
    host: int | None


class Guests:
    """`host` is the number of the connection that a guest belongs to; `release` is the agent's own."""

    def __init__(self, node: str, release: Callable[[], None]) -> None:
        self._node = node
        self._release = release
        self._guests: dict[int, _Guest] = {}

    def start(self, host: int, message: Mapping[str, Any], streams: Sequence[int]) -> int:
        try:
            program = _program(message)
            if len(streams) != _STREAMS:
                raise GuestError(f"three descriptors come with exec, not {len(streams)}")
            if self._of(host) is not None:
                raise GuestError("one program a connection")
            pid = spawn(program, {"POPNET_NODE": self._node}, self._release, streams)
        finally:
            for fd in streams:
                os.close(fd)
        self._guests[pid] = _Guest(pid, host)
        return pid

    def signal(self, host: int, number: object) -> None:
        guest = self._of(host)
        if guest is None or not isinstance(number, int) or number not in signal.valid_signals():
            raise GuestError("signal needs a running program and a number")
        _end(guest.pid, number)

    def ended(self, pid: int) -> int | None:
        """The connection to tell; None when this was no guest, or nobody waits for it."""
        guest = self._guests.pop(pid, None)
        return guest.host if guest is not None else None

    def abandoned(self, host: int) -> None:
        if (guest := self._of(host)) is not None:
            guest.host = None
            _end(guest.pid, signal.SIGKILL)

    def _of(self, host: int) -> _Guest | None:
        return next((one for one in self._guests.values() if one.host == host), None)


def _program(message: Mapping[str, Any]) -> Program:
    arguments = message.get("arguments")
    environment = message.get("environment") or {}
    directory = message.get("directory")
    if (
        not isinstance(arguments, list)
        or not arguments
        or not all(isinstance(one, str) for one in arguments)
        or not isinstance(environment, dict)
        or not isinstance(directory, str | None)
    ):
        raise GuestError(
            "exec needs arguments: [program, ...]; environment and directory are optional"
        )
    return Program(
        name=arguments[0],
        arguments=tuple(arguments),
        environment={str(name): str(value) for name, value in environment.items()},
        directory=directory,
    )


def _end(pid: int, number: int) -> None:
    # The group is its own (setsid), once the child has come so far; before that the child alone is meant.
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

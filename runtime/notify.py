"""Telling whoever started this process how it is: the sd_notify protocol.

One datagram of `KEY=VALUE` lines to the Unix socket named by $NOTIFY_SOCKET (a leading "@" means
the abstract namespace). Without the variable every call does nothing, so that programs run the same
by hand and under a supervisor. See sd_notify(3).
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping


class Notifier:
    """Sends states to the supervisor's socket, at most once each for `ready` and `stopping`."""

    def __init__(self, address: str | None) -> None:
        self._address = address or None
        self._said: set[str] = set()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Notifier:
        return cls((os.environ if environ is None else environ).get("NOTIFY_SOCKET"))

    def ready(self) -> None:
        self._once("READY=1")

    def stopping(self) -> None:
        self._once("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for people, e.g. `STATUS=4/4 connections`."""
        self._send("STATUS=" + text.replace("\n", " "))

    def _once(self, state: str) -> None:
        if state not in self._said:
            self._said.add(state)
            self._send(state)

    def _send(self, state: str) -> None:
        if self._address is None:
            return
        address = self._address
        if address.startswith("@"):
            address = "\0" + address[1:]
        # A supervisor that went away is no reason to stop, and one that is slow none to wait.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        ):
            sender.setblocking(False)
            sender.sendto(state.encode(), address)

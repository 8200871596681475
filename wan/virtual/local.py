"""Loopback and Unix sockets: two transports of one host, back to back. No network, no time, no loss."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from typing import Any

from wan.virtual.doors import Listener, SocketName
from wan.virtual.programs import Program
from wan.virtual.transports import EMPTY, Stream

# What a socket pair takes before its writer has to wait.
_BUFFER = 256 * 1024


class LocalTransport(Stream):
    """One end. What it writes stands in the other's inbox in the same moment."""

    def __init__(
        self,
        program: Program,
        protocol: Any,
        context: contextvars.Context,
        name: Any,
        peer: Any,
    ) -> None:
        super().__init__(program, protocol, context)
        self._told = {"sockname": name, "peername": peer, "socket": SocketName(name, peer)}
        self.peer: LocalTransport = self
        self._inbox: deque[bytes] = deque()
        self._held = 0
        self._last = False
        self._due = False

    def _room(self) -> int:
        return _BUFFER - self.peer._held

    def _put(self, data: bytes) -> None:
        peer = self.peer
        if peer.orphaned:
            # EPIPE: asyncio tells of it by ending the connection.
            self._lose_soon(BrokenPipeError("the other end is closed"))
            return
        peer._inbox.append(data)
        peer._held += len(data)
        peer._schedule()

    def _finish(self) -> None:
        self.peer._last = True
        self.peer._schedule()

    def _schedule(self) -> None:
        if not self._due:
            self._due = True
            loop = self._program.loop
            loop.at(loop.now, LocalTransport._deliver, self)

    def _deliver(self) -> None:
        self._due = False
        while self.reading and self._inbox:
            data = self._inbox.popleft()
            self._held -= len(data)
            self.received(data)
        if self._last and not self._inbox and self.reading:
            self.ended()
        peer = self.peer
        if (peer._buffer or peer._full) and self._held < _BUFFER // 2 and not peer.orphaned:
            peer.writable()

    def _wanted(self) -> None:
        self._schedule()

    def _let_go(self) -> None:
        if not self.peer.orphaned:
            self._finish()
            self._inbox.clear()
            self._held = 0
            self.peer._schedule()

    def welcome(self, listener: Listener) -> None:
        self._protocol = listener.protocol()
        self._protocol.connection_made(self)
        # Not from here: this runs in the very context in which the protocol is called.
        self._program.loop.call_soon(self.wake, context=EMPTY)


def pair(
    program: Program, protocol: asyncio.BaseProtocol, listener: Listener, mine: Any, theirs: Any
) -> LocalTransport:
    """Connect `program` to `listener`; returns the caller's end."""
    near = LocalTransport(program, protocol, contextvars.copy_context(), mine, theirs)
    far = LocalTransport(listener.program, listener, listener.program.context.copy(), theirs, mine)
    near.peer, far.peer = far, near
    near._later(protocol.connection_made, near)
    far._later(far.welcome, listener)
    return near

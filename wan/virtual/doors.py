"""What asyncio calls a server: a place where a program takes connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from wan.virtual.programs import Closable, Program, State

# As in Linux: somaxconn of programs that ask for as much. A paused program's queue ends here.
BACKLOG = 1024


class Listener(Closable):
    """Entered in its host's table while it is open. `waiting` counts connections nobody has taken yet."""

    def __init__(
        self,
        program: Program,
        factory: Callable[[], asyncio.BaseProtocol],
        secure: Callable[..., asyncio.BaseProtocol] | None,
        table: dict[Any, Listener],
        key: Any,
    ) -> None:
        self.program = program
        self.factory = factory
        self.secure = secure
        self.waiting = 0
        self._table = table
        self._key = key
        table[key] = self
        program.open[self] = None

    def welcome(self) -> bool:
        return self.program.state is State.RUNNING or self.waiting < BACKLOG

    def protocol(self) -> asyncio.BaseProtocol:
        """A protocol for one more connection, behind TLS if that is wanted. Call it as the program."""
        protocol = self.factory()
        return protocol if self.secure is None else self.secure(protocol)

    def close(self) -> None:
        if self._table.get(self._key) is self:
            del self._table[self._key]
        self.program.open.pop(self, None)

    orphan = close


class SocketName:
    """As much of a socket as programs ask of one."""

    def __init__(self, name: Any, peer: Any = None) -> None:
        self._name, self._peer = name, peer

    def getsockname(self) -> Any:
        return self._name

    def getpeername(self) -> Any:
        return self._peer

    def setsockopt(self, *_: Any) -> None:
        """Every option is as it has to be."""

    def fileno(self) -> int:
        return -1


class VirtualServer:
    """The interface of asyncio.Server."""

    def __init__(self, loop: asyncio.AbstractEventLoop, listener: Listener, name: Any) -> None:
        self._loop = loop
        self._listener: Listener | None = listener
        self._name = name
        self._closed: asyncio.Future[None] | None = None

    @property
    def sockets(self) -> tuple[SocketName, ...]:
        return () if self._listener is None else (SocketName(self._name),)

    def is_serving(self) -> bool:
        return self._listener is not None

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    async def start_serving(self) -> None:
        """It serves from its making."""

    async def serve_forever(self) -> None:
        try:
            await self.wait_closed()
        finally:
            self.close()

    async def wait_closed(self) -> None:
        if self._listener is not None:
            if self._closed is None:
                self._closed = self._loop.create_future()
            await self._closed

    async def __aenter__(self) -> VirtualServer:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

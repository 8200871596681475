"""asyncio's side of a connection: a transport for streams, one for datagrams.

Callbacks of a protocol run in the context in which it was opened, straight from the network while its program
runs; nothing is handed to a program that is paused or dead.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, cast

from wan import packet
from wan.virtual.doors import Listener, SocketName
from wan.virtual.hosts import Host
from wan.virtual.programs import Closable, Program, State
from wan.virtual.sending import Sender

# For callbacks of the kernel: they belong to no program, and no program's state holds them up.
EMPTY = contextvars.Context()
# Looking a member up costs as much as a call.
_RUNNING = State.RUNNING
_HIGH = 64 * 1024
_SMALL = 4096
_UDP_HEADER = 28
_LONGEST_DATAGRAM = 65507


class Caller(Closable):
    """What calls a protocol."""

    def __init__(
        self, program: Program, protocol: asyncio.BaseProtocol, context: contextvars.Context
    ) -> None:
        self._program = program
        self._protocol = protocol
        self._context = context
        self._told: dict[str, Any] = {}
        self.closing = self.orphaned = False
        program.open[self] = None

    def _up(self, callback: Callable[..., Any], *args: Any) -> Any:
        """Call the program, now if it runs, else when it does again."""
        if self._program.state is State.RUNNING:
            try:
                return self._context.run(callback, *args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 as asyncio's own transports do
                self._broken(error)
        else:
            self._later(callback, *args)
        return None

    def _later(self, callback: Callable[..., Any], *args: Any) -> None:
        if self._program.state is not State.DEAD:
            self._program.loop.call_soon(callback, *args, context=self._context)

    def _broken(self, error: BaseException) -> None:
        self._program.loop.call_exception_handler(
            {
                "message": "Fatal error: a protocol's callback failed",
                "exception": error,
                "transport": self,
                "protocol": self._protocol,
            }
        )

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._told.get(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_closing(self) -> bool:
        return self.closing


class Stream(Caller, asyncio.Transport):
    """What a transport of bytes has to do whatever carries it: buffers, limits, the order of callbacks."""

    # asyncio's own start_tls asks for it.
    _start_tls_compatible = True

    def __init__(
        self, program: Program, protocol: asyncio.BaseProtocol, context: contextvars.Context
    ) -> None:
        Caller.__init__(self, program, protocol, context)
        self._buffer: deque[bytes | memoryview] = deque()
        self._size = 0
        self._high, self._low = _HIGH, _HIGH // 4
        self._full = False
        self._paused = False
        self._eof = False
        self._eof_told = False
        self._lost = False
        # Who takes what is received, and how: looked up once.
        self._receives: asyncio.BaseProtocol | None = None
        self._receive: Callable[[bytes], object]

    # What a kernel does, per kind

    def _room(self) -> int:
        raise NotImplementedError

    def _put(self, data: bytes) -> None:
        raise NotImplementedError

    def _finish(self) -> None:
        raise NotImplementedError

    def _wanted(self) -> None:
        raise NotImplementedError

    def _let_go(self) -> None:
        """The socket is closed; what the kernel has taken is delivered."""
        raise NotImplementedError

    # Writing

    def write(self, data: Any) -> None:
        if not data or self._eof or self._lost or self.orphaned:
            return
        data = bytes(data) if data.__class__ is not bytes else data
        if not self._buffer:
            room = self._room()
            if len(data) <= room:
                self._put(data)
                return
            if room > 0:
                self._put(data[:room])
                # A long rest stays a view: it goes out in many small pieces, and is not copied for each.
                data = memoryview(data)[room:]
        self._buffer.append(data)
        self._size += len(data)
        if self._size > self._high and not self._full:
            self._full = True
            self._context_safe(self._protocol.pause_writing)

    def _context_safe(self, callback: Callable[[], None]) -> None:
        # Within the program already: its own context may not be entered twice.
        try:
            callback()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001
            self._broken(error)

    @property
    def waiting(self) -> bool:
        """Whether anything waits for the kernel to have room."""
        return bool(self._buffer) or self._full

    def writable(self) -> None:
        """The kernel has room again."""
        while self._buffer:
            room = self._room()
            if room <= 0:
                break
            data = self._buffer.popleft()
            if len(data) > room:
                view = memoryview(data)
                self._buffer.appendleft(view[room:])
                data = view[:room]
            self._size -= len(data)
            self._put(bytes(data))
        if self._full and self._size <= self._low:
            self._full = False
            self._up(self._protocol.resume_writing)
        if not self._buffer:
            if self.closing:
                self._lose_soon(None)
            elif self._eof:
                self._finish()

    def write_eof(self) -> None:
        if self._eof or self.closing:
            return
        self._eof = True
        if not self._buffer:
            self._finish()

    def can_write_eof(self) -> bool:
        return True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = _HIGH if low is None else 4 * low
        self._high, self._low = high, high // 4 if low is None else low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return self._size

    # Reading

    @property
    def reading(self) -> bool:
        return not self._paused and not self.closing and self._program.state is _RUNNING

    def is_reading(self) -> bool:
        return not self._paused and not self.closing

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self._program.loop.call_soon(self.wake, context=EMPTY)

    def wake(self) -> None:
        """The program reads (again), or runs again."""
        if self.reading:
            self._wanted()

    def received(self, data: bytes) -> None:
        if self._protocol is not self._receives:
            self._receives = self._protocol
            self._receive = getattr(self._protocol, "data_received", None) or partial(
                fill, cast(asyncio.BufferedProtocol, self._protocol)
            )
        if self._program.state is not _RUNNING:
            self._later(self._receive, data)
            return
        try:
            self._context.run(self._receive, data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 as asyncio's own transports do
            self._broken(error)

    def ended(self) -> None:
        """The other side will send no more."""
        if self._eof_told:
            return
        self._eof_told = True
        keep = self._up(cast(asyncio.Protocol, self._protocol).eof_received)
        if not keep:
            self.close()

    # The end

    def close(self) -> None:
        if self.closing:
            return
        self.closing = True
        if not self._buffer:
            self._lose_soon(None)

    def abort(self) -> None:
        self._lose_soon(None)

    def _force_close(self, exc: Exception | None) -> None:
        """What asyncio.sslproto calls when a handshake fails."""
        self._lose_soon(exc)

    def _broken(self, error: BaseException) -> None:
        super()._broken(error)
        self._lose_soon(error if isinstance(error, Exception) else None)

    def _lose_soon(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self.closing = True
        self._buffer.clear()
        self._size = 0
        self._later(self._tell_lost, error)

    def _tell_lost(self, error: Exception | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._gone()

    def _gone(self) -> None:
        self._program.open.pop(self, None)
        if not self.orphaned:
            self.orphaned = True
            self._let_go()

    def bury(self) -> None:
        with contextlib.suppress(Exception):
            self._context.copy().run(self._protocol.connection_lost, None)

    def orphan(self) -> None:
        """The program died."""
        self._lost = self.closing = True
        self._buffer.clear()
        self._gone()


def fill(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
    """What the transport of a BufferedProtocol does with what it reads."""
    view = memoryview(data)
    while view:
        buffer = cast(memoryview, protocol.get_buffer(len(view)))
        size = min(len(buffer), len(view))
        buffer[:size] = view[:size]
        protocol.buffer_updated(size)
        view = view[size:]


class Pipe(Protocol):
    """A connection (wan.virtual.tcp), as its transport uses it."""

    sender: Sender

    @property
    def local(self) -> tuple[str, int]: ...
    @property
    def remote(self) -> tuple[str, int]: ...
    def room(self) -> int: ...
    def write(self, data: bytes) -> None: ...
    def finish(self) -> None: ...
    def wanted(self) -> None: ...
    def orphan(self) -> None: ...


class StreamTransport(Stream):
    """A transport over a connection of the network."""

    def __init__(
        self,
        program: Program,
        connection: Pipe,
        protocol: Any,
        made: asyncio.Future[None] | None,
    ) -> None:
        super().__init__(program, protocol, contextvars.copy_context())
        self._connection = connection
        self._made = made
        local, remote = connection.local, connection.remote
        self._told = {
            "sockname": local,
            "peername": remote,
            "socket": SocketName(local, remote),
        }

    def connected(self) -> None:
        """The dial succeeded."""
        self._up(self._protocol.connection_made, self)
        self._later(self._tell_made)

    def _tell_made(self) -> None:
        if self._made is not None and not self._made.done():
            self._made.set_result(None)

    def accepted(self, listener: Listener) -> None:
        """Somebody came."""
        self._context = listener.program.context.copy()
        self._up(self._welcome, listener)

    def _welcome(self, listener: Listener) -> None:
        self._protocol = listener.protocol()
        self._protocol.connection_made(self)
        # Not from here: this runs in the very context in which the protocol is called.
        self._program.loop.call_soon(self.wake, context=EMPTY)

    def failed(self, error: OSError, opening: bool) -> None:
        if self.orphaned:
            return
        if opening:
            self.orphaned = self._lost = self.closing = True
            self._program.open.pop(self, None)
            self._later(self._tell_failed, error)
        else:
            self._lose_soon(error)

    def _tell_failed(self, error: OSError) -> None:
        if self._made is not None and not self._made.done():
            self._made.set_exception(error)

    def write(self, data: Any) -> None:
        connection = self._connection
        if (
            data.__class__ is bytes
            and len(data) <= _SMALL
            and not self._buffer
            and not connection.sender.unsent
            and not (self._eof or self._lost or self.orphaned)
        ):
            # Nobody waits before it, so there is room.
            if data:
                connection.write(data)
            return
        super().write(data)

    def _room(self) -> int:
        return self._connection.room()

    def _put(self, data: bytes) -> None:
        self._connection.write(data)

    def _finish(self) -> None:
        self._connection.finish()

    def _wanted(self) -> None:
        self._connection.wanted()

    def _let_go(self) -> None:
        self._connection.orphan()


class DatagramDoor(Caller, asyncio.DatagramTransport):
    """A UDP socket."""

    def __init__(
        self,
        host: Host,
        program: Program,
        protocol: asyncio.BaseProtocol,
        local: tuple[bytes, int],
        remote: tuple[str, int] | None,
    ) -> None:
        Caller.__init__(self, program, protocol, contextvars.copy_context())
        self._host = host
        self._local = local
        self._remote = remote
        self._ways: dict[tuple[bytes, bytes, int], Any] = {}
        host.datagrams[local] = self
        shown = packet.show_address(local[0] or host.door.address), local[1]
        self._told = {"sockname": shown, "peername": remote, "socket": SocketName(shown, remote)}
        # Answers go out from the address that was asked: an anycast one must not turn into another.
        self._asked: dict[tuple[str, int], bytes] = {}
        program.loop.call_soon(protocol.connection_made, self)

    def sendto(self, data: Any, addr: Any = None) -> None:
        target = addr or self._remote
        if self.closing or target is None:
            return
        data = bytes(data)
        if len(data) > _LONGEST_DATAGRAM:
            self._up(self._error, OSError(errno.EMSGSIZE, "Message too long"))
            return
        host = self._host
        destination = packet.pack_address(target[0])
        source = self._local[0] or self._asked.pop(target[:2], host.door.address)
        key = packet.flow_key(packet.UDP, source, destination, self._local[1], target[1])
        if host.owns(destination):
            self._program.loop.at(self._program.loop.now, host.take_datagram, (key, data))
            return
        place = (source, destination, target[1])
        way = self._ways.get(place)
        if way is None:
            if len(self._ways) > 256:
                self._ways.clear()
            way = self._ways[place] = host.way(key, datagrams=True)
        way.send(_UDP_HEADER + len(data), (key, data))

    def take(self, data: bytes, sender: tuple[str, int], address: bytes) -> None:
        if self._remote is not None and sender != self._remote:
            return
        if not self._local[0]:
            self._asked[sender] = address
        protocol = cast(asyncio.DatagramProtocol, self._protocol)
        self._up(protocol.datagram_received, data, sender)

    def _error(self, error: OSError) -> None:
        cast(asyncio.DatagramProtocol, self._protocol).error_received(error)

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self.orphan()
            self._later(self._protocol.connection_lost, None)

    abort = close

    def orphan(self) -> None:
        host = self._host
        if host.datagrams.get(self._local) is self:
            del host.datagrams[self._local]
            host.free(self._local[1])
        self._program.open.pop(self, None)

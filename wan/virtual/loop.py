"""An event loop whose time is that of the next event.

What happens in the network and what programs asked for later stand in one heap, by time and by the order in
which they were asked for. When no callback is ready, the clock is put to the first of them. When there is none
either, nothing can ever happen again: `DeadlockError` names the tasks that wait.
"""

from __future__ import annotations

import asyncio
import contextvars
import ssl as tls
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, NoReturn, Protocol, TypeVar, TypeVarTuple, Unpack, cast

from wan.virtual.errors import DeadlockError, RefusedError, StandstillError
from wan.virtual.programs import HERE, Program, State, Turns
from wan.virtual.secure import Flights, Secure, app_transport, heard

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
# Cancelled timers stay in the heap until they are so many, and more than half of it.
_MANY_CANCELLED = 256
# So many turns at one moment are no start of a large world, but a program that calls itself for ever.
MOST_TURNS = 1_000_000


class _Callback(asyncio.Handle):
    """As its base class makes it, without looking whether the loop is in debug mode: it is done for every event."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context | None,
    ) -> None:
        slots = cast(Any, self)
        slots._callback = callback
        slots._args = args
        slots._loop = loop
        slots._context = contextvars.copy_context() if context is None else context
        slots._cancelled = False
        slots._repr = slots._source_traceback = None


class _Timer(asyncio.TimerHandle):
    """The same with a time."""

    __slots__ = ()

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context | None,
    ) -> None:
        slots = cast(Any, self)
        slots._callback = callback
        slots._args = args
        slots._loop = loop
        slots._context = contextvars.copy_context() if context is None else context
        slots._cancelled = False
        slots._repr = slots._source_traceback = None
        slots._when = when
        # Its cancel() tells us then (asyncio.events).
        slots._scheduled = True


Factory = Callable[[], asyncio.BaseProtocol]
Layer = Callable[..., asyncio.BaseProtocol]


class Net(Protocol):
    """What connects programs (wan.virtual.network). `secure` puts a layer between transport and protocol."""

    flights: Flights | None

    def listen(
        self, factory: Factory, address: str | None, port: int, secure: Layer | None
    ) -> Any: ...

    def listen_unix(self, factory: Factory, path: str) -> Any: ...

    async def connect(
        self,
        factory: Factory,
        address: str,
        port: int,
        *,
        secure: Layer | None = None,
        local: tuple[str, int] | None = None,
    ) -> tuple[asyncio.Transport, Any]: ...

    async def connect_unix(self, factory: Factory, path: str) -> tuple[asyncio.Transport, Any]: ...

    def datagrams(
        self,
        factory: Factory,
        local: tuple[str, int] | None,
        remote: tuple[str, int] | None,
    ) -> tuple[asyncio.DatagramTransport, Any]: ...


class VirtualLoop(asyncio.BaseEventLoop, Turns):
    """asyncio's own bookkeeping of tasks and callbacks, with another clock and another network.

    `network` carries whatever programs connect; without one they cannot.
    """

    # What asyncio's base class keeps, and this class turns: the callbacks that are ready, and the wish to end.
    _ready: deque[asyncio.Handle]
    _stopping: bool
    _closed: bool

    def __init__(self) -> None:
        super().__init__()
        self.network: Net | None = None
        self.now = 0.0
        self.next = count().__next__
        self.agenda = []
        self._cancelled = 0
        self._turns = 0
        self._halted: dict[Program, list[asyncio.Handle]] = {}
        self._discarding = False
        # All that ever ran: what is collected runs code, and when that happens nobody can tell.
        self.programs = []

    def time(self) -> float:
        return self.now

    def at(self, when: float, what: Callable[[Any], None], argument: Any) -> None:
        heappush(self.agenda, (when, self.next(), what, argument))

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        if self._closed:
            self._check_closed()
        timer = _Timer(when, callback, args, self, context)
        heappush(self.agenda, (when, self.next(), timer, None))
        return timer

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        # As `call_at`: nearly every timer is asked for so.
        if self._closed:
            self._check_closed()
        when = self.now + delay
        timer = _Timer(when, callback, args, self, context)
        heappush(self.agenda, (when, self.next(), timer, None))
        return timer

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        # As the base class does it, without its checks for other threads: there are none.
        if self._closed:
            self._check_closed()
        handle = _Callback(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        # There is no selector to wake: whoever interrupts us (Ctrl-C) does so between two callbacks.
        return self.call_soon(callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._cancelled += 1

    # One turn

    def _run_once(self) -> None:
        ready = self._ready
        if not ready and not self._stopping:
            self._advance()
        self._turns += 1
        if self._turns > MOST_TURNS:
            self._turns = 0
            raise StandstillError(self.now, MOST_TURNS, sorted(map(repr, ready)))
        halted = self._halted
        for _ in range(len(ready)):
            handle = cast(Any, ready.popleft())
            if handle._cancelled:
                continue
            if halted:
                program = handle._context.get(HERE)
                if program is not None and program.state is not State.RUNNING:
                    if program.state is State.PAUSED:
                        halted[program].append(handle)
                    continue
            # As Handle._run does it.
            try:
                handle._context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 as asyncio's own loop does
                self._failed(handle, error)

    def _failed(self, handle: asyncio.Handle, error: BaseException) -> None:
        message = f"Exception in callback {handle!r}"
        self.call_exception_handler({"message": message, "exception": error, "handle": handle})

    def _advance(self) -> None:
        """To the next time at which anything happens; carry out or make ready all that happens then."""
        if self._discarding:
            self.agenda.clear()
            self.stop()
            return
        agenda = self.agenda
        if self._cancelled > _MANY_CANCELLED and self._cancelled * 2 > len(agenda):
            self.agenda = agenda = [each for each in agenda if not _is_cancelled(each[2])]
            heapify(agenda)
            self._cancelled = 0
        ready, now = self._ready, self.now
        while agenda:
            when, _, what, argument = agenda[0]
            if what.__class__ is not _Timer:
                if when > now:
                    if ready:
                        return
                    self.now = now = when
                    self._turns = 0
                heappop(agenda)
                what(argument)
            elif what._cancelled:
                heappop(agenda)
                self._cancelled -= 1
            else:
                if when > now:
                    if ready:
                        return
                    self.now = now = when
                    self._turns = 0
                heappop(agenda)
                what._scheduled = False  # type: ignore[attr-defined]
                ready.append(what)
            if self._stopping:
                return
        if not ready:
            raise DeadlockError(self.now, self.waiting())

    def halted(self, program: Program) -> None:
        self._halted.setdefault(program, [])

    def resumed(self, program: Program) -> None:
        self._ready.extend(self._halted.pop(program))

    def waiting(self) -> list[str]:
        """Every task that is not done, with the place where it waits, by name."""
        lines = []
        for task in asyncio.all_tasks(self):
            stack = task.get_stack(limit=1)
            where = ""
            if stack:
                frame = traceback.extract_stack(stack[-1], limit=1)[0]
                where = f" in {frame.name} ({frame.filename.rpartition('/')[2]}:{frame.lineno})"
            lines.append(f"{task.get_name()}{where}")
        return sorted(lines)

    def discard(self) -> None:
        """End every task, dead programs' too, without the time and the network they would need; then close."""
        self._discarding = True
        for program in self.programs:
            program.bury()
        self._halted.clear()
        self.set_exception_handler(lambda loop, context: None)
        for task in sorted(asyncio.all_tasks(self), key=lambda task: task.get_name()):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            task.cancel()
        self.run_forever()
        self.close()

    def _check_closed(self) -> None:
        # What is still in memory after the end may ask for callbacks that never come.
        if not self._discarding:
            super()._check_closed()  # type: ignore[misc]

    # The network

    def _net(self) -> Net:
        if self.network is None:
            raise RefusedError("a connection without a network")
        return self.network

    def _secure(
        self, context: tls.SSLContext | bool | None, name: str | None, handshake_s: float | None
    ) -> Secure | None:
        if context is None:
            return None
        if not isinstance(context, tls.SSLContext):
            raise RefusedError("TLS by the system's certificates (ssl=True)")
        return Secure(self, self._net().flights, context, name, handshake_s)

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        raise RefusedError(f"looking up {host!r}")

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int | None = None,
        *,
        ssl: tls.SSLContext | None = None,
        local_addr: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        sock: None = None,
        **_: Any,
    ) -> tuple[asyncio.Transport, Any]:
        if host is None or port is None or sock is not None:
            raise RefusedError("a socket made elsewhere")
        secure = self._secure(ssl, server_hostname or host, ssl_handshake_timeout)
        outer = secure.client if secure is not None else None
        return await self._net().connect(
            protocol_factory, host, port, secure=outer, local=local_addr
        )

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int | None = None,
        *,
        ssl: tls.SSLContext | None = None,
        ssl_handshake_timeout: float | None = None,
        sock: None = None,
        **_: Any,
    ) -> Any:
        if sock is not None:
            raise RefusedError("a socket made elsewhere")
        if host is not None and not isinstance(host, str):
            raise RefusedError("a server on several addresses")
        secure = self._secure(ssl, None, ssl_handshake_timeout)
        outer = secure.server if secure is not None else None
        return self._net().listen(protocol_factory, host, port or 0, outer)

    async def create_unix_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        path: str | None = None,
        *,
        ssl: tls.SSLContext | None = None,
        **_: Any,
    ) -> tuple[asyncio.Transport, Any]:
        if path is None:
            raise RefusedError("a socket made elsewhere")
        if ssl is not None:
            raise RefusedError("TLS on a Unix socket")
        return await self._net().connect_unix(protocol_factory, path)

    async def create_unix_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        path: str | None = None,
        *,
        ssl: tls.SSLContext | None = None,
        **_: Any,
    ) -> Any:
        if path is None:
            raise RefusedError("a socket made elsewhere")
        if ssl is not None:
            raise RefusedError("TLS on a Unix socket")
        return self._net().listen_unix(protocol_factory, path)

    async def create_datagram_endpoint(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        local_addr: tuple[str, int] | None = None,
        remote_addr: tuple[str, int] | None = None,
        *,
        sock: None = None,
        **_: Any,
    ) -> tuple[asyncio.DatagramTransport, Any]:
        if sock is not None:
            raise RefusedError("a socket made elsewhere")
        return self._net().datagrams(protocol_factory, local_addr, remote_addr)

    async def start_tls(
        self,
        transport: Any,
        protocol: asyncio.BaseProtocol,
        sslcontext: tls.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport:
        waiter: asyncio.Future[None] = heard(self.create_future())
        secure = self._secure(sslcontext, server_hostname, ssl_handshake_timeout)
        assert secure is not None
        make = secure.server if server_side else secure.client
        outer = make(protocol, waiter, made=False)
        transport.set_protocol(outer)
        outer.connection_made(transport)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return app_transport(outer)

    # What would leave the loop

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> NoReturn:
        raise RefusedError(f"a thread (for {getattr(func, '__qualname__', func)})")

    def add_signal_handler(
        self, sig: int, callback: Callable[[Unpack[Ts]], Any], *args: *Ts
    ) -> None:
        raise RefusedError("a signal handler")

    def add_reader(self, fd: Any, callback: Callable[[Unpack[Ts]], Any], *args: *Ts) -> None:
        raise RefusedError("a file descriptor")

    def add_writer(self, fd: Any, callback: Callable[[Unpack[Ts]], Any], *args: *Ts) -> None:
        raise RefusedError("a file descriptor")

    def remove_reader(self, fd: Any) -> NoReturn:
        raise RefusedError("a file descriptor")

    remove_writer = remove_reader

    async def _refuse_socket(self, *_: Any, **__: Any) -> NoReturn:
        raise RefusedError("a socket made elsewhere")

    sock_recv = sock_recv_into = sock_recvfrom = sock_recvfrom_into = _refuse_socket
    sock_sendall = sock_sendto = sock_sendfile = _refuse_socket
    sock_connect = sock_accept = connect_accepted_socket = _refuse_socket

    async def connect_read_pipe(self, protocol_factory: Any, pipe: Any) -> NoReturn:
        raise RefusedError("a pipe")

    connect_write_pipe = connect_read_pipe

    async def subprocess_exec(self, *_: Any, **__: Any) -> NoReturn:
        raise RefusedError("another process")

    subprocess_shell = subprocess_exec


def _is_cancelled(what: Any) -> bool:
    return what.__class__ is _Timer and what._cancelled


def run(main: Coroutine[Any, Any, T], *, loop: VirtualLoop | None = None) -> T:
    """As asyncio.run, in virtual time."""
    with asyncio.Runner(loop_factory=(lambda: loop) if loop is not None else VirtualLoop) as runner:
        return runner.run(main)

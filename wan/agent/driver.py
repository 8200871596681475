"""The agent at work: one thread, one selector; feeds the core and carries out what it decides."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, assert_never

from wan.agent import linux
from wan.agent.attachment import Attachment, Link
from wan.agent.config import AgentConfig, Program
from wan.agent.core import AgentCore, AgentState, Announce, Effect, Exit, Record, Signal, Spawn
from wan.agent.guests import GuestError, Guests
from wan.agent.spawn import spawn

_LINE_LIMIT = 65536
_RECEIVE_BYTES = 65536
_MOST_DESCRIPTORS = 8
_SOCKET_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


class _Closable(Protocol):
    def close(self) -> None: ...


@dataclass(slots=True)
class _Asker:
    """A connection to agent.sock. A watcher gets a line whenever the node's state changes."""

    socket: socket.socket
    buffer: bytes = b""
    watching: bool = False
    descriptors: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Notices:
    """The datagram socket that one program finds in $NOTIFY_SOCKET."""

    program: str
    socket: socket.socket
    path: str


@dataclass(slots=True)
class AgentDriver:
    """Runs until its core says Exit. Owns `tun`, the agent's copy of the device's descriptor.

    `listening` is called once, when agent.sock can be connected to and before any program starts.
    """

    config: AgentConfig
    tun: int
    listening: Callable[[], None] = lambda: None
    _core: AgentCore = field(init=False)
    _attachment: Attachment = field(init=False)
    _selector: selectors.BaseSelector = field(init=False)
    _notices: dict[str, _Notices] = field(default_factory=dict)
    _askers: dict[int, _Asker] = field(default_factory=dict)
    _guests: Guests = field(init=False)
    _owned: list[_Closable] = field(default_factory=list)
    _events: int | None = None
    _published: AgentState | None = None
    _code: int | None = None

    def __post_init__(self) -> None:
        self._core = AgentCore(self.config)
        self._guests = Guests(self.config.node, self._release)
        self._attachment = Attachment(self.config.wan, self.config.node, self.tun)

    def run(self) -> int:
        self._selector = selectors.DefaultSelector()
        self._open()
        self.listening()
        self._carry_out(self._core.start())
        while self._code is None:
            self._connect_when_due()
            self._publish()
            for key, _ in self._selector.select(self._patience()):
                key.data(key.fileobj)
                if self._code is not None:
                    break
            self._carry_out(self._core.handle_timer(time.monotonic()))
        self._release()
        for notices in self._notices.values():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(notices.path)
        return self._code

    # Setting up and tearing down

    def _open(self) -> None:
        # Orphans of programs come to the agent, which reaps them; they end with it as well.
        linux.adopt_orphans()
        if self.config.events is not None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._events = os.open(self.config.events, flags, 0o644)
        reading, writing = socket.socketpair()
        for end in (reading, writing):
            end.setblocking(False)
            self._owned.append(end)
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._selector.register(reading, selectors.EVENT_READ, self._on_signals)
        if self.config.directory is None:
            return
        directory = Path(self.config.directory)
        for program in self.config.programs:
            if program.reports_ready:
                path = str(directory / f"{program.name}.notify")
                notices = _Notices(program.name, _bound(path, socket.SOCK_DGRAM), path)
                self._notices[program.name] = notices
                self._owned.append(notices.socket)
                self._selector.register(
                    notices.socket,
                    selectors.EVENT_READ,
                    lambda _, notices=notices: self._on_notice(notices),
                )
        listener = _bound(str(directory / "agent.sock"), socket.SOCK_STREAM)
        listener.listen(16)
        self._owned.append(listener)
        self._selector.register(listener, selectors.EVENT_READ, self._on_asker)

    def _release(self) -> None:
        """Close all the agent holds; also called in every child, where none of it may stay open."""
        self._selector.close()
        self._attachment.close()
        for one in self._owned:
            one.close()
        for asker in self._askers.values():
            asker.socket.close()
        for fd in (self._events, self.tun):
            if fd is not None:
                os.close(fd)

    # What arrives

    def _on_signals(self, source: socket.socket) -> None:
        numbers = source.recv(256)
        if signal.SIGCHLD in numbers:
            self._reap()
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self._carry_out(self._core.leave(time.monotonic()))

    def _reap(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            # What the program left in its group goes with it; before reaping, for then the number may be reused.
            if ended.si_pid != os.getpgrp():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(ended.si_pid, signal.SIGKILL)
            _, status = os.waitpid(ended.si_pid, 0)
            code = os.waitstatus_to_exitcode(status)
            how = f"exit {code}" if code >= 0 else signal.Signals(-code).name
            if (host := self._guests.ended(ended.si_pid)) is not None:
                if (asker := self._askers.get(host)) is not None:
                    self._say(asker, {"ended": how, "code": code if code >= 0 else 128 - code})
                continue
            self._carry_out(self._core.exited(ended.si_pid, how, code if code >= 0 else 128 - code))

    def _on_notice(self, notices: _Notices) -> None:
        with contextlib.suppress(BlockingIOError):
            message = notices.socket.recv(_RECEIVE_BYTES).decode(errors="replace")
            self._carry_out(self._core.notified(notices.program, message))

    def _on_wan(self, _source: object) -> None:
        fd = self._attachment.fileno()
        before = self._attachment.link
        after = self._attachment.receive(time.monotonic())
        if after is Link.DOWN:
            self._selector.unregister(fd)
            self._carry_out(self._core.wan_lost())
        elif before is Link.ASKED and after is Link.UP:
            self._carry_out(self._core.wan_attached())

    def _on_asker(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        asker = _Asker(connection)
        self._askers[connection.fileno()] = asker
        self._selector.register(connection, selectors.EVENT_READ, lambda _: self._on_line(asker))

    def _on_line(self, asker: _Asker) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(
                asker.socket, _RECEIVE_BYTES, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        asker.descriptors += descriptors
        *lines, asker.buffer = (asker.buffer + data).split(b"\n")
        if not data or len(asker.buffer) > _LINE_LIMIT:
            self._forget(asker)
            return
        for line in lines:
            try:
                message = json.loads(line)
                if not isinstance(message, dict):
                    raise TypeError("one JSON object a line is expected")
            except (ValueError, TypeError) as error:
                self._say(asker, {"ok": False, "error": str(error)})
                continue
            if message.get("op") == "watch":
                asker.watching = True
                self._say(asker, {"ok": True, **self._core.snapshot().as_json()})
                continue
            if message.get("op") == "socket":
                self._give_socket(asker, message)
                continue
            if message.get("op") in ("exec", "signal"):
                self._say(asker, self._guest(asker, message))
                continue
            answer, effects = self._core.request(message, time.monotonic())
            self._carry_out(effects)
            self._say(asker, answer)

    def _guest(self, asker: _Asker, message: dict[str, Any]) -> dict[str, Any]:
        """`exec` runs a program for this asker alone; it ends with the asker's connection."""
        host = asker.socket.fileno()
        try:
            if message["op"] == "signal":
                self._guests.signal(host, message.get("number"))
                return {"ok": True}
            streams, asker.descriptors = asker.descriptors, []
            return {"ok": True, "pid": self._guests.start(host, message, streams)}
        except GuestError as error:
            return {"ok": False, "error": str(error)}

    # What is done about it

    def _carry_out(self, effects: list[Effect]) -> None:
        queue = list(effects)
        while queue:
            effect = queue.pop(0)
            match effect:
                case Spawn(program):
                    queue += self._spawn(program)
                case Signal(pid, number, group):
                    with contextlib.suppress(ProcessLookupError):
                        (os.killpg if group else os.kill)(pid, number)
                case Announce(up):
                    self._attachment.announce(up)
                case Record(event, fields):
                    self._record(event, fields)
                case Exit(code):
                    self._code = code
                case _:
                    assert_never(effect)

    def _spawn(self, program: Program) -> list[Effect]:
        environment = {"POPNET_NODE": self.config.node}
        if self.config.events is not None:
            environment["POPNET_EVENTS"] = self.config.events
        if (notices := self._notices.get(program.name)) is not None:
            environment["NOTIFY_SOCKET"] = notices.path
        pid = spawn(program, environment, self._release)
        return self._core.spawned(program.name, pid)

    def _record(self, event: str, fields: dict[str, Any]) -> None:
        if self._events is not None:
            entry = {"t": time.time(), "node": self.config.node, "event": event, **fields}
            os.write(self._events, json.dumps(entry).encode() + b"\n")

    def _connect_when_due(self) -> None:
        now = time.monotonic()
        due = self._attachment.retry_at
        if due is not None and due <= now and self._attachment.connect(now):
            self._selector.register(self._attachment, selectors.EVENT_READ, self._on_wan)

    def _patience(self) -> float | None:
        moments = [self._attachment.retry_at, self._core.next_timer()]
        soonest = min((moment for moment in moments if moment is not None), default=None)
        return None if soonest is None else max(0.0, soonest - time.monotonic())

    def _publish(self) -> None:
        state = self._core.snapshot()
        if state == self._published:
            return
        self._published = state
        for asker in [one for one in self._askers.values() if one.watching]:
            self._say(asker, {"ok": True, **state.as_json()})

    def _say(self, asker: _Asker, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        try:
            sent = asker.socket.send(line)
        except OSError:
            sent = 0
        # Who does not read its answers is let go: an agent waits for nobody.
        if sent < len(line):
            self._forget(asker)

    def _give_socket(self, asker: _Asker, message: dict[str, Any]) -> None:
        """A fresh socket of this node's network, for somebody outside to use: it stays of this network wherever
        it is taken. Nothing here waits for what becomes of it."""
        kind = message.get("type")
        if kind not in _SOCKET_KINDS:
            known = ", ".join(_SOCKET_KINDS)
            self._say(asker, {"ok": False, "error": f"type {kind!r} is none of {known}"})
            return
        family = socket.AF_INET6 if message.get("family") == 6 else socket.AF_INET
        try:
            with socket.socket(family, _SOCKET_KINDS[str(kind)]) as given:
                socket.send_fds(asker.socket, [b'{"ok": true}\n'], [given.fileno()])
        except OSError as error:
            self._say(asker, {"ok": False, "error": f"no socket: {error.strerror}"})

    def _forget(self, asker: _Asker) -> None:
        if self._askers.pop(asker.socket.fileno(), None) is not None:
            self._guests.abandoned(asker.socket.fileno())
            for fd in asker.descriptors:
                os.close(fd)
            self._selector.unregister(asker.socket)
            asker.socket.close()


def _bound(path: str, kind: socket.SocketKind) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    bound = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)
    bound.bind(path)
    return bound


def run(config: AgentConfig, tun: int) -> int:
    """Be the agent of this node until told to leave; the exit code."""
    return AgentDriver(config, tun).run()

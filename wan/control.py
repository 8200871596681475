"""The control socket: one JSON object a line, answers in order, descriptors by SCM_RIGHTS.

Served from the loop that carries the packets, so nothing here ever waits: what a client does not read is
kept up to a bound, then the client is cut (or, for a capture, packets are left out and counted).
What the operations do is in `wan.operations`; a connection only has lines, and what is to happen at its end.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections import deque
from collections.abc import Callable

import msgspec

from wan.carrier import Carrier

_RECEIVE_BYTES = 65536
_LONGEST_LINE = 1 << 20
_MOST_UNREAD = 1 << 20
_MOST_DESCRIPTORS = 4

_READ, _WRITE = select.EPOLLIN, select.EPOLLIN | select.EPOLLOUT

# Takes the connection and a request; returns the answer, or None when it has sent it itself.
Handler = Callable[["Connection", dict[str, object]], "dict[str, object] | None"]


class Connection:
    """A client. `at_end` is called once, when it is gone; `quiet` sends nothing but `send`'s bytes any more."""

    def __init__(self, sock: socket.socket, carrier: Carrier, handle: Handler) -> None:
        self._socket = sock
        self._carrier = carrier
        self._handle = handle
        self._inbox = b""
        self._outbox: deque[bytes] = deque()
        self._unread = 0
        self._descriptors: list[int] = []
        self.at_end: list[Callable[[], None]] = []
        self.streaming = self._writing = False
        self.node: str | None = None
        self.left_out = 0
        self.open = True
        sock.setblocking(False)
        carrier.watch(sock.fileno(), _READ, self._ready)

    def take_descriptor(self) -> int | None:
        """The oldest descriptor that the client sent and nobody took; the caller owns it."""
        return self._descriptors.pop(0) if self._descriptors else None

    def send(self, data: bytes, *, or_leave_out: bool = False) -> None:
        """Send now or when the client reads. Too much unread: cut it, or leave `data` out and count that."""
        if not self.open:
            return
        if self._unread + len(data) > _MOST_UNREAD and self._outbox:
            if or_leave_out:
                self.left_out += 1
            else:
                self.close()
            return
        self._outbox.append(data)
        self._unread += len(data)
        if len(self._outbox) == 1:
            self._flush()

    def answer(self, reply: dict[str, object]) -> None:
        self.send(msgspec.json.encode(reply) + b"\n")

    def close(self) -> None:
        if not self.open:
            return
        self.open = False
        self._carrier.unwatch(self._socket.fileno())
        self._socket.close()
        for fd in self._descriptors:
            os.close(fd)
        self._descriptors.clear()
        self._outbox.clear()
        for callback in self.at_end:
            callback()

    def _flush(self) -> None:
        try:
            while self._outbox:
                sent = self._socket.send(self._outbox[0])
                self._unread -= sent
                if sent == len(self._outbox[0]):
                    self._outbox.popleft()
                else:
                    self._outbox[0] = self._outbox[0][sent:]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if self._writing != bool(self._outbox):
            self._writing = not self._writing
            events = _WRITE if self._writing else _READ
            self._carrier.watch(self._socket.fileno(), events, self._ready)

    def _ready(self, event: int) -> None:
        if event & select.EPOLLOUT:
            self._flush()
        if self.open and event & ~select.EPOLLOUT:
            self._receive()

    def _receive(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(
                self._socket, _RECEIVE_BYTES, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._descriptors += descriptors
        if not data:
            self.close()
            return
        *lines, self._inbox = (self._inbox + data).split(b"\n")
        if len(self._inbox) > _LONGEST_LINE:
            self.close()
            return
        for line in lines:
            if line.strip() and self.open:
                self._request(line)
        # Descriptors travel with a request that wants them. What nobody wanted would pin a namespace.
        while not self._inbox and (unwanted := self.take_descriptor()) is not None:
            os.close(unwanted)

    def _request(self, line: bytes) -> None:
        if self.streaming:
            return
        try:
            request = msgspec.json.decode(line)
            if not isinstance(request, dict):
                raise msgspec.DecodeError("not an object")
        except msgspec.DecodeError as error:
            self.answer({"ok": False, "error": f"not a JSON object on one line: {error}"})
            return
        reply = self._handle(self, request)
        if reply is not None:
            self.answer(reply)


class Control:
    """The listening socket at `path`."""

    def __init__(self, path: str, carrier: Carrier, handle: Handler) -> None:
        self._path = path
        self._carrier = carrier
        self._handle = handle
        self._connections: set[Connection] = set()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        _remove_stale(path)
        try:
            self._socket.bind(path)
        except OSError:
            self._socket.close()
            raise
        self._inode = os.stat(path).st_ino
        self._socket.listen(1024)
        carrier.watch(self._socket.fileno(), _READ, self._accept)

    def serve(self, sock: socket.socket) -> Connection:
        """Take a connection that came about in some other way."""
        connection = Connection(sock, self._carrier, self._handle)
        self._connections.add(connection)
        connection.at_end.append(lambda: self._connections.discard(connection))
        return connection

    def close(self) -> None:
        self._carrier.unwatch(self._socket.fileno())
        self._socket.close()
        for connection in tuple(self._connections):
            connection.close()
        with contextlib.suppress(OSError):
            if os.stat(self._path).st_ino == self._inode:
                os.unlink(self._path)

    def _accept(self, _event: int) -> None:
        try:
            sock, _ = self._socket.accept()
        except OSError:
            return  # gone again, or no descriptor left: whoever it was will see the end and may retry
        self.serve(sock)


def _remove_stale(path: str) -> None:
    """A socket that nobody listens on was left by a predecessor that had no time to remove it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            pass

"""The agent's connection to the wan process: hands over the TUN device, then says what the node announces.

One Unix stream socket, one JSON object a line, answers in order. The end of the connection is how either
side learns that the other is gone; the agent then tries again, soon at first and then every half second.
"""

from __future__ import annotations

import json
import socket
from enum import Enum

_FIRST_RETRY_S = 0.05
_LAST_RETRY_S = 0.5
_RECEIVE_BYTES = 65536


class Link(Enum):
    DOWN = "down"
    ASKED = "asked"
    UP = "up"


class AttachmentError(Exception):
    """The wan process answered, but does not want this node; trying again will not help."""


class Attachment:
    """Non-blocking; the driver watches `fileno()` for reading and calls `receive`."""

    def __init__(self, path: str, node: str, tun: int) -> None:
        self._path = path
        self._node = node
        self._tun = tun
        self._socket: socket.socket | None = None
        self._buffer = b""
        self._retry_s = _FIRST_RETRY_S
        self.link = Link.DOWN
        self.retry_at: float | None = 0.0

    def fileno(self) -> int:
        assert self._socket is not None
        return self._socket.fileno()

    def connect(self, now: float) -> bool:
        """Try once; on success `fileno()` is to be watched, else `retry_at` says when to try again."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        attach = json.dumps({"op": "attach", "node": self._node}).encode() + b"\n"
        try:
            connection.connect(self._path)
            socket.send_fds(connection, [attach], [self._tun])
        except OSError:
            connection.close()
            self._again(now)
            return False
        self._socket, self._buffer, self.link, self.retry_at = connection, b"", Link.ASKED, None
        return True

    def announce(self, up: bool) -> None:
        """What cannot be said is not an error: the end of the connection is noticed by `receive`."""
        assert self._socket is not None
        line = json.dumps({"op": "announce", "up": up}).encode() + b"\n"
        try:
            self._socket.send(line)
        except OSError:
            self._socket.shutdown(socket.SHUT_RDWR)

    def receive(self, now: float) -> Link:
        """The state after reading what is there."""
        assert self._socket is not None
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return self.link
        except OSError:
            data = b""
        if not data:
            self.close()
            self._again(now)
            return self.link
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            if not answer.get("ok"):
                raise AttachmentError(f"the WAN refuses {self._node}: {answer.get('error')}")
            self.link = Link.UP
            self._retry_s = _FIRST_RETRY_S
        return self.link

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.link = Link.DOWN

    def _again(self, now: float) -> None:
        self.retry_at = now + self._retry_s
        self._retry_s = min(2 * self._retry_s, _LAST_RETRY_S)

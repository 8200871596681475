"""One JSON object a line over a Unix stream socket: how the lab, the wan process and the agents talk.

A blocking client for the command line, an asyncio one for the supervisor. Answers come in the order of the
questions: {"ok": true, ...} or {"ok": false, "error": "..."}.
"""

from __future__ import annotations

import asyncio
import json
import select
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

Message = dict[str, Any]

# `links` of a world with 300 nodes is one line of some megabytes.
LINE_LIMIT = 64 * 1024 * 1024
_RECEIVE_BYTES = 1 << 18


class RefusedError(Exception):
    """The other side answered `ok: false`; the text is its reason."""


class UnreachableError(Exception):
    """Nobody answers at this socket."""


def _checked(line: bytes, path: Path) -> Message:
    if not line.endswith(b"\n"):
        raise UnreachableError(f"{path}: the connection ended without an answer")
    answer: Message = json.loads(line)
    if answer.get("ok") is False:
        raise RefusedError(str(answer.get("error", "no reason given")))
    return answer


class Connection:
    """Blocking; `poll` and `read` are for what follows a `subscribe` or a `capture`."""

    def __init__(self, path: Path, timeout: float | None = 10.0) -> None:
        self._path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(str(path))
        except OSError as error:
            self.socket.close()
            raise UnreachableError(f"{path}: {error.strerror or error}") from error
        self._buffer = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def fileno(self) -> int:
        return self.socket.fileno()

    def ask(self, message: Mapping[str, Any]) -> Message:
        try:
            self.socket.sendall(json.dumps(message).encode() + b"\n")
            return _checked(self._line(), self._path)
        except TimeoutError as error:
            raise UnreachableError(f"{self._path}: no answer in time") from error
        except OSError as error:
            raise UnreachableError(f"{self._path}: {error.strerror or error}") from error

    def poll(self, wait_s: float) -> Message | None:
        """The next line after a `subscribe`, if one comes within `wait_s`."""
        if b"\n" not in self._buffer and not select.select([self.socket], [], [], wait_s)[0]:
            return None
        line = self._line()
        if not line.endswith(b"\n"):
            raise UnreachableError(f"{self._path}: the connection ended")
        message: Message = json.loads(line)
        return message

    def read(self) -> bytes:
        """Bytes after an answer that a stream follows; b"" at its end. Waits without limit."""
        if self._buffer:
            data, self._buffer = self._buffer, b""
            return data
        self.socket.settimeout(None)
        return self.socket.recv(_RECEIVE_BYTES)

    def _line(self) -> bytes:
        """With its end of line; without it the connection has ended."""
        while b"\n" not in self._buffer:
            data = self.socket.recv(_RECEIVE_BYTES)
            if not data or len(self._buffer) > LINE_LIMIT:
                return b""
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line + b"\n"


def ask(path: Path, message: Mapping[str, Any], timeout: float | None = 10.0) -> Message:
    """One question, one answer."""
    with Connection(path, timeout) as connection:
        return connection.ask(message)


async def connect(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        return await asyncio.open_unix_connection(str(path), limit=LINE_LIMIT)
    except OSError as error:
        raise UnreachableError(f"{path}: {error.strerror or error}") from error


async def ask_on(
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    message: Mapping[str, Any],
    path: Path,
) -> Message:
    reader, writer = streams
    try:
        writer.write(json.dumps(message).encode() + b"\n")
        await writer.drain()
        return _checked(await reader.readline(), path)
    except OSError as error:
        raise UnreachableError(f"{path}: {error.strerror or error}") from error


async def ask_async(path: Path, message: Mapping[str, Any], within_s: float = 10.0) -> Message:
    try:
        async with asyncio.timeout(within_s):
            streams = await connect(path)
            try:
                return await ask_on(streams, message, path)
            finally:
                streams[1].close()
    except TimeoutError as error:
        raise UnreachableError(f"{path}: no answer in {within_s:g} s") from error

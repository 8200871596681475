"""HTTP to the admin sockets of processes: a blocking client and an asyncio one, standard library only."""

from __future__ import annotations

import asyncio
import http.client
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lab.jsonlines import UnreachableError


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def request(
    path: Path, method: str, target: str, body: bytes | None = None, timeout: float = 10.0
) -> Answer:
    connection = _UnixConnection(path, timeout)
    try:
        connection.request(method, target, body)
        response = connection.getresponse()
        return Answer(response.status, response.read())
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(f"{path}: {error}") from error
    finally:
        connection.close()


async def request_async(
    path: Path, method: str, target: str, body: bytes = b"", within_s: float = 5.0
) -> Answer:
    """Reads the answer by Content-Length or to the end of the connection, as the admin servers give it."""
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_unix_connection(str(path))
            try:
                head = (
                    f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                    f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                writer.write(head.encode() + body)
                answer_head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = answer_head.decode("latin-1").split("\r\n")
                fields = {
                    name.lower(): value.strip()
                    for name, _, value in (x.partition(":") for x in lines)
                }
                length = fields.get("content-length")
                content = await (reader.readexactly(int(length)) if length else reader.read())
                return Answer(int(first.split()[1]), content)
            finally:
                writer.close()
    except (OSError, TimeoutError, EOFError, ValueError) as error:
        raise UnreachableError(f"{path}: {error}") from error

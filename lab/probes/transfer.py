"""Bytes over plain TCP, and how long they took: from the SYN to the end of the stream.

The same two coroutines run in virtual time. As a program: reads {"serve": port, "size", "congestion"} or
{"fetch": [address, port], "count", "at_once"} from the first line of stdin. A server answers "ready" and serves until
stdin ends; a client prints a list of seconds (null: it failed).
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Callable
from typing import Any

_CHUNK = 64 * 1024


class _Serving(asyncio.Protocol):
    def __init__(self, size: int, congestion: str | None) -> None:
        self._size = size
        self._congestion = congestion

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self._congestion is not None:
            # Of the connection, not of the listener: what a route says (`internet: congestion`) wins over that one.
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_TCP, socket.TCP_CONGESTION, self._congestion.encode())
        transport.write(bytes(self._size))
        transport.close()


class _Fetching(asyncio.Protocol):
    def __init__(self, ended: asyncio.Future[int]) -> None:
        self._ended = ended
        self._size = 0

    def data_received(self, data: bytes) -> None:
        self._size += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_result(self._size if exc is None else -1)


async def serve(port: int, size: int, congestion: str | None = None) -> asyncio.Server:
    """Write `size` bytes to whoever comes."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: _Serving(size, congestion), "0.0.0.0", port)


async def fetch(
    address: str, port: int, count: int, at_once: int, clock: Callable[[], float]
) -> list[float | None]:
    """`count` transfers, `at_once` of them at a time; None for one that broke."""
    loop = asyncio.get_running_loop()
    took: list[float | None] = []
    left = count

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            begun = clock()
            ended: asyncio.Future[int] = loop.create_future()
            try:
                await loop.create_connection(lambda e=ended: _Fetching(e), address, port)  # type: ignore[misc]
                size = await ended
            except OSError:
                size = -1
            took.append(clock() - begun if size > 0 else None)

    async with asyncio.TaskGroup() as tasks:
        for number in range(at_once):
            tasks.create_task(worker(), name=f"fetch {number}")
    return took


async def main(task: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    if "fetch" in task:
        # What is looked at is TCP, not the first time that this loop does anything.
        await asyncio.sleep(0)
        address, port = task["fetch"]
        took = await fetch(address, port, task["count"], task["at_once"], loop.time)
        sys.stdout.write(json.dumps(took))
        return
    server = await serve(task["serve"], task["size"], task["congestion"])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), over.set)
    await over.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.readline())))

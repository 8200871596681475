"""The proxy between a client and a service, on loopback: an agent stands by that gives sockets of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lab.gateway.handshake import Why
from lab.gateway.proxy import Proxy
from lab.gateway.visitors import DialError, VisitorNetwork

MB = 1 << 20


class Agent:
    """agent.sock of a node: gives sockets as the real one does, or what `answer` says."""

    def __init__(self, path: Path) -> None:
        self.answer: bytes | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._asking: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                asking, _ = self._listener.accept()
                self._asking.append(asking)
                threading.Thread(target=self._give, args=(asking,), daemon=True).start()

    def _give(self, asking: socket.socket) -> None:
        kinds = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
        with contextlib.suppress(OSError), asking.makefile("rb") as lines:
            for line in lines:
                if self.answer is not None:
                    asking.sendall(self.answer)
                    continue
                with socket.socket(socket.AF_INET, kinds[json.loads(line)["type"]]) as given:
                    socket.send_fds(asking, [b'{"ok": true}\n'], [given.fileno()])

    def end(self) -> None:
        with contextlib.suppress(OSError):
            # Closing alone would leave the thread in `accept`, and the door open.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for asking in self._asking:
            with contextlib.suppress(OSError):
                asking.shutdown(socket.SHUT_RDWR)
            asking.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path / "agent.sock")
    yield made
    made.end()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 nothing here calls us when it happens
            await asyncio.sleep(0.001)


async def ended(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@asynccontextmanager
async def service(handler: Handler) -> AsyncIterator[int]:
    open_now: set[asyncio.Task[None]] = set()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        try:
            await handler(reader, writer)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.CancelledError):
            await ended(writer)
        finally:
            open_now.discard(task)

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for task in list(open_now):
        task.cancel()
    await until(lambda: not open_now)


@asynccontextmanager
async def proxy(tmp_path: Path) -> AsyncIterator[tuple[Proxy, int]]:
    network = VisitorNetwork("tokyo", tmp_path / "agent.sock", lambda city: made.visitor_gone(city))
    made = Proxy({"tokyo": network}, "tokyo")
    server = await asyncio.get_running_loop().create_server(made.accept, "127.0.0.1", 0)
    yield made, server.sockets[0].getsockname()[1]
    made.close()
    server.close()
    await until(lambda: not made.clients)


@asynccontextmanager
async def client(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        await ended(writer)


@asynccontextmanager
async def through(
    port: int, target: int
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with client(port) as (reader, writer):
        writer.write(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % target)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        yield reader, writer


async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read to the end and say how much it was."""
    size = 0
    while data := await reader.read(65536):
        size += len(data)
    writer.write(b"%d" % size)


def test_half_close_is_passed_on(agent: Agent, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with service(sink) as target, proxy(tmp_path) as (made, port):
            async with through(port, target) as (reader, writer):
                writer.write(b"x" * 5 * MB)
                writer.write_eof()
                assert await reader.read() == b"%d" % (5 * MB)
            await until(lambda: not made.clients)
            assert made.totals() == {"tokyo": (1, 0, 5 * MB, 7)}

    asyncio.run(scenario())


def test_a_stalled_client_stalls_its_service(agent: Agent, tmp_path: Path) -> None:
    """The proxy keeps a bounded part of what its client does not read."""

    async def scenario() -> None:
        given = 0

        async def source(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal given
            while True:
                writer.write(bytes(65536))
                await writer.drain()
                given += 65536

        async with service(source) as target, proxy(tmp_path) as (made, port):  # noqa: SIM117
            async with through(port, target) as (reader, _):
                # The kernel's buffers fill, then the proxy stops reading.
                (one,) = made.clients
                assert one.other is not None
                inside = one.other.transport
                assert inside is not None
                await until(lambda: not inside.is_reading())
                assert one.other.carried < 64 * MB
                # And when the client reads on, it goes on.
                await reader.readexactly(one.other.carried + MB)

    asyncio.run(scenario())


def test_the_end_of_the_node_ends_what_went_through_it(agent: Agent, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with service(sink) as target, proxy(tmp_path) as (made, port):
            async with through(port, target) as (reader, _):
                agent.end()
                with pytest.raises(ConnectionResetError):
                    await reader.read()
            await until(lambda: not made.clients)
            async with client(port) as (reader, writer):
                writer.write(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % target)
                answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 503 tokyo is not running")

    asyncio.run(scenario())


def test_a_client_that_gives_up_leaves_nothing(agent: Agent, tmp_path: Path) -> None:
    agent.answer = b""  # it will never get its socket

    def dialling() -> list[asyncio.Task[object]]:
        return [task for task in asyncio.all_tasks() if task.get_name().startswith("dial")]

    async def scenario() -> None:
        async with proxy(tmp_path) as (made, port), client(port) as (_, writer):
            writer.write(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n")
            await until(lambda: len(dialling()) == 1)
            made.close()
            await until(lambda: not made.clients and not dialling())

    asyncio.run(scenario())


def test_nobody_listens(agent: Agent, tmp_path: Path) -> None:
    async def scenario() -> None:
        network = VisitorNetwork("tokyo", tmp_path / "agent.sock", lambda _: None)
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            with pytest.raises(DialError, match="refuses connections") as caught:
                await network.connect("127.0.0.1", bound.getsockname()[1])
        assert caught.value.why is Why.REFUSED
        network.close()

    asyncio.run(scenario())


def test_an_agent_that_refuses(agent: Agent, tmp_path: Path) -> None:
    agent.answer = b'{"ok": false, "error": "no socket: too many"}\n'

    async def scenario() -> None:
        network = VisitorNetwork("tokyo", tmp_path / "agent.sock", lambda _: None)
        with pytest.raises(DialError, match="tokyo: no socket: too many"):
            await network.connect("127.0.0.1", 1)
        network.close()

    asyncio.run(scenario())


def test_clients_have_a_bound(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.gateway.proxy.MOST_CLIENTS", 1)

    async def scenario() -> None:
        async with service(sink) as target, proxy(tmp_path) as (made, port):  # noqa: SIM117
            async with through(port, target), client(port) as (reader, _):
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
                assert made.turned_away == 1

    asyncio.run(scenario())

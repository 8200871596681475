"""PoPs on loopback: real sockets and TLS, several PoPs, connectors and visitors in one event loop.

`edge` gives a world builder. Its connectors are played: they speak the tunnel protocol and let the
test say what the origin behind them answers, also what no decent origin would.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import json
import os
import random
import socket
import ssl
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from pops.config import PopConfig, parse
from pops.core.probing import Measurement, Prober
from pops.pop import make_prober
from pops.process import PopProcess
from routing.estimators import estimator
from runtime.http2 import Http2Connection, Http2Settings
from runtime.streams import HIGH_WATER, Headers, Stream
from wire.headers import RESPONSE_HEADERS, RESPONSE_META, UPGRADE, get, serialize_headers
from wire.tunnel_rpc import (
    CallFailed,
    ClientInfo,
    Refused,
    Registered,
    Registration,
    RegistrationClient,
    Unregistered,
)

HOST = "app.example.com"
TUNNEL = "11111111-2222-4333-8444-555555555555"
SECRET = b"0123456789abcdef0123456789abcdef"
# Far beyond what anything here takes: it ends what hangs, on a machine of any speed.
DEADLINE = 50.0


@dataclass(frozen=True)
class Pki:
    directory: Path

    def __truediv__(self, name: str) -> str:
        return str(self.directory / name)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


def make_pki(directory: Path) -> Pki:
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    names = {
        "visitor": [HOST, "www.example.com"],
        "tunnel": ["h2.cftunnel.com"],
        **{f"overlay-{pop}": [pop] for pop in ("A", "B", "C", "D")},
    }
    for name, hosts in names.items():
        certificate = authority.issue_cert(*hosts, key_type=trustme.KeyType.ECDSA)
        certificate.private_key_and_cert_chain_pem.write_to_path(str(directory / f"{name}.pem"))
    return Pki(directory)


# Every connector and every visitor has the same, and to read the certificates takes as long as a handshake.
@functools.cache
def trust(ca: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca)


@functools.cache
def visitors_trust(ca: str) -> ssl.SSLContext:
    """Whatever name it asks for."""
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    return context


def free_ports(count: int, address: str) -> list[int]:
    """So many different ones of an address that no other process uses: all are held until the last is found."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((address, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@dataclass
class Message:
    """One request or response as it was received, whole."""

    headers: Headers
    body: bytes = b""
    trailers: Headers = field(default_factory=list)
    reset: int | None = None
    informational: list[Headers] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(get(self.headers, b":status") or b"0")

    def get(self, name: str) -> str:
        value = get(self.headers, name.encode())
        return "" if value is None else value.decode()


class Exchange:
    """A stream's user that gathers what comes, and lets a test send step by step.

    With `eager` off, what comes is not credited, as by a reader that stalls.
    """

    def __init__(self, *, eager: bool = True) -> None:
        self.stream: Stream
        self.message = Message([])
        self.eager = eager
        self.size = 0
        self._body = bytearray()
        self._taken = 0
        self._head = asyncio.Event()
        self._done = asyncio.Event()
        self._room = asyncio.Event()
        self._data = asyncio.Event()

    def headers_received(self, headers: Headers, end: bool) -> None:
        status = get(headers, b":status")
        if status is not None and status[:1] == b"1" and status != b"101":
            self.message.informational.append(headers)
            return
        self.message.headers = headers
        self._head.set()
        if end:
            self._done.set()
            self._data.set()

    def data_received(self, data: bytes, end: bool) -> None:
        self._body += data
        self.size += len(data)
        if self.eager:
            self.stream.credit(len(data))
        if end:
            self._done.set()
        self._data.set()

    def trailers_received(self, headers: Headers) -> None:
        self.message.trailers = headers
        self._done.set()
        self._data.set()

    def drained(self) -> None:
        self._room.set()

    def lost(self, code: int) -> None:
        self.message.reset = code
        self._head.set()
        self._done.set()
        self._data.set()

    async def head(self) -> Message:
        await self._head.wait()
        return self.message

    async def whole(self) -> Message:
        await self._done.wait()
        self.message.body = bytes(self._body)
        return self.message

    @property
    def complete(self) -> bool:
        return self._done.is_set()

    async def received(self, size: int) -> bytes:
        """The body so far, once `size` bytes are there or no more will come."""
        while self.size < size and not self.complete:
            self._data.clear()
            await self._data.wait()
        return bytes(self._body)

    async def more(self) -> bytes:
        """What came since the last call; b"" when all has come."""
        while self._taken == self.size and not self.complete:
            self._data.clear()
            await self._data.wait()
        at, self._taken = self._taken, self.size
        return bytes(memoryview(self._body)[at:])

    async def send(self, data: bytes, *, end: bool = False) -> None:
        """With back-pressure, as a program that cares for its memory."""
        view = memoryview(data)
        for at in range(0, len(data), 65536):
            last = at + 65536 >= len(data)
            self._room.clear()
            self.stream.send_data(bytes(view[at : at + 65536]), end=end and last)
            if self.stream.backlog > HIGH_WATER and not (end and last):
                await self._room.wait()
        if end and not data:
            self.stream.send_data(b"", end=True)


Origin = Callable[[Exchange], Awaitable[None]]


def reply(
    status: int = 200,
    headers: Sequence[tuple[bytes, bytes]] = (),
    *,
    src: str = "origin",
    **meta: object,
) -> Headers:
    """A connector's response head."""
    return [
        (b":status", b"%d" % status),
        (RESPONSE_HEADERS, serialize_headers(headers)),
        (RESPONSE_META, json.dumps({"src": src, **meta}).encode()),
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
    ]


async def hello(request: Exchange) -> None:
    """An origin that tells what it was asked."""
    message = await request.whole()
    body = json.dumps(
        {
            "headers": [[n.decode(), v.decode("latin-1")] for n, v in message.headers],
            "size": len(message.body),
        }
    ).encode()
    request.stream.send_headers(
        reply(200, [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body))])
    )
    request.stream.send_data(body, end=True)


class Connector:
    """One connection of a played connector."""

    def __init__(
        self,
        origin: Origin,
        *,
        index: int = 0,
        client: uuid.UUID | None = None,
        secret: bytes = SECRET,
        account: str = "acc",
        replace: bool = False,
        registers: bool = True,
        tunnel: str = TUNNEL,
    ) -> None:
        self.origin = origin
        self.index = index
        self.client = client or uuid.uuid4()
        self.secret = secret
        self.tunnel = tunnel
        self.account = account
        self.replace = replace
        self.registers = registers
        self.events: list[object] = []
        self.closed = asyncio.Event()
        self.requests: list[Exchange] = []
        self._registered = asyncio.Event()
        self._rpc = RegistrationClient()
        self._control: Stream | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.http2 = Http2Connection(
            "server",
            settings=Http2Settings(max_concurrent_streams=250, reset_burst=100_000),
            on_request=self._requested,
            on_lost=lambda reason: self.closed.set(),
        )

    async def dial(self, address: str, port: int, ca: str) -> None:
        await asyncio.get_running_loop().create_connection(
            lambda: self.http2, address, port, ssl=trust(ca), server_hostname="h2.cftunnel.com"
        )

    async def registered(self) -> object:
        """What the edge answered."""
        await self._registered.wait()
        return self.events[0]

    def _requested(self, stream: Stream) -> Exchange:
        return _Sorter(self, stream)

    def sort(self, stream: Stream, headers: Headers, end: bool) -> None:
        if get(headers, UPGRADE) == b"control-stream":
            self._control = stream
            stream.user = self
            stream.send_headers([(b":status", b"200")])
            if self.registers:
                info = ClientInfo(self.client.bytes, ("serialized_headers",), "played", "test")
                self._rpc.register(
                    Registration(
                        self.account,
                        self.secret,
                        uuid.UUID(self.tunnel).bytes,
                        self.index,
                        info,
                        replace_existing=self.replace,
                    )
                )
                stream.send_data(self._rpc.data_to_send())
            return
        exchange = Exchange()
        exchange.stream = stream
        stream.user = exchange
        exchange.headers_received(headers, end)
        self.requests.append(exchange)
        task = asyncio.get_running_loop().create_task(self._serve(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, exchange: Exchange) -> None:
        await self.origin(exchange)

    def unregister(self) -> None:
        assert self._control is not None
        self._rpc.unregister()
        self._control.send_data(self._rpc.data_to_send())

    def end_control(self) -> None:
        assert self._control is not None
        self._control.send_data(b"", end=True)

    def headers_received(self, headers: Headers, end: bool) -> None: ...

    def data_received(self, data: bytes, end: bool) -> None:
        assert self._control is not None
        self._control.credit(len(data))
        for event in self._rpc.receive(data):
            if isinstance(event, Registered | Refused | CallFailed | Unregistered):
                self.events.append(event)
                self._registered.set()
        answer = self._rpc.data_to_send()
        if answer:
            self._control.send_data(answer)

    def trailers_received(self, headers: Headers) -> None: ...

    def drained(self) -> None: ...

    def lost(self, code: int) -> None: ...

    def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        self.http2.close()


class _Sorter(Exchange):
    def __init__(self, connector: Connector, stream: Stream) -> None:
        super().__init__()
        self._connector = connector
        self.stream = stream

    def headers_received(self, headers: Headers, end: bool) -> None:
        self._connector.sort(self.stream, headers, end)


class Visitor:
    """One HTTP/2 connection of a visitor."""

    def __init__(self) -> None:
        self.http2 = Http2Connection("client")

    def start(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        host: str = HOST,
        headers: Sequence[tuple[str, str]] = (),
        pseudo: Sequence[tuple[bytes, bytes]] = (),
        end: bool = True,
        eager: bool = True,
    ) -> Exchange:
        exchange = Exchange(eager=eager)
        exchange.stream = self.http2.open(exchange)
        exchange.stream.send_headers(
            [
                (b":method", method.encode()),
                (b":scheme", b"https"),
                (b":authority", host.encode()),
                (b":path", path.encode()),
                *pseudo,
                *((name.encode(), value.encode()) for name, value in headers),
            ],
            end=end,
        )
        return exchange

    async def fetch(self, path: str = "/", **options: Any) -> Message:
        return await self.start(path, **options).whole()


class ToldProber(Prober):
    """Probes as any other, and then believes what the test says of the RTT."""

    def __init__(self, config: PopConfig, told: dict[tuple[str, str], float]) -> None:
        honest = make_prober(config)
        super().__init__(honest.settings, estimator("last"), random.Random(1))
        self._me, self._told = config.name, told

    def measurement(self, neighbor: str) -> Measurement | None:
        found = super().measurement(neighbor)
        rtt_s = self._told.get((self._me, neighbor))
        return found if found is None or rtt_s is None else replace(found, rtt_s=rtt_s)


class Edge:
    """A world of PoPs, each on an address of its own in a loopback network of this process."""

    host, tunnel, secret = HOST, TUNNEL, SECRET
    reply = staticmethod(reply)

    def __init__(self, pki: Pki) -> None:
        self.pki = pki
        self.https, self.http, self.overlay, self.tunnels, self.dns = free_ports(
            5, self.address("A")
        )
        self.pops: dict[str, PopProcess] = {}
        self.told: dict[tuple[str, str], float] = {}
        self._stops: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing: list[Callable[[], None]] = []
        self.connectors: list[Connector] = []
        self.admin: str | None = None

    @staticmethod
    def address(name: str) -> str:
        """Every process has addresses of its own: two may run these tests side by side."""
        pid = os.getpid()
        return f"127.{1 + pid % 200}.{pid // 200 % 250}.{10 + ord(name) - ord('A')}"

    def config(
        self,
        name: str,
        names: Sequence[str],
        links: Sequence[tuple[str, str, float]],
        **changes: Any,
    ) -> PopConfig:
        here = self.address(name)
        for a, b, rtt_s in links:
            self.told[a, b] = self.told[b, a] = rtt_s
        mesh = {(a, b) for a, b, _ in links} | {(b, a) for a, b, _ in links}
        raw: dict[str, Any] = {
            "name": name,
            "address": here,
            "visitors": {
                "addresses": [here],
                "http": self.http,
                "https": self.https,
                "certificate": self.pki / "visitor.pem",
            },
            "dns": {"addresses": [here], "port": self.dns},
            "tunnels_listen": {
                "addresses": [here],
                "port": self.tunnels,
                "certificate": self.pki / "tunnel.pem",
            },
            "overlay": {
                "port": self.overlay,
                "certificate": self.pki / f"overlay-{name}.pem",
                "ca": self.pki / "ca.pem",
            },
            "pops": [{"name": n, "address": self.address(n)} for n in names],
            "neighbors": [n for n in names if (name, n) in mesh],
            "nodes": [{"name": n, "address": self.address(n)} for n in names],
            # On loopback nothing takes long, and a test waits for all of it. But a busy machine may stand still, and
            # that is no silence.
            "routing": {
                "hop_limit": 8,
                "flooding": {"min_interval": 0.01, "hold": 0.001, "recompute": 0.005},
                "probe": {"burst": 2, "burst_gap": 0.001, "dead_after": 5.0},
                **changes.pop("routing", {}),
            },
            "timeouts": {"first_try": 0.2, **changes.pop("timeouts", {})},
            "hosts": {HOST: {"tunnel": "app"}},
            "tunnels": [
                {
                    "name": "app",
                    "id": TUNNEL,
                    "account_tag": "acc",
                    "secret": base64.b64encode(SECRET).decode(),
                }
            ],
            **changes,
        }
        return parse(json.dumps(raw).encode())

    async def start(
        self,
        names: str = "A",
        links: Sequence[tuple[str, str, float]] = (),
        **changes: Any,
    ) -> None:
        """Start PoPs named by single letters. `links` are also the overlay's adjacencies."""
        for name in names:
            await self.start_one(self.config(name, names, links, **changes))
        await self.until(lambda: all(self._meshed(pop) for pop in self.pops.values()))
        await self.agreement()

    async def agreement(self) -> None:
        """Wait until all PoPs know the same, and nothing is on its way."""

        def same() -> bool:
            pops = list(self.pops.values())
            told = all(
                pop.lsdb.own is not None
                and {link.to for link in pop.lsdb.own.links} == set(pop.overlay.up())
                and pop.link_state.flooding.quiet
                and pop.ways.settled
                for pop in pops
            )
            return told and all(pop.lsdb.digest() == pops[0].lsdb.digest() for pop in pops)

        await self.until(same)

    @staticmethod
    def _meshed(pop: PopProcess) -> bool:
        return pop.ready and len(pop.overlay.up()) == len(pop.config.neighbors)

    async def start_one(self, config: PopConfig) -> PopProcess:
        pop = PopProcess(config, prober=ToldProber(config, self.told))
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.pops[config.name] = pop
        self._stops[config.name] = stop
        self._tasks[config.name] = loop.create_task(pop.run(stop), name=config.name)
        return pop

    async def kill(self, name: str) -> None:
        """As dead as an object in the same process can be: every socket closed without a word."""
        task = self._tasks.pop(name)
        pop = self.pops.pop(name)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        pop.abort()

    async def way(self, pops: str) -> None:
        """Wait until this is the best way that its first PoP knows to the tunnel."""

        def known() -> bool:
            routes = self.pops[pops[0]].routes(TUNNEL)
            return bool(routes) and routes[0].pops == tuple(pops)

        await self.until(known)

    def stop(self, name: str) -> asyncio.Task[None]:
        """Ask it to stop; the task ends when it has."""
        self._stops[name].set()
        return self._tasks[name]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Turn the loop until something is so."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, "it never came true"
            for task in self._tasks.values():
                if task.done():
                    task.result()
            await asyncio.sleep(0.001)

    async def connector(
        self, pop: str, origin: Origin = hello, *, wait: bool = True, **options: Any
    ) -> Connector:
        connector = Connector(origin, **options)
        self.connectors.append(connector)
        self._closing.append(connector.close)
        await connector.dial(self.address(pop), self.tunnels, self.pki / "ca.pem")
        if wait:
            answer = await connector.registered()
            assert isinstance(answer, Registered), answer
            # The other PoPs hear of it.
            tunnel = connector.tunnel
            await self.until(lambda: all(p.routes(tunnel) for p in self.pops.values()))
        return connector

    async def visitor(
        self, pop: str, sni: str = HOST, context: ssl.SSLContext | None = None
    ) -> Visitor:
        if context is None:
            context = visitors_trust(self.pki / "ca.pem")
        visitor = Visitor()
        await asyncio.get_running_loop().create_connection(
            lambda: visitor.http2, self.address(pop), self.https, ssl=context, server_hostname=sni
        )
        self._closing.append(visitor.http2.close)
        return visitor

    async def plain(self, pop: str, request: bytes) -> bytes:
        """Send bytes to the plain HTTP door and read until it closes."""
        reader, writer = await asyncio.open_connection(self.address(pop), self.http)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    async def close(self) -> None:
        for close in self._closing:
            close()
        for stop in self._stops.values():
            stop.set()
        for pop in self.pops.values():
            pop.hurry()
        await asyncio.gather(*self._tasks.values())


@pytest.fixture
def edge(pki: Pki) -> Callable[[Callable[[Edge], Coroutine[Any, Any, None]]], None]:
    """Runs a coroutine function with a fresh world, in a loop of its own, against a deadline."""

    def run(scenario: Callable[[Edge], Coroutine[Any, Any, None]]) -> None:
        async def bounded() -> None:
            world = Edge(pki)
            try:
                async with asyncio.timeout(DEADLINE):
                    await scenario(world)
            finally:
                async with asyncio.timeout(DEADLINE):
                    await world.close()

        asyncio.run(bounded())

    return run


@pytest.fixture
def exchange() -> type[Exchange]:
    return Exchange

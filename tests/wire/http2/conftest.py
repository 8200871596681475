"""Two engines face to face, no socket, no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from wire.http2.engine import Engine, Headers, Http2Error, Http2Settings, Role
from wire.http2.engines import EngineName, create

REQUEST: Headers = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"app.example.com"),
    (b":path", b"/"),
]
POST: Headers = [(b":method", b"POST"), *REQUEST[1:]]
OK: Headers = [(b":status", b"200")]


@dataclass
class Recorder:
    """A sink that writes down what it was told, and gives stream credit back at once unless told not to."""

    events: list[tuple[Any, ...]] = field(default_factory=list)
    bodies: dict[int, bytearray] = field(default_factory=dict)
    stingy: bool = False
    engine: Engine | None = None
    unacknowledged: dict[int, int] = field(default_factory=dict)
    on_request: Callable[[int, Headers, bool], None] | None = None

    def request_received(self, stream_id: int, headers: Headers, end: bool) -> None:
        self.events.append(("request", stream_id, headers, end))
        if self.on_request is not None:
            self.on_request(stream_id, headers, end)

    def response_received(self, stream_id: int, headers: Headers, end: bool) -> None:
        self.events.append(("response", stream_id, headers, end))

    def body_received(self, stream_id: int, data: bytes, end: bool) -> None:
        assert isinstance(data, bytes)
        self.bodies.setdefault(stream_id, bytearray()).extend(data)
        if end:
            self.events.append(("body ended", stream_id, len(self.bodies[stream_id])))
        if self.stingy:
            self.unacknowledged[stream_id] = self.unacknowledged.get(stream_id, 0) + len(data)
        elif self.engine is not None and data:
            self.engine.acknowledge(stream_id, len(data))

    def trailers_received(self, stream_id: int, headers: Headers) -> None:
        self.events.append(("trailers", stream_id, headers))

    def stream_closed(self, stream_id: int, code: int) -> None:
        self.events.append(("closed", stream_id, code))

    def window_opened(self, stream_id: int) -> None:
        pass

    def settings_received(self) -> None:
        self.events.append(("settings",))

    def ping_acknowledged(self, payload: bytes) -> None:
        self.events.append(("pong", payload))

    def goaway_received(self, last_stream_id: int, code: int, debug: bytes) -> None:
        self.events.append(("goaway", last_stream_id, code, debug))

    def connection_closed(self, code: int, debug: bytes) -> None:
        self.events.append(("over", code))

    def of(self, *kinds: str) -> list[tuple[Any, ...]]:
        return [event for event in self.events if event[0] in kinds]


class Pair:
    """A client and a server; `pump` carries bytes until both are silent."""

    def __init__(
        self,
        client: EngineName,
        server: EngineName,
        *,
        client_settings: Http2Settings | None = None,
        server_settings: Http2Settings | None = None,
        chunk: int = 65_536,
    ) -> None:
        self.chunk = chunk
        self.client_sink, self.server_sink = Recorder(), Recorder()
        self.client = create(
            client,
            Role.CLIENT,
            client_settings or Http2Settings(),
            self.client_sink,
            self.client_sink,
        )
        self.server = create(
            server,
            Role.SERVER,
            server_settings or Http2Settings(),
            self.server_sink,
            self.server_sink,
        )
        self.client_sink.engine, self.server_sink.engine = self.client, self.server
        self.client.start()
        self.server.start()
        self.pump()

    def pump(self) -> None:
        while True:
            to_server = self.client.data_to_send(self.chunk)
            if to_server:
                self.server.receive(to_server)
            to_client = self.server.data_to_send(self.chunk)
            if to_client:
                self.client.receive(to_client)
            if not to_server and not to_client:
                return

    def request(self, headers: Headers | None = None, *, end: bool = True) -> int:
        stream_id = self.client.send_request(headers or REQUEST, end)
        self.pump()
        return stream_id


ENGINES: list[tuple[EngineName, EngineName]] = [
    ("ngh2", "ngh2"),
    ("h2", "h2"),
    ("ngh2", "h2"),
    ("h2", "ngh2"),
]


@pytest.fixture(params=ENGINES, ids=lambda names: f"{names[0]}-to-{names[1]}")
def engines(request: pytest.FixtureRequest) -> tuple[EngineName, EngineName]:
    return request.param


@pytest.fixture(params=["ngh2", "h2"])
def engine(request: pytest.FixtureRequest) -> EngineName:
    return request.param


@pytest.fixture
def pair(engines: tuple[EngineName, EngineName]) -> Pair:
    return Pair(*engines)


class Lone:
    """One engine against a peer that is us, byte by byte."""

    def __init__(self, name: EngineName, role: Role) -> None:
        self.sink = Recorder()
        self.engine = create(name, role, Http2Settings(flood_burst=200), self.sink, self.sink)
        self.sink.engine = self.engine
        self.engine.start()
        self.said = self.engine.data_to_send(1 << 20)

    def feed(self, data: bytes) -> Http2Error | None:
        """The error, when these bytes were the end of the connection."""
        try:
            self.engine.receive(data)
            self.said += self.engine.data_to_send(1 << 20)
        except Http2Error as error:
            return error
        over = self.sink.of("over")
        return Http2Error(over[0][1], "over") if over else None


@pytest.fixture
def lone_server(engine: EngineName) -> Lone:
    return Lone(engine, Role.SERVER)


@pytest.fixture
def lone_client(engine: EngineName) -> Lone:
    return Lone(engine, Role.CLIENT)


@pytest.fixture
def make_pair() -> type[Pair]:
    return Pair

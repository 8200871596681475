"""A whole connector on loopback, between a tiny edge and a scripted origin."""

from __future__ import annotations

import asyncio
import io
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from ssl import SSLContext
from typing import Any
from uuid import UUID

import pytest
import trustme

from runtime.clock import monotonic
from runtime.events import EventLog
from runtime.notify import Notifier
from runtime.tls import server_context
from tunnel_client.config import Settings, load
from tunnel_client.credentials import Credentials, to_token
from tunnel_client.drivers.log import Log
from tunnel_client.process import Connector
from wire import headers as h
from wire.tunnel_rpc import ConnectionDetails, Refusal, Registration

from .fake_edge import ErrorCode, FakeEdge, Session

TUNNEL = UUID("6ff42ae2-765d-4adf-8112-31c55c1551ef")
TOKEN = to_token(Credentials("account", TUNNEL, b"s" * 32))
pytestmark = pytest.mark.timeout(30)


class NoResolver:
    """Everything here is an IP literal."""

    async def srv(self, name: str) -> Any:
        raise AssertionError(name)

    async def addresses(self, name: str) -> list[str]:
        return [name]

    async def close(self) -> None:
        pass


class Watched(EventLog):
    """An event log whose events can be waited for."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), "test")
        self.path = path
        self.more = asyncio.Event()

    def emit(self, event: str, **fields: Any) -> None:
        super().emit(event, **fields)
        self.more.set()


class Running:
    """A connector under test."""

    def __init__(self, connector: Connector, events: Watched, log: io.StringIO) -> None:
        self.connector = connector
        self.task: asyncio.Task[int]
        self.log = log
        self._events = events

    async def events(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        """The events of that name, once there are `count`."""
        while True:
            self._events.more.clear()
            lines = self._events.path.read_text().splitlines()
            found = [e for e in map(json.loads, lines) if e["event"] == name]
            if len(found) >= count:
                return found
            await self._events.more.wait()

    async def admin(self, path: str) -> tuple[int, bytes]:
        host, port = self.connector.admin.addresses[0]
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        raw = await reader.read()
        writer.close()
        head, _, body = raw.partition(b"\r\n\r\n")
        return int(head.split()[1]), body


def settings_for(edge: FakeEdge, *words: str) -> Settings:
    edges = [word for host, port in edge.addresses for word in ("--edge", f"{host}:{port}")]
    argv = ["tunnel", "--cacert", str(edge.ca), *edges, "--metrics", "127.0.0.1:0"]
    settings = load([*argv, "run", "--token", TOKEN, *words], {})
    # Nothing here waits for a second to pass.
    quick = replace(settings.policy, start_interval_s=0.0, backoff_base_s=0.01)
    return replace(settings, policy=quick)


@asynccontextmanager
async def running(
    edge: FakeEdge, tmp_path: Path, *words: str, policy: dict[str, Any] | None = None
) -> AsyncIterator[Running]:
    settings = settings_for(edge, *words)
    if policy:
        settings = replace(settings, policy=replace(settings.policy, **policy))
    log = io.StringIO()
    events = Watched(tmp_path / "events")
    connector = Connector(
        settings,
        resolver=NoResolver(),
        clock=monotonic,
        rng=random.Random(1),
        log=Log(log, level="debug"),
        events=events,
        notifier=Notifier(None),
    )
    running = Running(connector, events, log)
    running.task = asyncio.create_task(connector.run())
    try:
        yield running
    finally:
        if not running.task.done():
            connector.stop()
            connector.stop()
        await running.task
        events.close()


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter, list[bytes]], Awaitable[None]]


@asynccontextmanager
async def origin(
    script: Script, path: str | None = None, tls: SSLContext | None = None
) -> AsyncIterator[str]:
    """An HTTP/1.1 server whose every request is handled by `script(reader, writer, head_lines)`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await script(reader, writer, head.split(b"\r\n")[:-2])
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    if path is not None:
        server = await asyncio.start_unix_server(serve, path)
        url = f"unix:{path}"
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield url
    finally:
        server.close()


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(body)


async def echo(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: list[bytes]
) -> None:
    """Answers with the head it got, and its body's size behind it."""
    size = 0
    fields = {line.partition(b":")[0].lower(): line.partition(b":")[2].strip() for line in head[1:]}
    if b"content-length" in fields:
        size = len(await reader.readexactly(int(fields[b"content-length"])))
    body = b"\n".join([*head, b"size=%d" % size])
    writer.write(
        b"HTTP/1.1 200 OK\r\nServer: origin/1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
        b"Cf-Int-Secret: x\r\nKeep-Alive: timeout=5\r\nContent-Length: %d\r\n\r\n%b"
        % (len(body), body)
    )


# Registration


def test_four_connections_in_two_regions(tmp_path: Path) -> None:
    async def body() -> None:
        async with FakeEdge(tmp_path) as edge, running(edge, tmp_path) as connector:
            sessions = await edge.sessions(4)
            first = sessions[0].registration
            assert first is not None
            assert first.account_tag == "account"
            assert first.tunnel_secret == b"s" * 32
            assert first.tunnel_id == TUNNEL.bytes
            assert first.origin_local_ip[:12] == bytes(10) + b"\xff\xff"
            assert "serialized_headers" in first.client.features
            ids = {s.registration.client.client_id for s in sessions if s.registration}
            assert ids == {connector.connector.connector_id.bytes}
            assert [s.registration.conn_index for s in sessions if s.registration] == [0, 1, 2, 3]
            # Two addresses are region 1 (even positions), two are region 2.
            assert len({s.address for s in sessions}) == 4
            await sessions[0].reported.wait()
            assert b'"ingress":[]' in (sessions[0].local_configuration or b"")
            await connector.events("tunnel_connected", 4)
            status, ready = await connector.admin("/ready")
            assert status == 200
            assert json.loads(ready) == {
                "status": 200,
                "readyConnections": 4,
                "connectorId": str(connector.connector.connector_id),
            }
            connected = await connector.events("tunnel_connected", 4)
            assert sorted(e["connIndex"] for e in connected) == [0, 1, 2, 3]
            assert sorted(e["location"] for e in connected) == ["FRA", "FRA", "LHR", "LHR"]

    run(body())


def test_connections_are_capped_by_addresses(tmp_path: Path) -> None:
    async def body() -> None:
        async with (
            FakeEdge(tmp_path, hosts=("127.0.0.1", "127.0.0.2")) as edge,
            running(edge, tmp_path) as connector,
        ):
            await edge.sessions(2)
            assert connector.connector.supervisor.expected == 2

    run(body())


def test_a_lost_connection_comes_back_to_the_same_address(tmp_path: Path) -> None:
    async def body() -> None:
        async with FakeEdge(tmp_path) as edge, running(edge, tmp_path) as connector:
            sessions = await edge.sessions(4)
            await connector.events("tunnel_connected", 4)
            sessions[2].http2.abort()
            (again,) = await edge.sessions(1)
            assert again.registration is not None
            assert again.registration.conn_index == 2
            assert again.registration.num_previous_attempts == 1
            assert again.registration.replace_existing
            assert again.address == sessions[2].address
            assert [e["connIndex"] for e in await connector.events("tunnel_lost")] == [2]
            await connector.events("tunnel_connected", 5)
            assert connector.connector.supervisor.ready == 4

    run(body())


def test_silence_is_noticed(tmp_path: Path) -> None:
    async def body() -> None:
        beat = {"heartbeat_interval_s": 0.02, "heartbeat_count": 2}
        async with (
            FakeEdge(tmp_path, hosts=("127.0.0.1",)) as edge,
            running(edge, tmp_path, policy=beat) as connector,
        ):
            (session,) = await edge.sessions(1)
            # A frozen PoP: the connection is there, and nothing is read from it any more.
            transport = session.http2._transport
            assert transport is not None
            transport.pause_reading()
            (again,) = await edge.sessions(1)
            assert again is not session
            (lost,) = await connector.events("tunnel_lost")
            assert lost["reason"] == "no sign of life"

    run(body())


def test_a_duplicate_goes_to_another_address(tmp_path: Path) -> None:
    async def body() -> None:
        async with FakeEdge(tmp_path, hosts=("127.0.0.1", "127.0.0.2")) as edge:
            refused: list[str] = []

            def decide(session: Session, request: Registration) -> ConnectionDetails | Refusal:
                if not refused:
                    refused.append(session.address)
                    return Refusal("EDUPCONN")
                return edge.accept(session, request)

            edge.decide = decide
            async with running(edge, tmp_path):
                sessions = await edge.sessions(2)
                assert sessions[0].address != refused[0]

    run(body())


@pytest.mark.parametrize(
    ("refusal", "code"),
    [(Refusal("no such tunnel"), 1), (Refusal("Unauthorized: bad secret"), None)],
)
def test_a_refused_first_registration(tmp_path: Path, refusal: Refusal, code: int | None) -> None:
    async def body() -> None:
        async with FakeEdge(tmp_path) as edge:
            edge.decide = lambda session, request: refusal
            async with running(edge, tmp_path) as connector:
                await edge.asked.get()
                if code is not None:
                    assert await connector.task == code
                    assert refusal.cause in connector.log.getvalue()
                    return
                await edge.asked.get()
                edge.decide = edge.accept
                await edge.sessions(4)

    run(body())


def test_an_edge_that_never_speaks_is_left(tmp_path: Path) -> None:
    async def body() -> None:
        async with FakeEdge(tmp_path, hosts=("127.0.0.1",)) as edge:
            edge.open_control = False
            policy = {"register_timeout_s": 0.05}
            async with running(edge, tmp_path, policy=policy) as connector:
                (retry,) = await connector.events("tunnel_reconnecting")
                assert retry["reason"] == "not registered in time"
                edge.open_control = True
                await edge.sessions(1)

    run(body())


def test_a_certificate_of_another_ca_is_refused(tmp_path: Path) -> None:
    async def body() -> None:
        (tmp_path / "other").mkdir()
        async with FakeEdge(tmp_path, hosts=("127.0.0.1",)) as edge:
            edge.ca = FakeEdge(tmp_path / "other").ca
            async with running(edge, tmp_path) as connector:
                retries = await connector.events("tunnel_reconnecting")
                assert "certificate not accepted" in retries[0]["reason"]
                assert edge.registered.empty()

    run(body())


# Requests


def with_origin(
    tmp_path: Path,
    script: Script,
    body: Callable[[Session, Running], Awaitable[None]],
    *words: str,
) -> None:
    async def whole() -> None:
        async with (
            origin(script) as url,
            FakeEdge(tmp_path, hosts=("127.0.0.1",)) as edge,
            running(edge, tmp_path, "--url", url, *words) as connector,
        ):
            (session,) = await edge.sessions(1)
            await body(session, connector)

    run(whole())


def test_a_request_and_its_response(tmp_path: Path) -> None:
    async def body(session: Session, connector: Running) -> None:
        response = session.request(
            "/a%20b?q=1",
            headers=[
                (b"accept", b"*/*"),
                (b"cookie", b"c=d"),
                (b"cf-ray", b"0123-LHR"),
                (b"cf-cloudflared-secret", b"x"),
            ],
        )
        await response.ended.wait()
        assert response.status == 200
        assert response.meta.src == "origin"
        assert response.meta.origin_ms is not None
        assert response.meta.origin_ms > 0
        assert h.get(response.headers, b"content-length") == b"%d" % len(response.body)
        assert h.get(response.headers, b"server") is None
        fields = response.origin_headers
        assert (b"server", b"origin/1") in fields
        assert [v for n, v in fields if n == b"set-cookie"] == [b"a=1", b"b=2"]
        assert not {n for n, _ in fields} & {b"cf-int-secret", b"keep-alive", b"connection"}
        lines = response.body.split(b"\n")
        assert lines[0] == b"GET /a%20b?q=1 HTTP/1.1"
        sent = {line.partition(b": ")[0].lower(): line.partition(b": ")[2] for line in lines[1:]}
        assert sent[b"host"] == b"app.example.com"
        assert sent[b"cookie"] == b"c=d"
        assert sent[b"cf-ray"] == b"0123-LHR"
        assert sent[b"cf-warp-tag-id"] == str(connector.connector.connector_id).encode()
        assert b"cf-cloudflared-secret" not in sent

    with_origin(tmp_path, echo, body)


def test_bodies_and_host_header_and_tags(tmp_path: Path) -> None:
    async def body(session: Session, connector: Running) -> None:
        size = 5_000_000
        response = session.request(
            method="POST", headers=[(b"content-length", b"%d" % size)], body=b"x" * size
        )
        await response.ended.wait()
        assert b"size=5000000" in response.body
        assert b"host: inner.test" in response.body
        assert b"x-forwarded-host: app.example.com" in response.body
        assert b"cf-warp-tag-site: dublin" in response.body
        status, metrics = await connector.admin("/metrics")
        assert status == 200
        assert b"\ncloudflared_tunnel_total_requests 1.0\n" in metrics
        assert b'\ncloudflared_tunnel_response_by_code{status_code="200"} 1.0\n' in metrics
        assert b'popnet_tunnel_body_bytes_total{direction="up"} 5e+06' in metrics

    with_origin(tmp_path, echo, body, "--http-host-header", "inner.test", "--tag", "site=dublin")


def test_a_large_response_waits_for_its_reader(tmp_path: Path) -> None:
    size = 8_000_000

    async def script(
        _: asyncio.StreamReader, writer: asyncio.StreamWriter, __: list[bytes]
    ) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _turn in range(80):
            writer.write(b"y" * 100_000)
            await writer.drain()

    async def body(session: Session, connector: Running) -> None:
        response = session.request(auto_credit=False)
        assert response.stream is not None
        await response.until(1_000_000)
        # The reader stalls; another request on the same connection is not held up by it.
        other = session.request(headers=[(b"x-other", b"1")])
        await other.head.wait()
        assert other.status == 200
        assert other.stream is not None
        other.stream.reset(ErrorCode.CANCEL)
        assert len(response.body) < 2_000_000
        response.auto_credit = True
        response.stream.credit(len(response.body))
        await response.ended.wait()
        assert len(response.body) == size
        assert response.reset is None

    with_origin(tmp_path, script, body)


def test_events_come_one_by_one(tmp_path: Path) -> None:
    """Each event is sent only after the one before has arrived at the edge."""
    turns: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(
        _: asyncio.StreamReader, writer: asyncio.StreamWriter, __: list[bytes]
    ) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n"
        )
        while event := await turns.get():
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
        writer.write(b"0\r\nX-Sum: 42\r\n\r\n")

    async def body(session: Session, connector: Running) -> None:
        response = session.request(headers=[(b"te", b"trailers")])
        expected = b""
        for i in range(5):
            event = b"data: %d\n\n" % i
            expected += event
            turns.put_nowait(event)
            assert await response.until(len(expected)) == expected
        turns.put_nowait(b"")
        await response.ended.wait()
        assert response.trailers == [(b"x-sum", b"42")]
        assert h.get(response.headers, b"content-length") is None

    with_origin(tmp_path, script, body)


def test_websocket(tmp_path: Path) -> None:
    async def script(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: list[bytes]
    ) -> None:
        fields = dict(line.lower().split(b": ", 1) for line in head[1:])
        assert fields[b"upgrade"] == b"websocket"
        assert fields[b"connection"] == b"upgrade"
        assert fields[b"sec-websocket-version"] == b"13"
        if fields[b"sec-websocket-key"] == b"no":
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            return
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: yes\r\n\r\nhello"
        )
        while data := await reader.read(100):
            writer.write(data.upper())
        writer.close()

    async def body(session: Session, connector: Running) -> None:
        marks = [(h.UPGRADE, h.UPGRADE_WEBSOCKET), (b"sec-websocket-key", b"k")]
        response = session.request(headers=marks, body=None)
        await response.until(5)
        assert response.status == 200
        fields = response.origin_headers
        assert (b"connection", b"Upgrade") in fields
        assert (b"upgrade", b"websocket") in fields
        assert (b"sec-websocket-accept", b"yes") in fields
        assert response.stream is not None
        response.stream.send_data(b"abc")
        assert await response.until(8) == b"helloABC"
        response.stream.send_data(b"", end=True)
        await response.ended.wait()
        assert response.reset is None

        refused = session.request(
            headers=[(h.UPGRADE, h.UPGRADE_WEBSOCKET), (b"sec-websocket-key", b"no")], body=None
        )
        await refused.ended.wait()
        assert refused.status == 403
        assert refused.body == b"no"
        # Both exchanges are over, though the edge never ended its side of the second.
        assert connector.connector.counters.in_flight == 0

    with_origin(tmp_path, script, body)


def test_an_origin_that_refuses_or_dies_half_way(tmp_path: Path) -> None:
    async def script(
        _: asyncio.StreamReader, writer: asyncio.StreamWriter, head: list[bytes]
    ) -> None:
        if b"/half" in head[0]:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        elif b"/nonsense" in head[0]:
            writer.write(b"what?\r\n\r\n")
        await writer.drain()
        writer.close()

    async def body(session: Session, connector: Running) -> None:
        half = session.request("/half")
        await half.ended.wait()
        assert half.status == 200
        assert half.reset not in (None, 0)
        for path, reason in (
            ("/nothing", "origin closed the connection"),
            ("/nonsense", "origin protocol error"),
        ):
            response = session.request(path)
            await response.ended.wait()
            assert response.status == 502
            assert response.meta.src == "cloudflared"
            assert response.meta.popnet_reason == reason
            assert response.body == b""

    with_origin(tmp_path, script, body)


def test_no_origin_at_all(tmp_path: Path) -> None:
    async def whole() -> None:
        async with (
            FakeEdge(tmp_path, hosts=("127.0.0.1",)) as edge,
            running(edge, tmp_path, "--unix-socket", str(tmp_path / "none")) as connector,
        ):
            (session,) = await edge.sessions(1)
            response = session.request(method="POST", body=b"x" * 300_000)
            await response.ended.wait()
            assert response.status == 502
            assert response.meta.popnet_reason == "origin refused"
            # The connection has not suffered.
            again = session.request()
            await again.ended.wait()
            assert again.status == 502
            assert connector.connector.counters.in_flight == 0

    run(whole())


def test_an_https_origin(tmp_path: Path) -> None:
    async def whole() -> None:
        ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        ca.cert_pem.write_to_path(tmp_path / "origin-ca.pem")
        pem = ca.issue_cert("inner.test").private_key_and_cert_chain_pem
        pem.write_to_path(tmp_path / "origin.pem")
        (tmp_path / "edge").mkdir()
        context = server_context(tmp_path / "origin.pem", alpn=())

        async def status(*words: str) -> tuple[int, str]:
            async with (
                origin(echo, tls=context) as url,
                FakeEdge(tmp_path / "edge", hosts=("127.0.0.1",)) as edge,
                running(edge, tmp_path, "--url", url, *words),
            ):
                (session,) = await edge.sessions(1)
                response = session.request()
                await response.ended.wait()
                return response.status, response.meta.popnet_reason

        trust = ("--origin-ca-pool", str(tmp_path / "origin-ca.pem"))
        assert await status(*trust, "--origin-server-name", "inner.test") == (200, "")
        assert await status("--no-tls-verify") == (200, "")
        assert await status(*trust) == (502, "origin refused")
        assert await status("--origin-server-name", "inner.test") == (502, "origin refused")

    run(whole())


def test_a_visitor_who_leaves_cancels_the_origins_request(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def script(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, __: list[bytes]
    ) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await writer.drain()
        try:
            await reader.read()
        finally:
            gone.set()

    async def body(session: Session, connector: Running) -> None:
        response = session.request()
        await response.head.wait()
        assert response.stream is not None
        response.stream.reset(ErrorCode.CANCEL)
        await gone.wait()

    with_origin(tmp_path, script, body)


def test_services_of_our_own_and_configuration_pushes(tmp_path: Path) -> None:
    async def whole() -> None:
        async with (
            origin(echo, str(tmp_path / "origin.sock")) as service,
            FakeEdge(tmp_path, hosts=("127.0.0.1",)) as edge,
            running(edge, tmp_path) as connector,
        ):
            (session,) = await edge.sessions(1)

            async def get(host: str, path: str = "/", method: str = "GET") -> tuple[int, bytes]:
                response = session.request(path, host=host, method=method)
                await response.ended.wait()
                assert response.reset is None
                return response.status, response.body

            async def push(document: object) -> dict[str, Any]:
                response = session.request(
                    method="PUT",
                    headers=[(h.UPGRADE, h.UPGRADE_CONFIGURATION)],
                    body=json.dumps(document).encode(),
                )
                await response.ended.wait()
                assert response.status == 200
                answer: dict[str, Any] = json.loads(response.body)
                return answer

            assert await get("a.test") == (503, b"")
            rules = [
                {"hostname": "a.test", "service": service},
                {"hostname": "*.b.test", "path": "^/hello", "service": "hello_world"},
                {"service": "http_status:418"},
            ]
            taken = await push({"version": 3, "config": {"ingress": rules}})
            assert taken == {"lastAppliedVersion": 3, "err": None}
            status, body = await get("a.test:8443", "/x")
            assert status == 200
            assert b"GET /x" in body
            assert (await get("x.b.test", "/hello"))[0] == 200
            assert await get("x.b.test", "/hello", "HEAD") == (200, b"")
            assert await get("x.b.test", "/other") == (418, b"")
            older = await push({"version": 2, "config": {"ingress": []}})
            assert older == {"lastAppliedVersion": 3, "err": None}
            bad = {"ingress": [{"service": "https://x", "originRequest": {"caPool": "/none"}}]}
            wrong = await push({"version": 4, "config": bad})
            assert wrong["lastAppliedVersion"] == 3
            assert "ingress[0].originRequest.caPool" in wrong["err"]
            assert (await get("a.test"))[0] == 200
            status, config = await connector.admin("/config")
            assert json.loads(config)["version"] == 3

    run(whole())


# Leaving


def test_drain_lets_running_requests_end(tmp_path: Path) -> None:
    arrived, release = asyncio.Event(), asyncio.Event()

    async def script(
        _: asyncio.StreamReader, writer: asyncio.StreamWriter, __: list[bytes]
    ) -> None:
        arrived.set()
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")

    async def body(session: Session, connector: Running) -> None:
        response = session.request()
        await arrived.wait()
        connector.connector.stop()
        assert (await connector.admin("/ready"))[0] == 503
        await session.unregistered.wait()
        assert not connector.task.done()
        release.set()
        await response.ended.wait()
        assert response.body == b"done"
        # The edge need not close: with nothing left to do the connector leaves by itself.
        assert await connector.task == 0
        await session.lost.wait()

    with_origin(tmp_path, script, body)


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def script(_: asyncio.StreamReader, __: asyncio.StreamWriter, ___: list[bytes]) -> None:
        arrived.set()
        await asyncio.Event().wait()

    async def body(session: Session, connector: Running) -> None:
        session.request()
        await arrived.wait()
        connector.connector.stop()
        connector.connector.stop()
        assert await connector.task == 1

    with_origin(tmp_path, script, body)

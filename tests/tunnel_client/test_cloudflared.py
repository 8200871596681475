"""The other make of connector against our edge's half of the protocol: CLOUDFLARED=path runs it, unmodified.

What the fake edge is built from (`Http2Connection`, `RegistrationServer`, serialised headers) is
what a PoP is built from, so this shows that neither can be told from the real thing by a connector
that we did not write.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from wire import headers as h
from wire.tunnel_rpc import ConnectionDetails, Refusal

from .fake_edge import FakeEdge, Session
from .test_end_to_end import TOKEN, TUNNEL, Script, echo, origin

CLOUDFLARED = os.environ.get("CLOUDFLARED", "")
pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(60),
    pytest.mark.skipif(
        not CLOUDFLARED, reason="CLOUDFLARED=path is not set: NOT tested against real cloudflared"
    ),
]


@asynccontextmanager
async def cloudflared(
    edge: FakeEdge, url: str, directory: Path, *flags: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    edges = [word for host, port in edge.addresses for word in ("--edge", f"{host}:{port}")]
    log = (directory / "cloudflared.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        CLOUDFLARED,
        *("tunnel", "--no-autoupdate", "--no-prechecks", "--cacert", str(edge.ca)),
        *("--protocol", "http2", "--metrics", "127.0.0.1:0", "--grace-period", "5s", *edges),
        *flags,
        *("run", "--token", TOKEN, "--url", url),
        stdout=log,
        stderr=log,
        env={"HOME": str(directory), "PATH": os.environ["PATH"]},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        log.close()


def with_cloudflared(
    tmp_path: Path,
    script: Script,
    body: Callable[[FakeEdge, list[Session], asyncio.subprocess.Process], Awaitable[None]],
    hosts: tuple[str, ...] = ("127.0.0.1",),
) -> None:
    async def whole() -> None:
        async with (
            origin(script) as url,
            FakeEdge(tmp_path, hosts=hosts) as edge,
            cloudflared(edge, url, tmp_path) as process,
        ):
            sessions = await edge.sessions(len(hosts))
            await body(edge, sessions, process)

    asyncio.run(whole())


def test_it_registers_all_its_connections(tmp_path: Path) -> None:
    async def body(
        edge: FakeEdge, sessions: list[Session], process: asyncio.subprocess.Process
    ) -> None:
        requests = [s.registration for s in sessions]
        assert [r.conn_index for r in requests if r] == [0, 1, 2, 3]
        for request in requests:
            assert request is not None
            assert request.tunnel_id == TUNNEL.bytes
            assert request.account_tag == "account"
            assert request.tunnel_secret == b"s" * 32
            assert "serialized_headers" in request.client.features
            assert len(request.client.client_id) == 16
            assert len(request.origin_local_ip) == 16
        await sessions[0].reported.wait()
        assert sessions[0].local_configuration is not None
        # It answers our heartbeats.
        sessions[1].http2.ping()
        response = sessions[1].request()
        await response.ended.wait()
        assert sessions[1].http2.rtt is not None

    hosts = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
    with_cloudflared(tmp_path, echo, body, hosts)


def test_requests(tmp_path: Path) -> None:
    async def body(
        edge: FakeEdge, sessions: list[Session], process: asyncio.subprocess.Process
    ) -> None:
        (session,) = sessions
        head = [(b"accept-encoding", b"identity"), (b"cf-ray", b"0123456789abcdef-LHR")]
        response = session.request("/a%20b?q=1", headers=head)
        await response.ended.wait()
        assert response.status == 200
        assert response.meta.from_origin
        fields = response.origin_headers
        assert (b"server", b"origin/1") in fields
        assert sorted(v for n, v in fields if n == b"set-cookie") == [b"a=1", b"b=2"]
        assert b"cf-int-secret" not in {n for n, _ in fields}
        lines = response.body.lower().split(b"\n")
        assert lines[0] == b"get /a%20b?q=1 http/1.1"
        assert b"host: app.example.com" in lines
        size = 5_000_000
        head.append((b"content-length", b"%d" % size))
        upload = session.request(method="POST", headers=head, body=b"x" * size)
        await upload.ended.wait()
        assert b"size=5000000" in upload.body

    with_cloudflared(tmp_path, echo, body)


def test_what_our_connector_answers_has_the_same_shape(tmp_path: Path) -> None:
    """The names of serialised headers that our own connector drops or keeps, against its."""

    async def script(
        _: asyncio.StreamReader, writer: asyncio.StreamWriter, __: list[bytes]
    ) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-Weird_Name: 2\r\n"
            b"Cf-Proxy-X: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 42\r\n\r\n"
        )

    async def body(
        edge: FakeEdge, sessions: list[Session], process: asyncio.subprocess.Process
    ) -> None:
        (session,) = sessions
        response = session.request(headers=[(b"accept-encoding", b"identity")])
        await response.ended.wait()
        names = {name for name, _ in response.origin_headers}
        assert b"x-weird_name" in names
        assert b"cf-proxy-x" not in names
        assert response.body == b"abc"

    with_cloudflared(tmp_path, script, body)


def test_refusals(tmp_path: Path) -> None:
    async def whole() -> None:
        async with FakeEdge(tmp_path, hosts=("127.0.0.1", "127.0.0.2")) as edge:
            refused: list[str] = []

            def decide(session: Session, request: object) -> ConnectionDetails | Refusal:
                if not refused:
                    refused.append(session.address)
                    return Refusal("EDUPCONN")
                return ConnectionDetails(bytes(16), "LHR")

            edge.decide = decide
            async with cloudflared(edge, "http://127.0.0.1:9", tmp_path):
                first, _ = await edge.sessions(2)
                assert first.address != refused[0]
                response = first.request()
                await response.ended.wait()
                assert response.status == 502
                assert not response.meta.from_origin

    asyncio.run(whole())


def test_configuration_push_and_drain(tmp_path: Path) -> None:
    async def body(
        edge: FakeEdge, sessions: list[Session], process: asyncio.subprocess.Process
    ) -> None:
        (session,) = sessions
        push = session.request(
            method="PUT",
            headers=[(h.UPGRADE, h.UPGRADE_CONFIGURATION)],
            body=b'{"version":1,"config":{"ingress":[{"service":"http_status:418"}]}}',
        )
        await push.ended.wait()
        assert b'"lastAppliedVersion":1' in push.body
        response = session.request()
        await response.ended.wait()
        assert response.status == 418
        assert response.meta.from_origin
        process.send_signal(signal.SIGTERM)
        await session.unregistered.wait()
        session.http2.close()
        assert await process.wait() == 0

    with_cloudflared(tmp_path, echo, body)

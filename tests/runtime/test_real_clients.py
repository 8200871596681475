"""curl and h2load against our doors, and what their bodies look like afterwards. Real programs on real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from runtime.http1.client import Http1Client, Origin
from runtime.serving import HttpServer, Listener, ServingOptions
from runtime.splice import Splice, answer
from runtime.streams import Headers, Stream, StreamUser
from runtime.tls import server_context
from runtime.transports import Discard
from wire.http2.engines import EngineName

pytestmark = pytest.mark.system


class Mirror(Discard):
    """Sends a body back, or a kilobyte where there was none."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def headers_received(self, headers: Headers, end: bool) -> None:
        self.stream.send_headers([(b":status", b"200"), (b"content-type", b"text/plain")])
        if end:
            self.stream.send_data(b"x" * 1024, end=True)

    def data_received(self, data: bytes, end: bool) -> None:
        # Whoever sends back faster than is read must wait himself; a test's bodies may wait in memory.
        self.stream.send_data(data, end=end)
        self.stream.credit(len(data))


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    issued = authority.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(directory / "cert.pem")
    return directory


def needs(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")


async def execute(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    text = output.decode(errors="replace")
    assert process.returncode == 0, text
    return text


async def proxied(pki: Path, engine: EngineName) -> tuple[HttpServer, HttpServer, Http1Client]:
    """A mirror, and in front of it a proxy with TLS: visitor -> h2 or h1 -> splice -> h1 -> mirror."""
    origin = HttpServer(Mirror)
    await origin.listen([Listener("127.0.0.1", 0)])
    client = Http1Client()
    target = Origin("127.0.0.1", origin.addresses[0][1])

    class Forward(Discard):
        def __init__(self, left: Stream) -> None:
            self.left = left

        def headers_received(self, headers: Headers, end: bool) -> None:
            right = client.open(Discard(), target)
            Splice(self.left, right, on_end=self.ended, request_ended=end)
            right.send_headers(headers, end=end)

        def ended(self, splice: Splice, code: int | None) -> None:
            if code is not None and not splice.answered and not splice.left_lost:
                answer(splice.left, [(b":status", b"502")], str(code).encode())

    def take(left: Stream) -> StreamUser:
        return Forward(left)

    front = HttpServer(take, ServingOptions(engine=engine))
    await front.listen(
        [Listener("127.0.0.1", 0, server_context(pki / "cert.pem")), Listener("127.0.0.1", 0)]
    )
    return front, origin, client


@pytest.mark.parametrize("version", ["--http2", "--http1.1"])
@pytest.mark.parametrize("engine", ["ngh2", "h2"])
def test_curl_sends_and_gets_the_same_bytes(
    pki: Path, tmp_path: Path, version: str, engine: EngineName
) -> None:
    needs("curl")
    body = os.urandom(5_000_000)
    (tmp_path / "up").write_bytes(body)

    async def main() -> None:
        front, origin, client = await proxied(pki, engine)
        port = front.addresses[0][1]
        await execute(
            *("curl", "--silent", "--show-error", "--fail", version),
            *("--cacert", str(pki / "ca.pem"), "--upload-file", str(tmp_path / "up")),
            *("--output", str(tmp_path / "down"), f"https://localhost:{port}/"),
        )
        await front.drain(1)
        client.close()
        await origin.drain(1)

    uvloop.run(main())
    assert (
        hashlib.sha256((tmp_path / "down").read_bytes()).digest() == hashlib.sha256(body).digest()
    )


@pytest.mark.parametrize("arguments", [["-c8", "-m8"], ["--h1", "-c32"]])
def test_h2load_is_served_without_a_failure(pki: Path, arguments: list[str]) -> None:
    needs("h2load")

    async def main() -> Any:
        front, origin, client = await proxied(pki, "ngh2")
        port = front.addresses[0][1]
        output = await execute("h2load", "-n3000", *arguments, f"https://127.0.0.1:{port}/")
        await front.drain(1)
        assert front.connections == 0
        client.close()
        await origin.drain(1)
        return output

    output = uvloop.run(main())
    assert re.search(r"status codes: 3000 2xx", output), output


def test_curl_upgrades_to_nothing_and_gets_its_answer(pki: Path) -> None:
    """`curl --http2` on a plain port offers h2c; it is not taken, and the body is still the body."""
    needs("curl")

    async def main() -> str:
        front, origin, client = await proxied(pki, "ngh2")
        port = front.addresses[1][1]
        url = f"http://127.0.0.1:{port}/"
        output = await execute("curl", "--silent", "--http2", "--data", "question", url)
        output += await execute("curl", "--silent", "--http2-prior-knowledge", "-d", "!", url)
        await front.drain(1)
        client.close()
        await origin.drain(1)
        return output

    assert uvloop.run(main()) == "question!"

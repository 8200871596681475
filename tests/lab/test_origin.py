"""The hello service over a real loopback socket."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator

import pytest

from lab import origin, websocket


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    ready = threading.Event()
    ports: list[int] = []
    loop = asyncio.new_event_loop()
    ending = asyncio.Event()

    async def serve() -> None:
        server = await origin.start("127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        async with server:
            await ending.wait()
        await asyncio.sleep(0)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait()
    yield ports[0]
    loop.call_soon_threadsafe(ending.set)
    thread.join()
    loop.close()


@pytest.fixture
def client(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    yield connection
    connection.close()


def get(client: http.client.HTTPConnection, path: str, **headers: str) -> tuple[int, bytes]:
    client.request("GET", path, headers=headers)
    answer = client.getresponse()
    return answer.status, answer.read()


def test_json_tells_the_request_as_it_arrived(client: http.client.HTTPConnection) -> None:
    status, body = get(client, "/?a=1", accept="application/json", **{"x-forged": "<b>"})
    seen = json.loads(body)
    assert status == 200
    assert seen["target"] == "/?a=1"
    assert ["x-forged", "<b>"] in seen["headers"]


def test_the_page_escapes_what_it_shows(client: http.client.HTTPConnection) -> None:
    _, body = get(client, "/", **{"x-forged": "<b>"})
    assert b"&lt;b&gt;" in body
    assert b"<b>" not in body


@pytest.mark.parametrize("size", [0, 1, 65_536, 1_048_577])
def test_bytes_are_as_many_as_asked_for_and_always_the_same(
    client: http.client.HTTPConnection, size: int
) -> None:
    first = get(client, f"/bytes/{size}")
    assert first[0] == 200
    assert len(first[1]) == size
    assert get(client, f"/bytes/{size}") == first


def test_an_echo_gives_the_body_back_and_its_digest_as_trailer(port: int) -> None:
    body = bytes(range(256)) * 1000
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        head = f"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        peer.sendall(head.encode() + body)
        data = b"".join(iter(lambda: peer.recv(65536), b""))
    _, _, chunks = data.partition(b"\r\n\r\n")
    found = b""
    while not chunks.startswith(b"0\r\n"):
        size, _, chunks = chunks.partition(b"\r\n")
        found += chunks[: int(size, 16)]
        chunks = chunks[int(size, 16) + 2 :]
    assert found == body
    assert hashlib.sha256(body).hexdigest().encode() in chunks


def test_statuses_and_unknown_pages(client: http.client.HTTPConnection) -> None:
    assert get(client, "/status/503")[0] == 503
    assert get(client, "/status/204") == (204, b"")
    assert get(client, "/status/no")[0] == 404
    assert get(client, "/nothing")[0] == 404


def test_events_come_one_by_one(client: http.client.HTTPConnection) -> None:
    _, body = get(client, "/sse?n=3&every_ms=0")
    assert body.count(b"data: tick ") == 3


def test_half_an_answer_is_half_an_answer(client: http.client.HTTPConnection) -> None:
    client.request("GET", "/die")
    answer = client.getresponse()
    with pytest.raises(http.client.IncompleteRead):
        answer.read()


def test_what_is_not_http_gets_400(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(b"hello\r\n\r\n")
        assert peer.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_websocket_frames_come_back(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += peer.recv(1)
        assert b"101 Switching Protocols" in head
        # The accept value of RFC 6455 section 1.3 for this key.
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        peer.sendall(bytes.fromhex("818537fa213d7f9f4d5158"))
        assert peer.recv(100) == websocket.frame(websocket.TEXT, b"Hello")
        peer.sendall(bytes.fromhex("888037fa213d"))
        assert peer.recv(100) == websocket.frame(websocket.CLOSE, b"")
        assert peer.recv(100) == b""

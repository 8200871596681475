"""One small lab: requests of real programs across the whole chain, from a visitor to the private service and back."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.driver import Lab

pytestmark = pytest.mark.system

PAGE = "https://app.example.com"

_WEBSOCKET = """
import base64, os, socket, ssl, sys
context = ssl.create_default_context()
context.set_alpn_protocols(["http/1.1"])
plain = socket.create_connection(("app.example.com", 443), timeout=10)
with context.wrap_socket(plain, server_hostname="app.example.com") as peer:
    key = base64.b64encode(os.urandom(16)).decode()
    peer.sendall(
        f"GET /ws HTTP/1.1\\r\\nHost: app.example.com\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
        f"Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: {key}\\r\\n\\r\\n".encode()
    )
    head = b""
    while not head.endswith(b"\\r\\n\\r\\n"):
        head += peer.recv(1)
    print(head.split(b"\\r\\n")[0].decode())
    for _ in range(3):
        peer.sendall(bytes.fromhex("818537fa213d7f9f4d5158"))
        print(peer.recv(100).hex())
"""


def curl(lab: Lab, visitor: str, *arguments: str) -> str:
    done = lab.run(
        visitor, ["curl", "-sS", "-m", "20", *arguments], capture_output=True, timeout=30
    )
    assert done.returncode == 0, f"curl {' '.join(arguments)}: {done.stderr.decode()}"
    return str(done.stdout.decode())


@pytest.mark.parametrize(("flag", "version"), [("--http2", "2"), ("--http1.1", "1.1")])
def test_a_page_over_tls_with_its_certificate_checked(lab: Lab, flag: str, version: str) -> None:
    told = curl(lab, "new-york", flag, "-w%{http_version} %{http_code}", "-o/dev/null", PAGE)
    assert told == f"{version} 200"


def test_a_page_without_tls(lab: Lab) -> None:
    assert "hello from dublin" in curl(lab, "london", "http://app.example.com/")


def test_an_authority_that_is_not_the_labs_is_not_enough(lab: Lab) -> None:
    done = lab.run(
        "london",
        ["curl", "-sS", "-m9", "--capath", "/nowhere", "--cacert", "/dev/null", PAGE],
        capture_output=True,
    )
    assert done.returncode in (60, 77)


def test_a_response_tells_its_way_and_a_forged_header_does_not_arrive(lab: Lab) -> None:
    head = curl(lab, "new-york", "-I", PAGE).lower()
    assert "cf-ray: " in head
    assert head.split("cf-ray: ")[1].split()[0].endswith("-iad")
    assert "server-timing: iad;" in head
    asked = ["-H", "accept: application/json", "-H", "cf-connecting-ip: 6.6.6.6", PAGE + "/?b=c"]
    seen = json.loads(curl(lab, "new-york", *asked))
    headers = {name.lower(): value for name, value in seen["headers"]}
    assert seen["target"] == "/?b=c"
    assert headers["cf-connecting-ip"] == lab.plan.nodes["new-york"].address
    assert headers["host"] == "app.example.com"


@pytest.mark.parametrize("flag", ["--http2", "--http1.1"])
def test_a_large_body_each_way(lab: Lab, tmp_path: Path, flag: str) -> None:
    body = hashlib.sha256(b"popnet").digest() * (5 * 1024 * 1024 // 32)
    (tmp_path / "sent").write_bytes(body)
    told = curl(lab, "london", flag, "--data-binary", f"@{tmp_path}/sent", PAGE + "/sha256")
    assert json.loads(told) == {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)}
    curl(lab, "london", flag, "-o", f"{tmp_path}/got", f"{PAGE}/bytes/{len(body)}")
    direct = lab.run(
        "dublin", ["curl", "-sS", f"http://127.0.0.1:8000/bytes/{len(body)}"], capture_output=True
    )
    assert (tmp_path / "got").read_bytes() == direct.stdout
    curl(
        lab,
        "london",
        flag,
        "--data-binary",
        f"@{tmp_path}/sent",
        "-o",
        f"{tmp_path}/echo",
        PAGE + "/echo",
    )
    assert (tmp_path / "echo").read_bytes() == body


def test_events_arrive_one_by_one_and_not_at_the_end(lab: Lab) -> None:
    address = PAGE + "/sse?n=3&every_ms=400"
    with lab.popen("london", ["curl", "-sSN", "-m20", address], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        assert lines[1] == b"data: tick 0\n"
        assert process.poll() is None, "the first event came only with the last"
        assert process.stdout.read().count(b"data: tick") == 2


def test_a_websocket_echoes(lab: Lab) -> None:
    done = lab.run("london", [sys.executable, "-c", _WEBSOCKET], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, *frames = done.stdout.split("\n", 3)
    assert first == "HTTP/1.1 101 Switching Protocols"
    assert [frame.strip() for frame in frames] == ["810548656c6c6f"] * 3


def test_trailers_arrive(lab: Lab) -> None:
    told = curl(lab, "london", "--http1.1", "--raw", "-H", "TE: trailers", PAGE + "/trailers")
    assert "grpc-status: 0" in told


@pytest.mark.parametrize("status", ["204", "304", "404", "503"])
def test_what_the_origin_says_is_what_the_visitor_gets(lab: Lab, status: str) -> None:
    assert curl(lab, "london", "-o/dev/null", "-w%{http_code}", f"{PAGE}/status/{status}") == status


def test_an_origin_that_dies_half_way_is_no_whole_answer(lab: Lab) -> None:
    done = lab.run("london", ["curl", "-sS", "-m20", PAGE + "/die"], capture_output=True)
    # 18: partial file; 92: the HTTP/2 stream was reset. 28, a time-out, would mean that nobody was told.
    assert done.returncode in (18, 92)


def test_an_unknown_host_is_told_so_and_does_not_resolve(lab: Lab) -> None:
    asked = [
        "-k",
        "--resolve",
        "nobody.example.com:443:198.18.0.1",
        "-w%{http_code}",
        "-o/dev/null",
    ]
    assert curl(lab, "london", *asked, "https://nobody.example.com/") in ("404", "421", "530")
    done = lab.run("london", ["getent", "hosts", "nobody.example.com"], capture_output=True)
    assert done.returncode == 2


@pytest.mark.skipif(shutil.which("dig") is None, reason="no dig on this machine")
def test_the_regions_are_found_as_connectors_ask_for_them(lab: Lab) -> None:
    asked = ["dig", "+short", "SRV", "_v2-origintunneld._tcp.argotunnel.com"]
    lines = lab.run("dublin", asked, capture_output=True, text=True).stdout.splitlines()
    assert [line.split()[2:] for line in sorted(lines)] == [
        ["7844", "region1.v2.argotunnel.com."],
        ["7844", "region2.v2.argotunnel.com."],
    ]


@pytest.mark.skipif(shutil.which("h2load") is None, reason="no h2load on this machine")
def test_a_load_generator_works_unmodified(lab: Lab) -> None:
    asked = ["h2load", "-n300", "-c3", "-m10", PAGE + "/bytes/1000"]
    done = lab.run("london", asked, capture_output=True, text=True, timeout=60)
    assert "300 succeeded, 0 failed, 0 errored" in done.stdout, done.stdout + done.stderr

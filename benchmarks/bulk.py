"""Large bodies and stalled readers through the whole chain: visitor, PoPs, tunnel client, service.

The default world, London's visitor, the Dublin site: real processes, real TLS, 15 ms of emulated round trip.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.lab import popnet
from benchmarks.report import Row
from lab.cli.tracing import send
from lab.driver import Lab

NAME = "bulk"
VISITOR = "london"
HOST = "app.example.com"
SIZE = 100_000_000
STALLED = 64
REQUESTS = 15

# Opens connections, asks each for a large body, reads the head and then nothing more.
STALL = """
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
held = []
for number in range(int(sys.argv[3])):
    raw = socket.create_connection((sys.argv[1], 443), 30)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    tls = context.wrap_socket(raw, server_hostname=sys.argv[1])
    tls.sendall(b"GET /bytes/100000000 HTTP/1.1\\r\\nHost: " + sys.argv[1].encode() + b"\\r\\n\\r\\n")
    assert tls.recv(12) == b"HTTP/1.1 200"
    held.append(tls)
print("stalled", flush=True)
sys.stdin.read()
"""


def pids(lab: Lab) -> dict[str, int]:
    status: dict[str, Any] = json.loads(popnet("status", "-n", lab.name, "-o", "json"))
    return {
        f"{node['name']}/{program['name']}": program["pid"]
        for node in status["nodes"]
        for program in node["programs"]
        if program["pid"] is not None
    }


def resident(pid: int, what: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has no {what}")


class Growth:
    """The largest growth of any process of the lab from here on, by the kernel's high-water mark (proc(5))."""

    def __init__(self, lab: Lab) -> None:
        self._pids = pids(lab)
        for pid in self._pids.values():
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the mark starts again from here
        self._before = {name: resident(pid, "VmRSS") for name, pid in self._pids.items()}

    def largest(self) -> tuple[float, str]:
        grown = {
            name: resident(pid, "VmHWM") - self._before[name] for name, pid in self._pids.items()
        }
        name = max(grown, key=lambda each: grown[each])
        return grown[name] / 1e6, name


def transfer(lab: Lab, directory: Path) -> list[Row]:
    """100 MB up, 100 MB down; raises when a hash differs."""
    body = directory / "body"
    body.write_bytes(os.urandom(1_000_000) * (SIZE // 1_000_000))
    ca = str(lab.dir.pki / "ca.pem")
    curl = ["curl", "-sSf", "-m", "300", "--cacert", ca, "-w", "%{time_total}"]
    growth = Growth(lab)
    down = directory / "down"
    got = lab.run(
        VISITOR, [*curl, "-o", str(down), f"https://{HOST}/bytes/{SIZE}"], capture_output=True
    )
    down_s = float(got.stdout)
    echo = directory / "echo"
    got = lab.run(
        VISITOR,
        [
            *curl,
            "-o",
            str(echo),
            "-H",
            "Expect:",
            "--data-binary",
            f"@{body}",
            f"https://{HOST}/sha256",
        ],
        capture_output=True,
    )
    up_s = float(got.stdout)
    sent = hashlib.sha256(body.read_bytes()).hexdigest()
    if sent not in echo.read_text() or down.stat().st_size != SIZE:
        raise RuntimeError("a body arrived changed")
    grown, who = growth.largest()
    return [
        Row("100 MB down", SIZE * 8 / down_s / 1e6, "Mbit/s", None, "length intact"),
        Row("100 MB up", SIZE * 8 / up_s / 1e6, "Mbit/s", None, "hash intact"),
        Row("largest growth of a process meanwhile", grown, "MB", 35.0, who),
    ]


def request_s(lab: Lab) -> float:
    """Median time from request to response head, from a new connection each time."""
    times = []
    for _ in range(REQUESTS):
        told = send(lab, VISITOR, f"https://{HOST}/")
        if isinstance(told, str):
            raise RuntimeError(told)
        times.append(told.total_s)
    return statistics.median(times)


def stalled(lab: Lab) -> list[Row]:
    normal = request_s(lab)
    growth = Growth(lab)
    ca = str(lab.dir.pki / "ca.pem")
    with lab.popen(
        VISITOR,
        [sys.executable, "-c", STALL, HOST, ca, str(STALLED)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as stall:
        assert stall.stdout is not None
        if stall.stdout.readline() != "stalled\n":
            raise RuntimeError("the stalled downloads did not start")
        meanwhile = request_s(lab)
        assert stall.stdin is not None
        stall.stdin.close()
    grown, who = growth.largest()
    return [
        Row(f"65th request beside {STALLED} stalled downloads", meanwhile / normal, "x", 2.0),
        Row(f"growth of a process by {STALLED} stalled downloads", grown, "MB", None, who),
    ]


def run() -> list[Row]:
    popnet("up", "--detach", "-n", NAME)
    try:
        lab = Lab.open(NAME)
        with tempfile.TemporaryDirectory() as directory:
            return transfer(lab, Path(directory)) + stalled(lab)
    finally:
        popnet("down", "-n", NAME)


if __name__ == "__main__":
    from benchmarks.report import show

    show(run())

"""CPU per request of the HTTP chain, as a ratio to nghttpx on the same machine in the same run.

    python -m benchmarks.http [--seconds 5] [--engine ngh2] [--visitors h1|h1-tls|h2] [--size 1024]

Ours:    h2load -> ingress -> egress -> connector -> nginx      (three processes of ours)
Theirs:  h2load -> nghttpx -> nghttpx -> nginx                   (two processes)

TLS between the hops on both, 64 requests at once, one process each. CPU is what /proc says of each process, user and
system; wall-clock figures say little on a shared machine and are not claims. Rounds alternate, so that both see the
same neighbours.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trustme

TICK = os.sysconf("SC_CLK_TCK")
# What the project promises, as ratios to nghttpx.
POP_AT_MOST = 2.0
CHAIN_AT_MOST = 3.5


@dataclass(frozen=True)
class Round:
    requests: int
    per_second: float
    cpu_us: dict[str, float]
    failed: int


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of the children it has now."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK + sum(cpu_seconds(int(c)) for c in children)


def wait_for_port(port: int, deadline_s: float = 10.0) -> None:
    end = time.monotonic() + deadline_s
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if time.monotonic() > end:
            raise SystemExit(f"nothing listens on {port}")
        time.sleep(0.02)


@contextlib.contextmanager
def running(*command: str, ready: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE if ready else subprocess.DEVNULL
    )
    try:
        if ready:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise SystemExit(f"{' '.join(command[:4])} did not start")
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def origin(directory: Path, port: int, size: int) -> Iterator[int]:
    root = directory / "root"
    # nginx drops its privileges when it runs as root, and must still get here.
    directory.chmod(0o755)
    root.mkdir()
    (root / "index.html").write_bytes(b"x" * size)
    configuration = directory / "nginx.conf"
    configuration.write_text(
        f"""daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/error.log;
        events {{ worker_connections 1024; }}
        http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 300;
        client_body_temp_path {directory}/b; proxy_temp_path {directory}/p; fastcgi_temp_path {directory}/f;
        uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
        server {{ listen 127.0.0.1:{port}; location / {{ root {root}; }} }} }}
        """
    )
    with running("nginx", "-c", str(configuration), "-p", str(directory)) as process:
        wait_for_port(port)
        yield process.pid


def load(port: int, visitors: str, requests: int) -> tuple[float, int]:
    """Make so many requests, 64 at once. Returns requests per second, and how many failed."""
    shape = {
        "h1": ["--h1", "-c64", f"http://127.0.0.1:{port}/index.html"],
        "h1-tls": ["--h1", "-c64", f"https://127.0.0.1:{port}/index.html"],
        "h2": ["-c8", "-m8", f"https://127.0.0.1:{port}/index.html"],
    }[visitors]
    command = ["h2load", f"-n{requests}", *shape]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    rate = re.search(r"([\d.]+) req/s", output)
    codes = re.search(r"status codes: (\d+) 2xx", output)
    assert rate is not None, output
    assert codes is not None, output
    return float(rate[1]), requests - int(codes[1])


def measure(pids: dict[str, int], port: int, visitors: str, seconds: float) -> Round:
    # h2load counts what it was asked to make, exactly; a first, short run warms up and tells how many that should be.
    rate, _ = load(port, visitors, 1000)
    requests = max(1000, int(rate * seconds))
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    rate, failed = load(port, visitors, requests)
    used = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    per_request = {name: cpu / requests * 1e6 for name, cpu in used.items()}
    return Round(requests, rate, per_request, failed)


def run(arguments: argparse.Namespace) -> dict[str, object]:
    for tool in ("h2load", "nghttpx", "nginx"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not installed: apt install nghttp2 nginx-light")
    with (
        tempfile.TemporaryDirectory(prefix="popnet-bench-") as name,
        contextlib.ExitStack() as stack,
    ):
        directory = Path(name)
        authority = trustme.CA(key_type=trustme.KeyType.RSA)
        issued = authority.issue_cert("localhost", "127.0.0.1", key_type=trustme.KeyType.RSA)
        authority.cert_pem.write_to_path(directory / "ca.pem")
        issued.private_key_and_cert_chain_pem.write_to_path(directory / "cert.pem")
        issued.private_key_pem.write_to_path(directory / "key.pem")
        for blob in issued.cert_chain_pems:
            blob.write_to_path(directory / "chain.pem", append=True)
        ports = free_ports(8)
        nginx_port, visitor, visitor_tls, _, _, their_first, their_tls, their_second = ports
        stack.enter_context(origin(directory, nginx_port, arguments.size))
        ours = start_ours(stack, arguments, directory, ports)
        theirs = start_theirs(stack, directory, nginx_port, their_first, their_tls, their_second)
        plain = arguments.visitors == "h1"
        rounds: dict[str, list[Round]] = {"ours": [], "theirs": []}
        for _ in range(arguments.rounds):
            port = visitor if plain else visitor_tls
            rounds["ours"].append(measure(ours, port, arguments.visitors, arguments.seconds))
            port = their_first if plain else their_tls
            rounds["theirs"].append(measure(theirs, port, arguments.visitors, arguments.seconds))
    return report(rounds, arguments)


def start_ours(
    stack: contextlib.ExitStack, arguments: argparse.Namespace, directory: Path, ports: list[int]
) -> dict[str, int]:
    config = {
        "engine": arguments.engine,
        "ca": str(directory / "ca.pem"),
        "certificate": str(directory / "cert.pem"),
        "origin_port": ports[0],
        "visitor_port": ports[1],
        "visitor_tls_port": ports[2],
        "egress_port": ports[3],
        "tunnel_port": ports[4],
        "tunnels": 4,
    }
    pids = {}
    for role in ("egress", "connector", "ingress"):
        command = (
            sys.executable,
            "-m",
            "benchmarks.http_hops",
            role,
            "--config",
            json.dumps(config),
        )
        pids[role] = stack.enter_context(running(*command, ready=True)).pid
    return pids


def start_theirs(
    stack: contextlib.ExitStack,
    directory: Path,
    origin_port: int,
    first: int,
    first_tls: int,
    second: int,
) -> dict[str, int]:
    key, chain = str(directory / "key.pem"), str(directory / "chain.pem")
    common = (
        "--conf=/dev/null",
        "--workers=1",
        "--single-process",
        "--errorlog-file=/dev/null",
        "--no-ocsp",
    )
    pids = {}
    process = stack.enter_context(
        running(
            "nghttpx",
            *common,
            f"--frontend=127.0.0.1,{second}",
            f"--backend=127.0.0.1,{origin_port}",
            key,
            chain,
        )
    )
    pids["nghttpx egress"] = process.pid
    wait_for_port(second)
    process = stack.enter_context(
        running(
            "nghttpx",
            *common,
            f"--frontend=127.0.0.1,{first};no-tls",
            f"--frontend=127.0.0.1,{first_tls}",
            f"--backend=127.0.0.1,{second};;proto=h2;tls;sni=localhost",
            f"--cacert={directory / 'ca.pem'}",
            key,
            chain,
        )
    )
    pids["nghttpx ingress"] = process.pid
    wait_for_port(first)
    return pids


def report(rounds: dict[str, list[Round]], arguments: argparse.Namespace) -> dict[str, object]:
    median: dict[str, float] = {}
    for side in rounds.values():
        for name in side[0].cpu_us:
            median[name] = statistics.median(one.cpu_us[name] for one in side)
    theirs = [median[name] for name in ("nghttpx ingress", "nghttpx egress")]
    chain = sum(median[name] for name in ("ingress", "egress", "connector"))
    result: dict[str, object] = {
        "cpu_us_per_request": {name: round(value, 1) for name, value in median.items()},
        "per_second": {
            side: round(statistics.median(o.per_second for o in r)) for side, r in rounds.items()
        },
        "failed": sum(one.failed for side in rounds.values() for one in side),
        "ingress_ratio": round(median["ingress"] / theirs[0], 2),
        "egress_ratio": round(median["egress"] / theirs[1], 2),
        "chain_ratio": round(chain / sum(theirs), 2),
        "at_most": {"pop": POP_AT_MOST, "chain": CHAIN_AT_MOST},
    }
    print(
        f"visitors {arguments.visitors}, engine {arguments.engine}, {arguments.size} bytes, 64 at once"
    )
    for name, value in median.items():
        print(f"  {name:16} {value:7.1f} us CPU a request")
    print(
        f"  ingress / nghttpx {result['ingress_ratio']}, egress / nghttpx {result['egress_ratio']}"
        f" (at most {POP_AT_MOST})"
    )
    print(f"  chain / two nghttpx {result['chain_ratio']} (at most {CHAIN_AT_MOST})")
    print(f"  requests per second here: {result['per_second']}, failed: {result['failed']}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--engine", choices=["ngh2", "h2"], default="ngh2")
    parser.add_argument("--visitors", choices=["h1", "h1-tls", "h2"], default="h1")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    arguments = parser.parse_args()
    result = run(arguments)
    if arguments.output == "json":
        print(json.dumps(result))


if __name__ == "__main__":
    main()

"""CPU per request of the HTTP chain, as a ratio to nghttpx on the same machine in the same run.

    python -m benchmarks.http [--seconds 4] [--engine ngh2] [--visitors h1|h1-tls|h2] [--size 1024] [--rate 2000]

Ours:    h2load -> ingress -> egress -> connector -> nginx      (three processes of ours)
Theirs:  h2load -> nghttpx -> nghttpx -> nginx                   (two processes)

TLS between the hops on both, 64 requests at once, one process each. CPU is what /proc says of each process, user and
system; wall-clock figures say little on a shared machine and are not claims. Rounds alternate, so that both see the
same neighbours.
"""

from __future__ import annotations

import argparse
import base64
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
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from benchmarks.report import Row, show

TICK = os.sysconf("SC_CLK_TCK")
# What the project promises, as ratios to nghttpx.
POP_AT_MOST = 2.0
CHAIN_AT_MOST = 3.5
OVERLAY_PORT = 17843
TUNNEL_PORT = 17844


@dataclass(frozen=True)
class Options:
    """`h1`: as nghttpx's plain front-end; `h2`: eight TLS connections of eight streams."""

    seconds: float = 4.0
    rounds: int = 3
    size: int = 1024
    engine: str = "ngh2"
    visitors: str = "h1"
    rate: int = 0  # requests per second for both sides; 0: as fast as each can, which batches more


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
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
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


def load(port: int, visitors: str, requests: int, rate: int = 0) -> tuple[float, int]:
    """Make so many requests, 64 at once. Returns requests per second, and how many failed."""
    clients = 8 if visitors == "h2" else 64
    shape = {
        "h1": ["--h1", "-c64", f"http://127.0.0.1:{port}/index.html"],
        "h1-tls": ["--h1", "-c64", f"https://127.0.0.1:{port}/index.html"],
        "h2": ["-c8", "-m8", f"https://127.0.0.1:{port}/index.html"],
    }[visitors]
    pace = [f"--rps={rate / clients:g}"] if rate else []
    command = ["h2load", f"-n{requests}", *pace, *shape]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    rate = re.search(r"([\d.]+) req/s", output)
    codes = re.search(r"status codes: (\d+) 2xx", output)
    assert rate is not None, output
    assert codes is not None, output
    return float(rate[1]), requests - int(codes[1])


def measure(pids: dict[str, int], port: int, options: Options) -> Round:
    # h2load counts what it was asked to make, exactly; a first, short run warms up and tells how many that should be.
    rate, _ = load(port, options.visitors, 1000, options.rate)
    requests = max(1000, int(rate * options.seconds))
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    rate, failed = load(port, options.visitors, requests, options.rate)
    used = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    per_request = {name: cpu / requests * 1e6 for name, cpu in used.items()}
    return Round(requests, rate, per_request, failed)


def measure_both(options: Options) -> dict[str, list[Round]]:
    for tool in ("h2load", "nghttpx", "nginx"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not installed: apt install nghttp2 nginx-light")
    with (
        tempfile.TemporaryDirectory(prefix="popnet-bench-") as name,
        contextlib.ExitStack() as stack,
    ):
        directory = Path(name)
        certificates(directory)
        ports = free_ports(7)
        nginx_port, visitor, visitor_tls, their_first, their_tls, their_second, ready = ports
        stack.enter_context(origin(directory, nginx_port, options.size))
        ours = start_ours(stack, options, directory, (nginx_port, visitor, visitor_tls, ready))
        theirs = start_theirs(stack, directory, nginx_port, their_first, their_tls, their_second)
        plain = options.visitors == "h1"
        rounds: dict[str, list[Round]] = {"ours": [], "theirs": []}
        for _ in range(options.rounds):
            port = visitor if plain else visitor_tls
            rounds["ours"].append(measure(ours, port, options))
            port = their_first if plain else their_tls
            rounds["theirs"].append(measure(theirs, port, options))
    return rounds


def certificates(directory: Path) -> None:
    """One authority; a certificate for every role, all with RSA keys, as nghttpx gets them."""
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    authority.cert_pem.write_to_path(directory / "ca.pem")
    for file, names in (
        ("cert.pem", ("localhost", "127.0.0.1")),
        ("tunnel.pem", ("h2.cftunnel.com",)),
        ("A.pem", ("A",)),
        ("B.pem", ("B",)),
    ):
        issued = authority.issue_cert(*names, key_type=trustme.KeyType.RSA)
        issued.private_key_and_cert_chain_pem.write_to_path(directory / file)
        if file == "cert.pem":
            issued.private_key_pem.write_to_path(directory / "key.pem")
            for blob in issued.cert_chain_pems:
                blob.write_to_path(directory / "chain.pem", append=True)


def start_ours(
    stack: contextlib.ExitStack, options: Options, directory: Path, ports: tuple[int, ...]
) -> dict[str, int]:
    """Two PoPs and a connector on loopback, the programs of the lab with nothing between them."""
    origin_port, visitor, visitor_tls, ready = ports
    tunnel = {
        "name": "bench",
        "id": str(uuid.UUID(int=1)),
        "account_tag": "bench",
        "secret": base64.b64encode(b"s" * 32).decode(),
    }
    addresses = {"A": "127.0.0.1", "B": "127.0.0.2"}
    edges = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"]
    pids = {}
    for role, name in (("egress", "B"), ("ingress", "A")):
        config: dict[str, Any] = {
            "name": name,
            "address": addresses[name],
            "admin": str(directory / f"{name}.sock"),
            "engine": options.engine,
            "visitors": {
                "addresses": [addresses[name]],
                "http": visitor,
                "https": visitor_tls,
                "certificate": str(directory / "cert.pem"),
            },
            "overlay": {
                "certificate": str(directory / f"{name}.pem"),
                "ca": str(directory / "ca.pem"),
                "port": OVERLAY_PORT,
            },
            "pops": [{"name": n, "address": address} for n, address in addresses.items()],
            "neighbors": sorted(addresses.keys() - {name}),
            "hosts": {"127.0.0.1": {"tunnel": "bench"}},
            "tunnels": [tunnel],
        }
        if name == "B":
            config["tunnels_listen"] = {
                "addresses": edges,
                "port": TUNNEL_PORT,
                "certificate": str(directory / "tunnel.pem"),
            }
        file = directory / f"{name}.json"
        file.write_text(json.dumps(config))
        command = (sys.executable, "-m", "pops", "--config", str(file))
        pids[role] = stack.enter_context(running(*command)).pid
    parts = {"a": tunnel["account_tag"], "t": tunnel["id"], "s": tunnel["secret"]}
    token = base64.b64encode(json.dumps(parts).encode()).decode()
    command = (
        *(sys.executable, "-m", "tunnel_client", "tunnel", "--cacert", str(directory / "ca.pem")),
        *(option for edge in edges for option in ("--edge", f"{edge}:{TUNNEL_PORT}")),
        *("--metrics", f"127.0.0.1:{ready}", "run", "--token", token),
        *("--url", f"http://127.0.0.1:{origin_port}"),
    )
    pids["connector"] = stack.enter_context(running(*command)).pid
    wait_for_answer(visitor)
    return pids


def wait_for_answer(port: int, deadline_s: float = 15.0) -> None:
    """Until a request passes the whole chain."""
    end = time.monotonic() + deadline_s
    while True:
        with contextlib.suppress(OSError):
            answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/index.html", timeout=2)
            if answer.status == 200:
                return
        if time.monotonic() > end:
            raise SystemExit("the chain does not answer")
        time.sleep(0.1)


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


def rows(rounds: dict[str, list[Round]], options: Options) -> list[Row]:
    median: dict[str, float] = {}
    for side in rounds.values():
        for name in side[0].cpu_us:
            median[name] = statistics.median(one.cpu_us[name] for one in side)
    theirs = [median["nghttpx ingress"], median["nghttpx egress"]]
    chain = sum(median[name] for name in ("ingress", "egress", "connector"))
    failed = sum(one.failed for side in rounds.values() for one in side)
    pace = f"{options.rate}/s each" if options.rate else "as fast as each can"
    what = f"{options.size} B, visitors {options.visitors}, engine {options.engine}, {pace}"
    note = f"{what}; {failed} failed"
    return [
        *(Row(f"CPU a request, {name}", cpu, "us", None, what) for name, cpu in median.items()),
        Row("ingress PoP / nghttpx", median["ingress"] / theirs[0], "x", POP_AT_MOST, note),
        Row("egress PoP / nghttpx", median["egress"] / theirs[1], "x", POP_AT_MOST, note),
        Row("two PoPs and connector / two nghttpx", chain / sum(theirs), "x", CHAIN_AT_MOST, note),
    ]


def run() -> list[Row]:
    return [
        row
        for options in (Options(), Options(visitors="h2"), Options(rate=2000))
        for row in rows(measure_both(options), options)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=Options.seconds)
    parser.add_argument("--rounds", type=int, default=Options.rounds)
    parser.add_argument("--size", type=int, default=Options.size)
    parser.add_argument("--engine", choices=["ngh2", "h2"], default=Options.engine)
    parser.add_argument("--rate", type=int, default=Options.rate)
    parser.add_argument("--visitors", choices=["h1", "h1-tls", "h2"], default=Options.visitors)
    options = Options(**vars(parser.parse_args()))
    show(rows(measure_both(options), options))


if __name__ == "__main__":
    main()

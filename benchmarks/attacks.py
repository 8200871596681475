"""What floods cost other visitors, and what idle ones cost in memory.

    python -m benchmarks.attacks [WORD] [--engine ngh2] [--seconds 2] [--from one|many]

One PoP in a process of its own with uvloop, with its default limits, as the lab starts it; the attacker in a second
one; here a connector that answers at once, and visitors on four connections who ask 200 times a second. The attacker
waits until the measured seconds begin, so its first connection and all that follow lie within them. It sends each
flood whole, on one connection after the other, as soon as the last one was cut or refused, at most
`_CONNECTIONS_PER_S`.

    from one address       the PoP knows it after the first connection: `limits.penalty`
    from many addresses    `_MANY` of them in turn, and no penalty ends within the measured time: each connection
                           costs a TLS handshake. What that alone costs is the row "a handshake and nothing"

The bound is for one address: who has many, and honest handshakes, cost what TLS costs, and that is only reported.
The figure is p99 with the flood over the mean p99 of the rounds without it around it. From one address it is taken
three times, and the one in the middle counts: a machine stumbles now and then, with a flood and without. Of 400
requests p99 is the fifth slowest: what one connection does to a few requests once is not in it, what each of 20 a
second does is.
The attacker has its own machine in the real world, and here shares two cores with who measures: so it is run at the
lowest priority, and takes only time that nobody else wants. The rest is the PoP's. On a machine that does other work
the figure says little. What a PoP's CPU has to do for one connection of the flood, TLS included, is the same anywhere.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks.http import cpu_seconds
from benchmarks.report import Row, show
from tests.attacks import http1, http2
from tests.attacks.raw import PREFACE, frame, settings
from tests.pops.conftest import HOST, Connector, Edge, Exchange, Pki, Visitor, make_pki, reply

P99_AT_MOST = 2.0
IDLE_AT_MOST_MB = 60.0
IDLE = 1000
_PER_S = 200
_CONNECTIONS_PER_S = 20
_MANY = 64
_MODES = ("one", "many")
_TIMES = {"one": 3, "many": 1}
_MERELY = "a handshake and nothing"


def floods() -> dict[str, bytes]:
    """What is sent after preface and SETTINGS; the bytes of the table of attacks."""
    found = {_MERELY: b"", **dict(http2.flood_bytes())}
    found["chunks of one byte, HTTP/1.1"] = http1.tiny_chunks(200_000)
    return found


def _sources(name: str, mode: str, time_: int) -> list[str]:
    """Addresses that no other flood has, and this one no other time: their penalties would count."""
    number = list(floods()).index(name)
    if mode == "one":
        return [f"127.{time_}.{1 + number}.77"]
    return [f"127.{time_}.{101 + number}.{1 + n}" for n in range(_MANY)]


def attack(name: str, mode: str, time_: int, address: str, port: int) -> None:
    """The attacker's process: from when it is told to begin until it is told to end."""
    os.nice(19)
    data = floods()[name]
    plain = "HTTP/1.1" in name
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"] if plain else ["h2"])
    sources = itertools.cycle(_sources(name, mode, time_))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    while True:
        begun = time.monotonic()
        with contextlib.suppress(OSError):
            raw = socket.create_connection((address, port), 5, source_address=(next(sources), 0))
            with raw, context.wrap_socket(raw, server_hostname=HOST) as wire:
                sys.stdout.write(".")
                sys.stdout.flush()
                wire.settimeout(0.5)
                if data:
                    wire.sendall(data if plain else PREFACE + settings() + frame(4, 1, 0) + data)
                    while wire.recv(65536):
                        pass
        time.sleep(max(0.0, 1 / _CONNECTIONS_PER_S - (time.monotonic() - begun)))


async def _origin(request: Exchange) -> None:
    await request.whole()
    request.stream.send_headers(reply(200))
    request.stream.send_data(b"x" * 1024, end=True)


@contextlib.contextmanager
def _process(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def _pop(edge: Edge, directory: Path, engine: str) -> Iterator[subprocess.Popen[bytes]]:
    config = edge.config(
        "A", "A", [], engine=engine, limits={"connections_per_visitor": 2 * IDLE},
        admin=str(directory / "A.sock"),
    )  # fmt: skip
    file = directory / "A.json"
    file.write_bytes(msgspec.json.encode(config))
    with _process(sys.executable, "-m", "pops", "--config", str(file)) as process:
        end = time.monotonic() + 15
        while True:
            with (
                contextlib.suppress(OSError),
                socket.create_connection((edge.address("A"), edge.https)),
            ):
                break
            if time.monotonic() > end:
                raise SystemExit("the PoP does not start")
            time.sleep(0.05)
        yield process


async def _asked(visitors: list[Visitor], seconds: float) -> tuple[float, int]:
    """p99 in ms of requests made at a steady pace, and how many got no 200."""
    took: list[float] = []
    failed = 0

    async def one(visitor: Visitor) -> None:
        nonlocal failed
        begun = time.perf_counter()
        message = await visitor.fetch("/")
        took.append(time.perf_counter() - begun)
        failed += message.status != 200

    begun = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(seconds * _PER_S)):
            wait = begun + number / _PER_S - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            tasks.create_task(one(visitors[number % len(visitors)]))
    return statistics.quantiles(took, n=100)[98] * 1e3, failed


async def _measure(
    edge: Edge, pid: int, engine: str, seconds: float, names: list[str], modes: Sequence[str]
) -> list[Row]:
    client = uuid.uuid4()
    connectors = [Connector(_origin, index=index, client=client) for index in range(4)]
    for connector in connectors:
        await connector.dial(edge.address("A"), edge.tunnels, edge.pki / "ca.pem")
        await connector.registered()
    visitors = [await edge.visitor("A") for _ in range(4)]
    await _asked(visitors, 1.0)
    # Who measures is not to stop for what it collects.
    gc.collect()
    gc.disable()
    rows = []
    used = cpu_seconds(pid)
    before, _ = await _asked(visitors, seconds)
    usual = (cpu_seconds(pid) - used) / seconds
    for name, mode in itertools.product(names, modes):
        found: list[tuple[float, float]] = []
        failed = times = 0
        for_attacks = 0.0
        for time_ in range(_TIMES[mode]):
            arguments = ["--attack", name, mode, str(time_), edge.address("A"), str(edge.https)]
            with _process(sys.executable, "-m", "benchmarks.attacks", *arguments) as attacker:
                assert attacker.stdin is not None
                assert attacker.stdout is not None
                attacker.stdout.readline()
                used = cpu_seconds(pid)
                attacker.stdin.write(b"begin\n")
                attacker.stdin.flush()
                under, lost = await _asked(visitors, seconds)
                for_attacks += cpu_seconds(pid) - used - usual * seconds
            times += len(attacker.stdout.read())
            await asyncio.sleep(0.2)
            after, _ = await _asked(visitors, seconds)
            found.append((under, (before + after) / 2))
            before = after
            failed += lost
        under, normal = sorted(found, key=lambda each: each[0] / each[1])[len(found) // 2]
        place = "one address" if mode == "one" else f"{_MANY} addresses"
        ratios = ", ".join(f"{a / b:.1f}" for a, b in found)
        note = f"{engine}: {normal:.2f} ms, with it {under:.2f}; {ratios}; {failed} failed; {times} let in"
        bound = P99_AT_MOST if mode == "one" and name != _MERELY else None
        rows.append(Row(f"p99 under {name}, from {place}", under / normal, "x", bound, note))
        if times > len(found) * seconds:
            cost = for_attacks / times * 1e3
            rows.append(Row(f"PoP's CPU for a connection of {name}", cost, "ms", None, engine))
    for connector in connectors:
        connector.close()
    for visitor in visitors:
        visitor.http2.close()
    return rows


def _memory_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise AssertionError


def _idle(edge: Edge, pid: int, engine: str, protocol: str) -> Row:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    before = _memory_mb(pid)
    with contextlib.ExitStack() as held:
        for _ in range(IDLE):
            raw = socket.create_connection((edge.address("A"), edge.https))
            wire = held.enter_context(context.wrap_socket(raw, server_hostname=HOST))
            if protocol == "h2":
                wire.sendall(PREFACE + settings() + frame(4, 1, 0))
                wire.recv(65536)
        time.sleep(0.5)
        after = _memory_mb(pid)
    return Row(
        f"{IDLE} idle visitors, {protocol} over TLS", after - before, "MB", IDLE_AT_MOST_MB, engine
    )


def measure(
    engine: str, seconds: float, word: str = "", modes: Sequence[str] = _MODES
) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="popnet-bench-") as name:
        directory = Path(name)
        pki: Pki = make_pki(directory)
        edge = Edge(pki)
        names = [flood for flood in floods() if word.lower() in flood.lower()]
        rows = []
        for protocol in ("h2", "http/1.1") if word in ("", "idle") else ():
            with _pop(edge, directory, engine) as process:
                rows.append(_idle(edge, process.pid, engine, protocol))
        with _pop(edge, directory, engine) as process:
            return rows + asyncio.run(_measure(edge, process.pid, engine, seconds, names, modes))


def run() -> list[Row]:
    return [row for engine in ("ngh2", "h2") for row in measure(engine, 2.0)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("word", nargs="?", default="", help="only floods with this in their name")
    parser.add_argument("--engine", choices=["ngh2", "h2"], default="ngh2")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--from", dest="mode", choices=_MODES, help="one address, or many")
    parser.add_argument("--attack", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.attack is not None:
        name, mode, time_, address, port = given.attack
        attack(name, mode, int(time_), address, int(port))
    modes = _MODES if given.mode is None else (given.mode,)
    show(measure(given.engine, given.seconds, given.word, modes))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()

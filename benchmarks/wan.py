"""The WAN: CPU per packet, RTT error beside a veth pair, and what 300 attached nodes cost over 20.

`python -m benchmarks.wan`. CPU is that of the wan process, kernel work included; the packets are UDP of
1400 bytes. Everything compared runs in turns within one run. Only namespaces made here see traffic.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping

from benchmarks.report import Row, show
from benchmarks.wan_rig import Rig, apart, become_root, pinger, udp
from wan.agent.linux import CLONE_NEWNET, unshare
from wan.packet import checksum

_PAYLOAD = bytes(1400 - 28)
_PORT = 4000
_PAIRS = 10
_ROUNDS = 7
_PACKETS = 12_000
_PER_S, _BURST = 40_000, 20
# Traffic so thin that every packet wakes the process twice: what an idle lab pays.
_THIN_PACKETS = 2_000
_THIN_PER_S = 2_000

_DELAYS_MS = (5, 50, 150)
_ECHOES = 100
_ECHO_EVERY_S = 0.02

_PLAIN = {"one_way_s": 0.005}
_IMPAIRED = {
    "one_way_s": 0.005,
    "jitter_s": 0.001,
    "jitter_correlation": 0.25,
    "loss": 0.001,
    "burst": {"enter": 0.0001, "leave": 0.3},
    "rate_bps": 1e9,
    "reorder": 0.001,
    "duplicate": 0.001,
}


class Traffic:
    """UDP from n0 to n1, n2 to n3 ... of a rig, sent at a steady rate and read at once."""

    def __init__(self, rig: Rig, nodes: int) -> None:
        self.rig = rig
        self._ways: list[tuple[socket.socket, socket.socket, tuple[str, int]]] = []
        for pair in range(_PAIRS):
            source, destination = f"n{2 * pair}", f"n{2 * pair + 1}"
            (sender,) = rig.attach(source, udp)
            (receiver,) = rig.attach(destination, udp)
            receiver.bind((rig.address(destination), _PORT))
            sender.bind((rig.address(source), 50_000))
            self._ways.append((sender, receiver, (rig.address(destination), _PORT)))
        for node in range(2 * _PAIRS, nodes):
            rig.attach(f"n{node}")

    def shape(self, fields: Mapping[str, object]) -> None:
        changes = [
            {"from": f"n{2 * n}", "to": f"n{2 * n + 1}", "set": fields} for n in range(_PAIRS)
        ]
        self.rig.ask(op="reset", pairs=None)
        self.rig.ask(op="set", changes=changes)

    def run(self, packets: int, per_s: int = _PER_S, size: int = _BURST) -> tuple[float, float]:
        """CPU microseconds per packet, and the share that arrived; sent in bursts of `size`.

        Only packets that the WAN has read count: on a busy machine a device's queue may overflow before.
        """
        seen, before, arrived = self._packets(), self.rig.cpu_s(), 0
        begin = time.monotonic()
        for burst in range(packets // size):
            sender, receiver, to = self._ways[burst % _PAIRS]
            for _ in range(size):
                sender.sendto(_PAYLOAD, to)
            arrived += _drain(receiver)
            while time.monotonic() < begin + burst * size / per_s:
                pass
        time.sleep(0.1)
        arrived += sum(_drain(receiver) for _, receiver, _ in self._ways)
        spent = self.rig.cpu_s() - before
        return spent / (self._packets() - seen) * 1e6, arrived / packets

    def _packets(self) -> int:
        count: int = self.rig.ask(op="status")["packets"]
        return count


def _wake_up_us() -> float:
    """CPU of one bare sleep of 0.5 ms: what the machine takes whatever the program (much, if it is virtual)."""
    with select.epoll() as nothing:
        before, count = time.process_time(), 500
        for _ in range(count):
            select.select([nothing], [], [], 0.0005)
        return (time.process_time() - before) / count * 1e6


def _drain(receiver: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while receiver.recv(2048):
            count += 1
    return count


def _cpu() -> dict[str, float]:
    become_root()
    internet = {"defaults": {"rate_mbit": 1000}}
    figures: dict[str, list[float]] = {"plain": [], "impaired": [], "300": [], "thin": []}
    arrived = []
    with Rig(20, internet) as few_rig, Rig(300, internet) as many_rig:
        few, many = Traffic(few_rig, 20), Traffic(many_rig, 300)
        few.run(_PACKETS // 4)
        many.run(_PACKETS // 4)
        many.shape(_PLAIN)
        for _ in range(_ROUNDS):
            few.shape(_PLAIN)
            cost, share = few.run(_PACKETS)
            figures["plain"].append(cost)
            arrived.append(share)
            figures["300"].append(many.run(_PACKETS)[0])
            figures["thin"].append(few.run(_THIN_PACKETS, _THIN_PER_S, 1)[0])
            few.shape(_IMPAIRED)
            figures["impaired"].append(few.run(_PACKETS)[0])
        late = few_rig.ask(op="status")["lateness"]
    medians = {name: statistics.median(values) for name, values in figures.items()}
    best = {f"{name} min": min(values) for name, values in figures.items()}
    # Each pair of runs lies side by side in time, the machine's mood does not enter their ratio.
    ratios = [many / few for many, few in zip(figures["300"], figures["plain"], strict=True)]
    medians["ratio"] = statistics.median(ratios)
    return {**medians, **best, "arrived": min(arrived), "late_p99_ms": late["p99_s"] * 1e3}


@contextlib.contextmanager
def _veth() -> Iterator[socket.socket]:
    """A pinger at one end of a veth pair; 192.0.2.2 is the other."""
    unshare(CLONE_NEWNET)
    other = subprocess.Popen(["unshare", "--net", "sleep", "60"])
    try:
        ours = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{other.pid}/ns/net") == ours:
            time.sleep(0.001)
        inside = ["nsenter", "--net", "--target", str(other.pid)]
        for command in (
            [
                "ip",
                "link",
                "add",
                "v0",
                "type",
                "veth",
                "peer",
                "name",
                "v1",
                "netns",
                str(other.pid),
            ],
            ["ip", "address", "add", "192.0.2.1/24", "dev", "v0"],
            ["ip", "link", "set", "v0", "up"],
            [*inside, "ip", "address", "add", "192.0.2.2/24", "dev", "v1"],
            [*inside, "ip", "link", "set", "v1", "up"],
        ):
            subprocess.run(command, check=True)
        (sock,) = pinger()
        yield sock
    finally:
        other.terminate()
        other.wait()


class Echoes:
    """RTTs of ICMP echoes that are sent without waiting for one another."""

    def __init__(self, sock: socket.socket, to: str, ident: int) -> None:
        self.sock = sock
        self._to = (to, 0)
        self._ident = ident
        self._sent: dict[int, float] = {}
        self.rtts: list[float] = []

    def send(self) -> None:
        sequence = len(self._sent)
        body = struct.pack("!BBHHH", 8, 0, 0, self._ident, sequence) + bytes(56)
        body = body[:2] + checksum(body).to_bytes(2) + body[4:]
        self._sent[sequence] = time.monotonic()
        self.sock.sendto(body, self._to)

    def receive(self) -> None:
        now = time.monotonic()
        with contextlib.suppress(BlockingIOError):
            while packet := self.sock.recv(2048):
                kind, ident, sequence = packet[20], *struct.unpack_from("!HH", packet, 24)
                if kind == 0 and ident == self._ident:
                    self.rtts.append(now - self._sent[sequence])


def _error() -> dict[str, float]:
    become_root()
    with Rig(2 * len(_DELAYS_MS), {"defaults": {"rate_mbit": 1000}}) as rig, _veth() as veth:
        runs = {"veth": Echoes(veth, "192.0.2.2", 1)}
        declared = {"veth": 0.0}
        for number, delay_ms in enumerate(_DELAYS_MS):
            source, destination = f"n{2 * number}", f"n{2 * number + 1}"
            (sock,) = rig.attach(source, pinger)
            rig.attach(destination)
            fields = {"from": source, "to": destination, "both": True}
            rig.ask(op="set", changes=[{**fields, "set": {"one_way_s": delay_ms / 1e3}}])
            runs[f"{delay_ms} ms"] = Echoes(sock, rig.address(destination), number + 2)
            declared[f"{delay_ms} ms"] = 2 * delay_ms / 1e3
        for echoes in runs.values():
            _echo(echoes, 10)
            echoes.rtts.clear()
        # In turns: a veth echo after each of the others, for the machine's mood changes by the second.
        for name in list(runs)[1:]:
            _echo(runs["veth"], _ECHOES // 3)
            _echo(runs[name], _ECHOES)
        return {
            f"{name} {quantile}": value
            for name, echoes in runs.items()
            for quantile, value in _quantiles(echoes.rtts, declared[name]).items()
        }


def _echo(echoes: Echoes, count: int) -> None:
    wanted = len(echoes.rtts) + count
    sent, begin = 0, time.monotonic()
    deadline = begin + count * _ECHO_EVERY_S + 2.0
    while len(echoes.rtts) < wanted and (now := time.monotonic()) < deadline:
        if sent < count and now >= begin + sent * _ECHO_EVERY_S:
            echoes.send()
            sent += 1
        left = max(0.0, begin + sent * _ECHO_EVERY_S - time.monotonic()) if sent < count else 1.0
        if select.select([echoes.sock], [], [], left)[0]:
            echoes.receive()


def _quantiles(rtts: list[float], declared: float) -> dict[str, float]:
    errors = sorted((rtt - declared) * 1e3 for rtt in rtts)
    return {"p50": statistics.median(errors), "p99": errors[int(0.99 * (len(errors) - 1))]}


def run() -> list[Row]:
    cpu = apart(_cpu)
    error = apart(_error)
    load = f"{_PER_S} a second"
    arrived = f"{cpu['arrived'] * 100:.1f} % arrived"

    thin = f"{_THIN_PER_S} a second; a bare wake-up here: {_wake_up_us():.0f} us"

    def best(name: str) -> str:
        return f"least of {_ROUNDS}: {cpu[f'{name} min']:.1f}"

    rows = [
        Row(
            "wan: CPU per packet, delay and rate",
            cpu["plain"],
            "us",
            15,
            f"{load}, {best('plain')}",
        ),
        Row("wan: CPU per packet, all impairments", cpu["impaired"], "us", 15, best("impaired")),
        Row("wan: 300 nodes over 20, CPU per packet", cpu["ratio"], "ratio", 1.1),
        Row("wan: CPU per packet, thin", cpu["thin"], "us", None, thin),
        Row("wan: lateness p99 of all this", cpu["late_p99_ms"], "ms", None, arrived),
        Row(
            "wan: veth pair, RTT p50", error["veth p50"], "ms", None, f"p99 {error['veth p99']:.3f}"
        ),
    ]
    for delay_ms in _DELAYS_MS:
        above = error[f"{delay_ms} ms p50"] - error["veth p50"]
        note = f"p99 {error[f'{delay_ms} ms p99']:.3f}"
        name = f"wan: RTT error p50 above veth, {delay_ms} ms one-way"
        rows.append(Row(name, above, "ms", 0.4, note))
    return rows


if __name__ == "__main__":
    show(run())
    sys.exit(0)

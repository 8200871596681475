"""Real packets of real programs: namespaces, TUN devices, the wan process, ping, traceroute, TCP.

Everything happens in network namespaces made here; waiting is for events and answers, never by sleeping.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from topology.load import parse_world
from topology.plan import Plan
from wan.tun import tun_path

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
WORLD = {
    "popnet": 1,
    "pops": {"LHR": {"region": 1}, "NRT": {"region": 2}},
    "visitors": ["tokyo", "london"],
    "sites": {"dublin": {}},
    "internet": {
        "rtt_ms": {
            "LHR": {"NRT": 60},
            "tokyo": {"NRT": 10, "LHR": 70, "dublin": 80, "london": 50},
            "london": {"LHR": 6, "NRT": 55},
            "dublin": {"LHR": 8, "NRT": 64},
        },
        "defaults": {"rate_mbit": 1000},
    },
    "anycast": {"convergence": "500ms"},
}
DEADLINE_S = 20.0


def why_not() -> str:
    """The reason why this machine cannot run these tests; empty when it can."""
    for program in ("ip", "ping", "traceroute", "unshare", "nsenter"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if not os.access(tun_path(), os.R_OK | os.W_OK):
        return f"{tun_path()} cannot be opened by this user (see POPNET_TUN)"
    trial = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    return f"no network namespace: {trial.stderr.strip()}" if trial.returncode else ""


AS_ROOT = os.geteuid() == 0
UNSHARE = ["unshare", *([] if AS_ROOT else ["--user", "--map-root-user"]), "--net"]
NSENTER = ["nsenter", *([] if AS_ROOT else ["--user", "--preserve-credentials"]), "--net"]


class World:
    def __init__(self, run: Path) -> None:
        self.plan = Plan.of(parse_world(json.dumps(WORLD)))
        self._run = run
        self.socket = str(run / "wan.sock")
        (run / "world.json").write_bytes(self.plan.to_json())
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        self.start_wan()

    def start_wan(self) -> None:
        path = str(self._run / "notify")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(path)
            ready.settimeout(DEADLINE_S)
            self.wan = subprocess.Popen(
                [sys.executable, "-m", "wan", "--socket", self.socket, *self._files()],
                env={**self._environment, "NOTIFY_SOCKET": path},
            )
            try:
                assert ready.recv(100) == b"READY=1"
            except TimeoutError:
                self.close()
                raise

    def _files(self) -> list[str]:
        return [
            "--world",
            str(self._run / "world.json"),
            "--events",
            str(self._run / "events.jsonl"),
        ]

    def attach(self, *names: str) -> None:
        for name in names:
            anycast = [group.address for group in self.plan.anycast if name in group.members]
            self.agents[name] = subprocess.Popen(
                [*UNSHARE, sys.executable, "-m", "wan.attach", "--node", name, "--wan", self.socket]
                + ["--address", self.address(name)]
                + [word for address in anycast for word in ("--anycast", address)]
                + ["--", "sleep", "600"],
                env=self._environment,
            )
        pops = [name for name in names if self.plan.nodes[name].kind == "pop"]
        self.until(lambda: all(self.node(name)["attached"] for name in names))
        self.until(lambda: all(self.node(name)["announced"] for name in pops))

    def until(self, condition: Any) -> None:
        """Ask until it is so. The question is a round trip to the wan process, which paces this."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, self.ask(op="status")
            time.sleep(0.01)

    def ask(self, **request: object) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE_S)
            client.connect(self.socket)
            client.sendall(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(client.makefile().readline())
        assert answer["ok"], answer
        return answer

    def node(self, name: str) -> dict[str, Any]:
        return next(row for row in self.ask(op="status")["nodes"] if row["node"] == name)

    def counters(self, source: str, destination: str) -> dict[str, Any]:
        row: dict[str, Any] = self.ask(op="links", pairs=[[source, destination]])["links"][0]
        counters: dict[str, Any] = row["counters"]
        return counters

    def set(self, source: str, destination: str, **fields: object) -> None:
        change = {"from": source, "to": destination, "both": True, "set": fields}
        self.ask(op="set", changes=[change])

    def address(self, name: str) -> str:
        return self.plan.nodes[name].address

    def inside(self, node: str, *command: str) -> list[str]:
        """In the agent's namespace: unshare became the agent by exec."""
        return [*NSENTER, "--target", str(self.agents[node].pid), *command]

    def run(self, node: str, *command: str) -> str:
        done = subprocess.run(
            self.inside(node, *command),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        return done.stdout + done.stderr

    def ping(self, source: str, to: str, *options: str) -> list[float]:
        """RTTs in ms of those that came back."""
        text = self.run(source, "ping", "-n", "-c5", "-i0.05", "-W5", *options, to)
        return [float(found) for found in re.findall(r"time=([\d.]+)", text)]

    @contextlib.contextmanager
    def python(self, node: str, code: str) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            self.inside(node, sys.executable, "-c", code),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def close(self) -> None:
        for process in (*self.agents.values(), self.wan):
            process.terminate()
        for process in (*self.agents.values(), self.wan):
            try:
                process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if reason := why_not():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="popnet-") as run:
        made = World(Path(run))
        try:
            made.attach(*made.plan.nodes)
            yield made
        finally:
            made.close()


@pytest.fixture(autouse=True)
def as_declared(world: World) -> None:
    world.ask(op="reset", pairs=None)


def test_ping_takes_the_declared_time(world: World) -> None:
    for source, to, declared in (
        ("tokyo", "NRT", 10.0),
        ("LHR", "NRT", 60.0),
        ("dublin", "tokyo", 80.0),
    ):
        rtts = world.ping(source, world.address(to))
        assert len(rtts) == 5
        assert declared <= min(rtts) < declared + 3


def test_a_change_shows_at_once(world: World) -> None:
    world.set("LHR", "NRT", rtt_s=0.2)
    assert 200 <= min(world.ping("LHR", world.address("NRT"))) < 203


def test_traceroute_shows_both_routers(world: World) -> None:
    text = world.run("tokyo", "traceroute", "-n", "-q1", "-w2", world.address("LHR"))
    hops = re.findall(r"^\s*\d+\s+(\S+)\s+([\d.]+) ms", text, re.MULTILINE)
    assert [address for address, _ in hops] == ["198.19.0.3", "198.19.0.1", world.address("LHR")]
    assert float(hops[0][1]) < 10
    assert float(hops[1][1]) >= 70


def test_a_short_lived_packet_finds_the_router_of_the_anycast_pop(world: World) -> None:
    text = world.run("tokyo", "ping", "-n", "-c1", "-t2", "198.18.0.1")
    assert "From 198.19.0.2" in text
    assert "Time to live exceeded" in text


def test_nobody_there_is_unreachable(world: World) -> None:
    assert "Destination Net Unreachable" in world.run(
        "tokyo", "ping", "-n", "-c1", "-W2", "192.0.2.1"
    )


def test_the_mtu_of_a_path_is_discovered(world: World) -> None:
    world.set("tokyo", "NRT", mtu=1000)
    text = world.run("tokyo", "ping", "-n", "-c1", "-W1", "-Mdo", "-s1200", world.address("NRT"))
    assert "mtu = 1000" in text
    assert len(world.ping("tokyo", world.address("NRT"), "-Mdont", "-s1200")) == 5


SERVE = """
import socket, hashlib
server = socket.create_server(("0.0.0.0", 5000))
print("listening", flush=True)
while True:
    connection, _ = server.accept()
    digest = hashlib.sha256()
    while data := connection.recv(65536):
        digest.update(data)
    connection.sendall(digest.hexdigest().encode())
    connection.close()
"""
SEND = """
import socket, hashlib, time
data = bytes(range(256)) * {kilobytes} * 4
connection = socket.create_connection(("{address}", 5000), timeout={timeout})
begin = time.monotonic()
connection.settimeout(15)
connection.sendall(data)
connection.shutdown(socket.SHUT_WR)
same = connection.recv(100).decode() == hashlib.sha256(data).hexdigest()
print(same, time.monotonic() - begin)
"""


def send(world: World, source: str, to: str, kilobytes: int, timeout: float = 5) -> str:
    code = SEND.format(kilobytes=kilobytes, address=world.address(to), timeout=timeout)
    return world.run(source, sys.executable, "-c", code)


def test_tcp_comes_through_whole(world: World) -> None:
    with world.python("NRT", SERVE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "listening\n"
        assert send(world, "tokyo", "NRT", 2000).startswith("True")
        world.set("tokyo", "NRT", mtu=1000, loss=0.01, jitter_s=0.001, duplicate=0.01, reorder=0.01)
        assert send(world, "tokyo", "NRT", 300).startswith("True")
        counters = world.counters("tokyo", "NRT")
        assert counters["drops"]["loss"] > 0
        assert counters["duplicates"] > 0


def test_tcp_gets_the_rate_of_the_link(world: World) -> None:
    with world.python("NRT", SERVE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "listening\n"
        world.set("tokyo", "NRT", rate_bps=10e6)
        same, seconds = send(world, "tokyo", "NRT", 2000).split()
        goodput = 2000 * 1024 * 8 / float(seconds)
        assert same == "True"
        assert 0.8 * 10e6 < goodput < 10e6


def test_nobody_connects_to_a_private_site_and_it_connects_to_anybody(world: World) -> None:
    before = world.counters("tokyo", "dublin")["drops"].get("unsolicited", 0)
    with world.python("dublin", SERVE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "listening\n"
        assert "timed out" in send(world, "tokyo", "dublin", 1, timeout=1)
        assert "timed out" in send(world, "NRT", "dublin", 1, timeout=1)
    assert world.counters("tokyo", "dublin")["drops"]["unsolicited"] > before
    assert world.ping("tokyo", world.address("dublin")) == []
    with world.python("tokyo", SERVE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "listening\n"
        assert send(world, "dublin", "tokyo", 100).startswith("True")


def test_vanishing_is_silence(world: World) -> None:
    world.ask(op="vanish", node="NRT", on=True)
    try:
        assert world.ping("london", world.address("NRT")) == []
    finally:
        world.ask(op="vanish", node="NRT", on=False)
    assert len(world.ping("london", world.address("NRT"))) == 5


def landing(world: World, visitor: str) -> str | None:
    rows = world.ask(op="catchment", address=None)["rows"]
    lands: str | None = next(row["lands"] for row in rows if row["visitor"] == visitor)
    return lands


def open_devices(pid: int) -> int:
    """How many TUN devices a process holds. Its other files may come and go while we look."""
    found = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += os.readlink(link) == tun_path()
    return found


def test_a_dead_pop_hands_its_visitors_over(world: World) -> None:
    assert min(world.ping("tokyo", "198.18.0.1")) < 20
    with world.agents.pop("NRT") as agent:
        agent.kill()
    try:
        world.until(lambda: not world.node("NRT")["attached"])
        world.until(lambda: open_devices(world.wan.pid) == len(world.agents))
        world.until(lambda: landing(world, "tokyo") == "LHR")
        assert min(world.ping("tokyo", "198.18.0.1")) >= 70
    finally:
        world.attach("NRT")
    assert landing(world, "tokyo") == "NRT"
    assert min(world.ping("tokyo", "198.18.0.1")) < 20


def test_a_wan_that_is_killed_and_comes_back_gets_its_nodes_back(world: World) -> None:
    world.wan.send_signal(signal.SIGKILL)
    world.wan.wait()
    world.start_wan()
    world.until(lambda: all(row["attached"] for row in world.ask(op="status")["nodes"]))
    world.until(lambda: landing(world, "tokyo") == "NRT")
    assert len(world.ping("tokyo", "198.18.0.1")) == 5
    assert len(world.ping("dublin", world.address("LHR"))) == 5


def test_the_idle_noise_of_devices_is_not_counted(world: World) -> None:
    assert all(row["drops"].get("ipv6", 0) == 0 for row in world.ask(op="status")["nodes"])


def test_a_capture_is_what_tcpdump_reads(world: World, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_S)
        client.connect(world.socket)
        client.sendall(b'{"op":"capture","pair":["tokyo","NRT"]}\n')
        with client.makefile("rb") as stream:
            assert json.loads(stream.readline()) == {"ok": True}
            assert len(world.ping("tokyo", world.address("NRT"))) == 5
            file = tmp_path / "capture.pcap"
            file.write_bytes(stream.read(24 + 10 * (16 + 84)))
    if shutil.which("tcpdump") is None:
        pytest.skip("tcpdump is not installed")
    text = subprocess.run(
        ["tcpdump", "-nr", str(file)], capture_output=True, text=True, check=True
    ).stdout
    assert text.count("ICMP echo request") == text.count("ICMP echo reply") == 5

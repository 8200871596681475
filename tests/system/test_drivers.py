"""What every driver promises: the same commands, the same answers, whatever the nodes are made of."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from .conftest import SMALL_WORLD, Popnet
from .driver_rigs import RIGS, Rig

# Building an image for the first time takes minutes.
pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

URL = "https://app.example.com/"


class Running:
    """One lab, by its commands alone."""

    def __init__(self, rig: Rig, name: str) -> None:
        self.rig, self.name = rig, name

    def __call__(self, command: str, *arguments: str, code: int | None = 0) -> str:
        return self.rig.popnet(command, "-n", self.name, *arguments, code=code)

    def json(self, command: str, *arguments: str) -> Any:
        return json.loads(self(command, *arguments, "-o", "json"))

    def exec(self, node: str, *command: str, code: int | None = 0) -> str:
        return self("exec", node, "--", *command, code=code)

    def popen(self, command: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        return self.rig.popnet.popen(command, "-n", self.name, *arguments, **options)

    def get(self, visitor: str, *options: str, code: int | None = 0) -> str:
        return self("curl", "--from", visitor, URL, "-sS", "-m", "5", *options, code=code)

    def ingress(self, visitor: str) -> str | None:
        told = self.get(visitor, "-o", "/dev/null", "-w", "%{http_code} %header{cf-ray}", code=None)
        status, _, ray = told.partition(" ")
        return ray.rpartition("-")[2] if status == "200" else None

    def connections(self) -> int:
        return sum(one["ready"] for one in self.json("status")["connectors"])

    def rtt_ms(self, source: str, destination: str) -> float:
        said = self.exec(source, "ping", "-c3", "-i0.2", destination)
        found = re.search(r"= ([\d.]+)/", said)
        assert found is not None, said
        return float(found[1])


def until(holds: Callable[[], bool], what: str, patience_s: float = 30.0) -> None:
    give_up = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < give_up, f"not within {patience_s} s: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="module", params=sorted(RIGS, reverse=True))
def rig(request: pytest.FixtureRequest, popnet: Popnet) -> Rig:
    return RIGS[request.param](popnet)


@pytest.fixture(scope="module")
def lab(rig: Rig, world: Path) -> Iterator[Running]:
    name = f"c{os.getpid()}"
    rig.popnet("up", str(world), "-n", name, "--detach", "--driver", rig.driver)
    yield Running(rig, name)
    rig.popnet("down", "-n", name, code=None)
    assert rig.left(name) == []


def test_status(lab: Running) -> None:
    assert lab("status").startswith(f"{lab.name}  ready  3/3 PoPs  4/4 tunnel connections (")
    told = lab.json("status")
    nodes = {node["name"]: node for node in told["nodes"]}
    assert set(nodes) == {"LHR", "FRA", "IAD", "london", "new-york", "dublin"}
    assert all(node["ready"] for node in nodes.values())
    (connector,) = told["connectors"]
    assert len(set(connector["pops"])) == 2


def test_a_second_lab_of_one_name_is_refused_and_harms_nothing(lab: Running, world: Path) -> None:
    lab.rig.popnet("up", str(world), "-n", lab.name, "-d", "--driver", lab.rig.driver, code=2)
    assert "3/3 PoPs" in lab("status")


def test_a_program_in_a_node(lab: Running) -> None:
    assert lab.exec("london", "hostname").strip() == "london"
    assert set(re.findall(r"^(\S+)", lab.exec("london", "ip", "-br", "addr"), re.M)) == {
        "lo",
        "wan0",
    }
    lab.exec("london", "sh", "-c", "exit 7", code=7)
    lab.exec("london", "no-such-program", code=127)
    with lab.popen("exec", "london", "--", "sort", "-r", stdin=subprocess.PIPE) as process:
        output, _ = process.communicate("a\nb\n", timeout=30)
    assert output == "b\na\n"


def test_a_program_ends_with_its_command(lab: Running) -> None:
    with lab.popen("exec", "london", "--", "sh", "-c", "echo on; exec sleep 60") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode != 0
    until(lambda: "sleep 60" not in processes(lab, "london"), "the program has ended")


def processes(lab: Running, node: str) -> str:
    script = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done 2>/dev/null; true"
    return lab.exec(node, "sh", "-c", script)


def test_names_and_echoes(lab: Running) -> None:
    assert lab.exec("london", "dig", "+short", "app.example.com").strip() == "198.18.0.1"
    srv = lab.exec("dublin", "dig", "+short", "SRV", "_v2-origintunneld._tcp.argotunnel.com")
    assert "region1.v2.argotunnel.com" in srv
    assert abs(lab.rtt_ms("london", "LHR") - 4.0) < 2
    assert abs(lab.rtt_ms("new-york", "FRA") - 26.0) < 2


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_a_request(lab: Running, version: str) -> None:
    assert "hello from dublin" in lab.get("london", version)
    assert lab.ingress("london") == "LHR"
    assert lab.ingress("new-york") == "IAD"


def test_trace(lab: Running) -> None:
    told = lab.json("trace", "--from", "new-york", URL)
    assert told["status"] == 200
    assert told["path"][0] == told["ingress"] == "IAD"
    assert told["egress"] in ("LHR", "FRA")
    assert told["emulated_ms"] > 20


def test_catchment_and_links(lab: Running) -> None:
    rows = {row["visitor"]: row["lands"] for row in lab.json("catchment")}
    assert rows == {"london": "LHR", "new-york": "IAD"}


def test_a_link_changes_at_once(lab: Running) -> None:
    lab.rig.popnet("link", "set", "LHR", "IAD", "--rtt", "60ms", "-n", lab.name)
    try:
        assert abs(lab.rtt_ms("LHR", "IAD") - 60) < 3
    finally:
        lab.rig.popnet("link", "reset", "LHR", "IAD", "-n", lab.name)
    assert abs(lab.rtt_ms("LHR", "IAD") - 20) < 3


def test_nobody_reaches_a_private_site(lab: Running) -> None:
    listen = (
        "import socket\n"
        "server = socket.create_server(('0.0.0.0', 9999))\n"
        "print('listening', flush=True)\n"
        "server.accept()\n"
    )
    dial = (
        "import socket, sys\n"
        "try: socket.create_connection((sys.argv[1], 9999), 0.7)\n"
        "except OSError: sys.exit(9)\n"
    )
    nodes = {node["name"]: node["address"] for node in lab.json("status")["nodes"]}
    with lab.popen("exec", "dublin", "--", "python3", "-c", listen) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        try:
            for node in ("london", "LHR"):
                lab.exec(node, "python3", "-c", dial, nodes["dublin"], code=9)
            lab.exec("dublin", "python3", "-c", dial, "127.0.0.1")
        finally:
            process.kill()
            process.communicate(timeout=20)


def test_killed_and_started_again(lab: Running) -> None:
    lab("kill", "LHR")
    try:
        until(lambda: lab.ingress("london") == "FRA", "london enters elsewhere")
        until(lambda: lab.connections() == 4, "the connector has found other PoPs")
    finally:
        lab("start", "LHR")
    until(lambda: lab.ingress("london") == "LHR", "london enters at LHR again")
    events = [json.loads(line) for line in lab("events", "-o", "json").splitlines()]
    assert {"withdrawn", "announced"} <= {one["event"] for one in events if one["node"] == "LHR"}


def test_paused_and_resumed(lab: Running) -> None:
    lab("pause", "IAD")
    try:
        assert lab.ingress("new-york") is None
        assert lab.rtt_ms("new-york", "IAD") < 10, "its kernel still answers"
    finally:
        lab("resume", "IAD")
    until(lambda: lab.ingress("new-york") == "IAD", "IAD serves again")


def test_vanished(lab: Running) -> None:
    lab("vanish", "IAD")
    try:
        lab.exec("new-york", "ping", "-c1", "-W1", "IAD", code=1)
    finally:
        lab("start", "IAD")
    assert lab.rtt_ms("new-york", "IAD") < 10


def test_the_wan_process_dies(lab: Running) -> None:
    starts = lab.json("status")["wan"]["starts"]
    lab.rig.popnet("link", "set", "LHR", "FRA", "--rtt", "44ms", "-n", lab.name)
    try:
        lab.rig.kill_wan(lab.name)
        until(lambda: lab.json("status")["wan"]["starts"] > starts, "another one has started")
        until(lambda: all(one["ready"] for one in lab.json("status")["nodes"]), "all are attached")
        assert abs(lab.rtt_ms("LHR", "FRA") - 44) < 3, "what people had set outlives it"
        until(lambda: lab.ingress("london") == "LHR", "requests are answered")
    finally:
        lab.rig.popnet("link", "reset", "LHR", "FRA", "-n", lab.name)
    until(lambda: lab.connections() == 4, "the connector is complete")


def test_capture(lab: Running, tmp_path: Path) -> None:
    path = tmp_path / "london.pcap"
    with lab.popen("capture", "london", "-w", str(path)) as process:
        until(lambda: path.exists() and path.stat().st_size >= 24, "the head of the file")
        lab.exec("london", "ping", "-c1", "LHR")
        until(lambda: path.stat().st_size > 24, "packets")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert path.read_bytes()[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1")


def test_logs_and_metrics(lab: Running) -> None:
    lab("logs", "LHR")
    merged = lab("metrics")
    assert 'node="LHR"' in merged
    assert 'node="dublin"' in merged


def test_fidelity(lab: Running) -> None:
    told = lab.json("fidelity")
    assert told["ok"]
    assert len(told["pairs"]) >= 3
    assert all(one["echoes"] >= 30 for one in told["pairs"])


def test_fidelity_of_links_with_jitter(lab: Running) -> None:
    lab.rig.popnet("link", "set", "LHR", "IAD", "--jitter", "1ms", "-n", lab.name)
    try:
        # Sixty echoes with so much jitter may be off by luck: which figure is judged is what counts here.
        told = json.loads(lab("fidelity", "-c", "60", "-o", "json", code=None))
    finally:
        lab.rig.popnet("link", "reset", "LHR", "IAD", "-n", lab.name)
    pairs = {(one["a"], one["b"]): one for one in told["pairs"]}
    assert pairs["LHR", "IAD"]["measured_ms"] == pairs["LHR", "IAD"]["median_ms"]
    assert pairs["LHR", "FRA"]["measured_ms"] < pairs["LHR", "FRA"]["median_ms"]


def test_an_example_is_played(rig: Rig) -> None:
    """The same file that virtual time plays: its timeline happens, its assertions hold."""
    example = Path(__file__).parents[2] / "examples" / "short-outage.yaml"
    told = json.loads(
        rig.popnet("run", str(example), "--until", "12s", "--driver", rig.driver, "-o", "json")
    )
    assert told["driver"] == rig.driver
    assert told["requests"] == 120
    assert all(one["held"] for one in told["assertions"])
    assert [one["what"] for one in told["recoveries"]] == ["kill LHR", "end of kill LHR"]


def test_drained(lab: Running) -> None:
    lab("drain", "FRA")
    until(lambda: lab.ingress("london") == "LHR", "the rest serves")
    lab("start", "FRA")
    until(lambda: lab.connections() == 4, "the connector is complete")


def test_all_or_nothing(rig: Rig, base: Path) -> None:
    world = base.with_name("broken.yaml")
    service = "{command: 'false', url: 'http://localhost:8000'}"
    world.write_text(SMALL_WORLD.replace("hello", service))
    rig.popnet("up", str(world), "-n", "bad", "--detach", "--driver", rig.driver, code=4)
    assert rig.left("bad") == []


def test_a_wrong_world_starts_nothing(rig: Rig, base: Path) -> None:
    world = base.with_name("wrong.yaml")
    world.write_text(SMALL_WORLD.replace("visitors:", "visitor:"))
    rig.popnet("up", str(world), "-n", "bad", "--driver", rig.driver, code=2)
    assert rig.left("bad") == []


def test_in_the_foreground_until_told_to_end(rig: Rig, world: Path) -> None:
    name = f"f{os.getpid()}"
    with rig.popnet.popen("up", str(world), "-n", name, "--driver", rig.driver) as process:
        assert process.stderr is not None
        while "Ctrl-C ends the lab" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert rig.left(name) == []
    rig.popnet("status", "-n", name, code=3)
    rig.popnet("down", "-n", name, code=3)


def test_a_policy_is_read_from_a_file_of_the_one_who_asks(lab: Running, tmp_path: Path) -> None:
    file = tmp_path / "guard.yaml"

    def take(text: str, code: int = 0) -> str:
        file.write_text(text)
        return lab.rig.popnet("policy", "set", str(file), "-n", lab.name, code=code)

    def status(url: str) -> str:
        ask = ("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", url)
        return lab.exec("london", *ask)

    assert "with 1 rules is in force" in take("security: [{path: /closed/*, block: true}]\n")
    assert (status(URL), status(f"{URL}closed/x")) == ("200", "403")
    take("security: [{country: Japan, block: true}]\n", code=2)
    keys = [json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key()))]
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "team.json").write_text(json.dumps({"keys": keys}))
    team = "access: {jwt: {team: {jwks: keys/team.json, audience: app}}}\n"
    take(f"{team}security: [{{path: /closed/*, require: jwt}}]\n")
    assert status(f"{URL}closed/x") == "403"
    take("security: []\n")
    # It is asked, and knows no such page.
    assert status(f"{URL}closed/x") == "404"

"""The lab as most people meet it: `docker compose up`, and then what they may do to its containers."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab.compose import IMAGE

ROOT = Path(__file__).resolve().parents[2]
URL = "https://app.example.com/"
_CONVERGENCE_S = 3.0

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


def command(*arguments: str, code: int | None = 0, **options: Any) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, **options)
    if code is not None:
        said = f"{' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode == code, said
    return done.stdout


def until(holds: Callable[[], bool], what: str, patience_s: float = 30.0) -> float:
    """Seconds that it took."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() < started + patience_s, f"not within {patience_s} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - started


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


@dataclass(slots=True)
class Project:
    """One `docker compose` project with ports of its own."""

    directory: Path
    files: tuple[str, ...]
    name: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, code: int | None = 0) -> str:
        files = [word for file in self.files for word in ("-f", file)]
        return command(
            *("docker", "compose", "-p", self.name, *files, *arguments),
            code=code,
            cwd=self.directory,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            timeout=500,
        )

    def exec(self, service: str, *arguments: str, code: int | None = 0) -> str:
        return self("exec", "-T", service, *arguments, code=code)

    def popnet(self, *arguments: str) -> str:
        return self.exec("lab", "popnet", *arguments)

    def container(self, service: str) -> str:
        return self("ps", "--all", "--quiet", service).strip()

    def state(self, service: str) -> dict[str, Any]:
        said = command("docker", "inspect", "--format", "{{json .State}}", self.container(service))
        state: dict[str, Any] = json.loads(said)
        return state

    def ingress(self, visitor: str) -> str | None:
        wanted = ("-o", "/dev/null", "-w", "%{http_code} %header{cf-ray}")
        told = self.exec(visitor, "curl", "-sS", "-m", "5", *wanted, URL, code=None)
        status, _, ray = told.partition(" ")
        return ray.rpartition("-")[2] if status == "200" else None

    def everything(self) -> list[str]:
        mine = f"label=com.docker.compose.project={self.name}"
        return [
            line
            for kind in (("ps", "-aq"), ("volume", "ls", "-q"), ("network", "ls", "-q"))
            for line in command("docker", *kind, "--filter", mine).split()
        ]


@pytest.fixture(scope="module")
def engine() -> None:
    """Skips, loudly, where no engine answers, compose is missing or the image cannot be built."""
    missing = None
    for arguments in (("docker", "version"), ("docker", "compose", "version")):
        if (
            shutil.which("docker") is None
            or subprocess.run(arguments, capture_output=True).returncode
        ):
            missing = f"`{' '.join(arguments)}` fails"
            break
    else:
        built = subprocess.run(
            ["docker", "compose", "build", "--quiet"], cwd=ROOT, capture_output=True, text=True
        )
        if built.returncode:
            missing = (
                f"the image cannot be built: {built.stderr.strip()[-120:]} "
                "(without a registry: BASE_IMAGE=$(.ci/base-image))"
            )
    if missing is not None:
        if os.environ.get("POPNET_REQUIRE_DOCKER"):
            pytest.fail(missing)
        pytest.skip(f"no lab of containers here: {missing}")


def project(directory: Path, *files: str) -> Project:
    ports = {"POPNET_WEB_PORT": free_port(), "POPNET_SOCKS_PORT": free_port()}
    return Project(directory, files, f"pn{os.getpid()}{directory.name[:4]}", ports)


@pytest.fixture(scope="module")
def lab(engine: None) -> Iterator[Project]:
    made = project(ROOT, "docker-compose.yml")
    try:
        made("up", "--detach", "--wait")
        yield made
    finally:
        made("down", "--volumes", "--timeout", "1", code=None)
    assert made.everything() == []


def test_up_waits_until_everything_serves(lab: Project) -> None:
    assert "ready  8/8 PoPs  4/4 tunnel connections" in lab.popnet("status")
    assert "http://localhost:" in lab("logs", "lab")


def test_programs_need_no_extra_flags(lab: Project) -> None:
    assert "hello from dublin" in lab.exec("tokyo", "curl", "-sS", URL)
    assert lab.ingress("tokyo") == "NRT"
    assert "1 received" in lab.exec("tokyo", "ping", "-c1", "NRT")
    assert "NRT" in lab.exec("tokyo", "traceroute", "-w1", "NRT")
    told = json.loads(lab.popnet("trace", "--from", "tokyo", URL, "-o", "json"))
    assert (told["status"], told["ingress"]) == (200, "NRT")


def test_the_way_in_from_the_machine(lab: Project, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text(lab.exec("lab", "sh", "-c", "cat $POPNET_RUN/pki/ca.pem"))
    proxy = f"socks5h://tokyo@localhost:{lab.environment['POPNET_SOCKS_PORT']}"
    wanted = ("-o", "/dev/null", "-w", "%{http_code} %header{cf-ray}")
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    told = command(
        *("curl", "-sS", "-m", "10", "-x", proxy, "--cacert", str(authority), *wanted, URL),
        env=environment,
    )
    assert told.startswith("200 ")
    assert told.endswith("-NRT")
    page = f"http://localhost:{lab.environment['POPNET_WEB_PORT']}/"
    assert "popnet" in command("curl", "-sS", "-m", "10", page, env=environment)


def test_programs_of_nodes_are_nobody_in_particular(lab: Project) -> None:
    """The agent, which attached as root, is no longer root either."""
    for node in ("NRT", "tokyo", "dublin"):
        told = lab.exec(node, "sh", "-c", "cat /proc/1/status /proc/[0-9][0-9]/status; true")
        lines = [line.split() for line in told.splitlines()]
        assert all("0" not in line[1:] for line in lines[:60] if line and line[0] == "Uid:")
        assert all(int(line[1], 16) == 0 for line in lines[:60] if line and line[0] == "CapEff:")


def test_the_site_has_one_interface_and_no_way_in(lab: Project) -> None:
    up = lab.exec("dublin", "ip", "-o", "link", "show", "up")
    names = {line.split(": ")[1].partition("@")[0] for line in up.splitlines()}
    assert names == {"lo", "wan0"}
    listen = (
        "import socket, os, time\n"
        "server = socket.create_server(('0.0.0.0', 9999))\n"
        "os.fork() and os._exit(0)\n"
        "server.settimeout(60)\n"
        "server.accept()\n"
    )
    lab("exec", "-T", "--detach", "dublin", "python", "-c", listen)
    address = lab.exec("tokyo", "getent", "hosts", "dublin").split()[0]
    dial = "import socket, sys; socket.create_connection((sys.argv[1], 9999), 1)"
    until(lambda: ":9999" in lab.exec("dublin", "ss", "-ltn"), "a listener")
    for node in ("tokyo", "LHR"):
        lab.exec(node, "python", "-c", dial, address, code=1)
    lab.exec("dublin", "python", "-c", dial, "127.0.0.1")


def test_a_killed_container_leaves_and_comes_back(lab: Project) -> None:
    before = lab.ingress("tokyo")
    assert before == "NRT"
    command("docker", "kill", lab.container("NRT"))
    took = until(lambda: lab.ingress("tokyo") not in (None, "NRT"), "tokyo enters elsewhere")
    # A request that met the gap waits up to five seconds for an answer, or for the next look-up.
    assert took < _CONVERGENCE_S + 6
    lab.exec("tokyo", "ping", "-c1", "-W1", "NRT", code=1)
    until(lambda: lab.state("lab")["Health"]["Status"] == "unhealthy", "the lab tells")
    command("docker", "start", lab.container("NRT"))
    until(lambda: lab.ingress("tokyo") == "NRT", "tokyo enters at NRT again")
    until(lambda: lab.state("lab")["Health"]["Status"] == "healthy", "the lab is well again")


def test_a_stopped_container_drains(lab: Project) -> None:
    started = time.monotonic()
    lab("stop", "SYD")
    took = time.monotonic() - started
    assert lab.state("SYD")["ExitCode"] == 0
    assert took < 14, "stopped by itself, not killed after the time of grace"
    events = [json.loads(line) for line in lab.popnet("events", "-o", "json").splitlines()]
    of_syd = [one["event"] for one in events if one["node"] == "SYD"]
    assert "program_stopping" in of_syd
    lab("start", "SYD")
    until(lambda: "8/8 PoPs" in lab.popnet("status"), "SYD is back")


def test_a_restarted_wan_heals(lab: Project) -> None:
    lab("restart", "wan")
    until(lambda: lab.ingress("tokyo") == "NRT", "requests are answered")
    until(lambda: "4/4 tunnel connections" in lab.popnet("status"), "the connector is complete")


def test_a_restarted_control_finds_its_lab(lab: Project) -> None:
    lab.popnet("link", "set", "GRU", "SYD", "--rtt", "77ms")
    lab("restart", "lab")
    until(lambda: "8/8 PoPs" in lab.exec("lab", "popnet", "status", code=None), "it answers")
    assert lab.ingress("tokyo") == "NRT"
    # What it was told by people it has not forgotten: another wan process learns it from it.
    lab("restart", "wan")
    until(lambda: "time=7" in lab.exec("GRU", "ping", "-c1", "-W1", "SYD", code=None), "77 ms")
    lab.popnet("link", "reset", "GRU", "SYD")


def test_the_same_world_again_changes_nothing(lab: Project) -> None:
    before = {one: lab.container(one) for one in ("NRT", "wan", "lab")}
    authority = lab.exec("lab", "sh", "-c", "cat $POPNET_RUN/pki/ca.pem")
    lab("up", "--detach", "--wait")
    assert {one: lab.container(one) for one in before} == before
    assert lab.exec("lab", "sh", "-c", "cat $POPNET_RUN/pki/ca.pem") == authority
    assert lab.ingress("tokyo") == "NRT"


def test_the_image_is_small() -> None:
    size = int(command("docker", "image", "inspect", "--format", "{{.Size}}", IMAGE))
    assert size <= 320e6


def test_any_container_can_be_the_service(engine: None, tmp_path: Path) -> None:
    example = ROOT / "examples" / "own-service"
    directory = tmp_path / "own"
    shutil.copytree(example, directory)
    command(sys.executable, "-m", "lab", "compose", str(directory / "world.yaml"), cwd=ROOT)
    made = project(directory, "docker-compose.yml", "service.yml")
    made.environment = {
        **made.environment,
        "SERVICE_IMAGE": os.environ.get("BASE_IMAGE", "python:3.11-slim-bookworm"),
    }
    try:
        made("up", "--detach", "--wait")
        until(lambda: made.ingress("tokyo") == "NRT", "the other image's web server answers")
        assert "Directory listing" in made.exec("tokyo", "curl", "-sS", URL)
    finally:
        made("down", "--volumes", "--timeout", "1", code=None)
    assert made.everything() == []

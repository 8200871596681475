"""The lab of containers: how soon it answers, how big and how quickly rebuilt its image is, what it costs at rest and
per request beside the local driver."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.lab import fifty_pops, popnet
from benchmarks.report import Row
from lab.compose import BASE, IMAGE

ROOT = Path(__file__).resolve().parents[1]
URL = "https://app.example.com/"
REPEATS = 2
REQUESTS = 400
IDLE_S = 10.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PORTS = {"POPNET_WEB_PORT": "18980", "POPNET_SOCKS_PORT": "18981"}


def compose(project: str, *arguments: str, check: bool = True) -> int:
    return subprocess.run(
        ["docker", "compose", "-p", project, *arguments],
        cwd=ROOT,
        check=check,
        capture_output=True,
        env={**os.environ, **_PORTS},
        timeout=300,
    ).returncode


def first_answer(project: str) -> float:
    """Seconds from `docker compose up` to an answer from Tokyo; the lab is left running."""
    begun = time.monotonic()
    compose(project, "up", "--detach")
    asking = ("exec", "-T", "tokyo", "curl", "-sSf", "-m", "2", "-o", "/dev/null", URL)
    while compose(project, *asking, check=False):
        if time.monotonic() - begun > 120:
            raise RuntimeError("no answer in two minutes")
        time.sleep(0.05)
    return time.monotonic() - begun


def processes(run: str) -> list[int]:
    """Everything that carries this run directory in its environment, in whatever namespace."""
    wanted = f"POPNET_RUN={run}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if wanted in Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                    found.append(int(entry))
    return found


def cpu_s(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def idle_share(run: str) -> float:
    pids = processes(run)
    before = cpu_s(pids)
    time.sleep(IDLE_S)
    return (cpu_s(pids) - before) / IDLE_S


def cpu_per_request(name: str, run: str) -> float:
    """Of the lab's own processes, in ms; what it does at rest meanwhile is taken off."""
    pids = processes(run)
    rest = idle_share(run)
    before, begun = cpu_s(pids), time.monotonic()
    many = f"{URL}?[1-{REQUESTS}]"
    flags = ("-sSf", "-Z", "--parallel-max", "20", "-o", "/dev/null")
    popnet("exec", "-n", name, "tokyo", "--", "curl", *flags, many)
    spent = cpu_s(pids) - before - rest * (time.monotonic() - begun)
    return spent / REQUESTS * 1e3


@contextlib.contextmanager
def lab(name: str, driver: str, world: Path | None = None) -> Iterator[float]:
    """A lab by `popnet up`; yields the seconds to its first answer."""
    begun = time.monotonic()
    file = [str(world)] if world else []
    try:
        popnet("up", *file, "--detach", "-n", name, "--driver", driver, timeout=400)
        popnet("curl", "-n", name, "--from", "tokyo", URL, "-sSf")
        yield time.monotonic() - begun
    finally:
        popnet("down", "-n", name)


def rebuild_s() -> float:
    """A build after a change of code alone, in a copy of the tree."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, "tree")
        kept = [
            line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
        ]
        copy.mkdir()
        for name in [*kept, "Dockerfile", ".dockerignore", "docker-compose.yml"]:
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, copy / name, ignore=ignored)
            else:
                shutil.copy(ROOT / name, copy / name)
        build = ["docker", "build", "--quiet", "--tag", "popnet-bench", "."]
        if base := os.environ.get("BASE_IMAGE"):
            build[2:2] = ["--build-arg", f"BASE_IMAGE={base}"]
        subprocess.run(build, cwd=copy, check=True, capture_output=True)
        with open(copy / "pops" / "__init__.py", "a") as file:
            file.write(f"# {time.time()}\n")
        begun = time.monotonic()
        subprocess.run(build, cwd=copy, check=True, capture_output=True)
        taken = time.monotonic() - begun
    subprocess.run(["docker", "rmi", "popnet-bench"], check=False, capture_output=True)
    return taken


def run() -> list[Row]:
    if subprocess.run(["docker", "version"], capture_output=True, check=False).returncode:
        raise RuntimeError("no Docker engine answers")
    compose("pnbench", "build")
    answers = []
    for _ in range(REPEATS):
        try:
            answers.append(first_answer("pnbench"))
            # The last start is not what the lab costs at rest.
            time.sleep(3)
            idle = idle_share(f"{BASE}/default")
        finally:
            compose("pnbench", "down", "--volumes", "--timeout", "0")
    inspected = subprocess.run(
        ["docker", "image", "inspect", "--format", "{{.Size}}", IMAGE],
        check=True,
        capture_output=True,
        text=True,
    )
    rows = [
        Row("docker: up to first answer", statistics.median(answers), "s", 20.0, "compose up"),
        Row("docker: image", int(inspected.stdout) / 1e6, "MB", 320.0),
        Row("docker: rebuild after a change of code", rebuild_s(), "s", 10.0),
        Row("docker: CPU at rest", 100 * idle, "%", 15.0, "of one core"),
    ]
    spent = {}
    base = Path(os.environ.get("POPNET_RUN_DIR", "/run/popnet"))
    for driver, run_directory in (("local", base / "bn"), ("docker", Path(BASE, "bn"))):
        with lab("bn", driver):
            spent[driver] = cpu_per_request("bn", str(run_directory))
    rows += [
        Row("local: CPU per request", spent["local"], "ms", None, "all processes of the lab"),
        Row(
            "docker: CPU per request",
            spent["docker"],
            "ms",
            1.1 * spent["local"],
            "10 % above local",
        ),
    ]
    with tempfile.TemporaryDirectory() as directory:
        world = fifty_pops(Path(directory))
        with lab("bench50", "docker", world) as seconds:
            rows.append(Row("docker: up to first answer, 50 PoPs", seconds, "s", 90.0))
    return rows


if __name__ == "__main__":
    from benchmarks.report import show

    show(run())

"""From `popnet up` to the first answered request, and what a PoP weighs: the default world, and fifty PoPs."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.report import Row

REPEATS = 3
FIFTY = """
    LHR, FRA, IAD, SJC, GRU, SIN, NRT, SYD, AMS, CDG, MAD, MXP, ARN, WAW, VIE, ZRH, DUB, LIS, ATH, IST, OTP, SOF, HEL,
    OSL, CPH, JFK, ORD, DFW, MIA, ATL, SEA, LAX, DEN, YYZ, YUL, MEX, BOG, LIM, SCL, EZE, JNB, CPT, NBO, LOS, CAI, DXB,
    BOM, DEL, HKG, ICN
"""


def popnet(*arguments: str, timeout: float = 180) -> str:
    """Run one command of the command line; CalledProcessError when it fails."""
    return subprocess.run(
        [sys.executable, "-m", "lab", *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=timeout,
    ).stdout


def private_bytes(pid: int) -> int:
    """Memory that is this process's alone (proc(5), smaps_rollup)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def pop_pids(name: str) -> list[int]:
    status: dict[str, Any] = json.loads(popnet("status", "-n", name, "-o", "json"))
    return [
        program["pid"]
        for node in status["nodes"]
        if node["kind"] == "pop"
        for program in node["programs"]
        if program["pid"] is not None
    ]


def start(world: Path | None, name: str) -> tuple[float, float]:
    """Bring a world up, send one request, end it. Seconds to its answer, and private MB of the median PoP."""
    begun = time.monotonic()
    try:
        popnet("up", *([str(world)] if world else []), "--detach", "-n", name)
        popnet("curl", "-n", name, "--from", "tokyo", "https://app.example.com/", "-sSf")
        elapsed = time.monotonic() - begun
        memory = statistics.median(private_bytes(pid) for pid in pop_pids(name)) / 1e6
    finally:
        popnet("down", "-n", name)
    return elapsed, memory


def fifty_pops(directory: Path) -> Path:
    world = directory / "fifty.yaml"
    world.write_text(
        f"""popnet: 1
name: fifty
pops: [{FIFTY}]
visitors: [tokyo, london]
sites: {{dublin: {{service: hello, connectors: [{{run: tunnel_client}}]}}}}
tunnels: {{app: {{site: dublin}}}}
dns: {{app.example.com: {{tunnel: app}}}}
"""
    )
    return world


def run() -> list[Row]:
    small = [start(None, "bench") for _ in range(REPEATS)]
    with tempfile.TemporaryDirectory() as directory:
        big = start(fifty_pops(Path(directory)), "bench50")
    seconds = statistics.median(elapsed for elapsed, _ in small)
    note = f"median of {REPEATS}"
    return [
        Row("up to first answer, default world", seconds, "s", 6.0, note),
        Row("private memory of a PoP, default world", small[0][1], "MB", None, "median PoP"),
        Row("up to first answer, 50 PoPs", big[0], "s", 40.0),
        Row("private memory of a PoP, 50 PoPs", big[1], "MB", 30.0, "median PoP"),
    ]


if __name__ == "__main__":
    from benchmarks.report import show

    show(run())

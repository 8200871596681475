"""How much faster than life virtual time is: an idle world, requests, and a world of a hundred PoPs.

Times are CPU seconds of this process. Bounds are given as what one unit may cost, for a row's bound is an upper one.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.report import Row
from lab.drivers.virtual import VirtualWorld
from lab.drivers.virtual_run import calm
from topology.load import load_world, parse_world
from topology.model import World
from topology.plan import Plan

DEFAULT = Path(__file__).resolve().parents[1] / "topology.yaml"
IDLE_S = 120.0
REQUESTS, AT_ONCE = 3000, 50
POPS = 100

TWO_POPS = """
popnet: 1
name: two
pops: {LHR: {region: 1}, NRT: {region: 2}}
internet: {rtt_ms: {LHR: {NRT: 210}}, defaults: {rate_mbit: unlimited}}
visitors: [tokyo]
sites: {dublin: {service: hello, connectors: [{run: tunnel_client, connections: 1}]}}
tunnels: {app: {site: dublin}}
dns: {app.example.com: {tunnel: app}}
"""


def idle() -> float:
    """Virtual seconds per CPU second, nothing happening but heartbeats."""
    with VirtualWorld(Plan.of(load_world(DEFAULT))) as world:
        world.start()
        with calm():
            world.run_for(10)
            begun = time.process_time()
            world.run_for(IDLE_S)
            return IDLE_S / (time.process_time() - begun)


def requests() -> float:
    """Requests per CPU second: visitor, ingress PoP, egress PoP, connector, origin; warm connections."""
    with VirtualWorld(Plan.of(parse_world(TWO_POPS)), keep_alive=True) as world:
        world.start()

        async def worker(count: int) -> None:
            for _ in range(count):
                visit = await world.asking("tokyo", "https://app.example.com/bytes/1000")
                assert visit.status == 200, visit.error

        async def main() -> None:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(AT_ONCE):
                    tasks.create_task(worker(REQUESTS // AT_ONCE))

        with calm():
            world.run(main())
            begun = time.process_time()
            world.run(main())
            return REQUESTS / (time.process_time() - begun)


def hundred_world() -> World:
    """A hundred PoPs all over the world, each with its nearest and some hubs for neighbours."""
    import airportsdata

    codes = sorted(airportsdata.load("IATA"))
    names = [code for code in codes if code.isalpha() and code.isascii()][:: len(codes) // POPS]
    return parse_world(f"""
popnet: 1
name: hundred
pops: [{", ".join(names[:POPS])}]
visitors: [tokyo, london]
sites: {{dublin: {{service: hello}}}}
tunnels: {{app: {{site: dublin}}}}
dns: {{app.example.com: {{tunnel: app}}}}
""")


def hundred() -> tuple[float, float]:
    """Seconds until a world of a hundred PoPs is ready, and MB of this process then."""
    plan = Plan.of(hundred_world())
    begun = time.process_time()
    with VirtualWorld(plan) as world, calm():
        world.start()
        took = time.process_time() - begun
        return took, _peak_mb()


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def _apart(name: str) -> list[float]:
    """In a process of its own: memory and the collector remember what went before."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.virtual", name],
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    )
    found: list[float] = json.loads(done.stdout)
    return found


def run() -> list[Row]:
    (faster,) = _apart("idle")
    (served,) = _apart("requests")
    took, memory = _apart("hundred")
    return [
        Row("a virtual second, default world idle", 1e3 / faster, "ms CPU", 5.0, f"{faster:.0f} x"),
        Row(
            "a request, two PoPs, warm, flights", 1e6 / served, "us CPU", 1000.0, f"{served:.0f}/s"
        ),
        Row(f"start of {POPS} PoPs, flights", took, "s CPU", 10.0),
        Row(f"memory of {POPS} PoPs, flights", memory, "MB", 1000.0, "peak of the process"),
    ]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measured = {"idle": idle, "requests": requests, "hundred": hundred}[sys.argv[1]]()
        print(json.dumps(measured if isinstance(measured, tuple) else [measured]))
    else:
        from benchmarks.report import show

        show(run())

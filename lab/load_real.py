"""The load of a world in a running lab: one asking process inside each visitor, all started at the same moment.

`send` is the lab's side. `python -m lab.load_real` is the process: it reads its requests as one JSON object
from the first line of stdin, answers "ready", starts at the next line, and prints one sample a line.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any

from lab.driver import Lab, LabError
from lab.load import Arrival, Sample, arrivals
from lab.load_client import Visitor
from lab.resolving import LabResolver
from topology.plan import Plan


def send(lab: Lab, plan: Plan, seconds: float) -> list[Sample]:
    """Ask what `plan` wants to have asked, for so long; all samples, in the order of their start."""
    load = plan.world.load
    if load is None:
        raise LabError("this world has no `load` section; give a world file that has one")
    by_visitor: dict[str, list[Arrival]] = {}
    for arrival in arrivals(load, plan, seconds):
        by_visitor.setdefault(lab.visitor(arrival.visitor), []).append(arrival)
    programs = {
        visitor: lab.popen(
            visitor,
            [sys.executable, "-m", "lab.load_real"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for visitor in by_visitor
    }
    try:
        for visitor, program in programs.items():
            task = {
                "ca": str(lab.dir.pki / "ca.pem"),
                "timeout_s": load.timeout,
                "keep_alive": load.keep_alive,
                "visitor": visitor,
                "arrivals": [[one.at_s, one.url] for one in by_visitor[visitor]],
            }
            assert program.stdin is not None
            program.stdin.write(json.dumps(task).encode() + b"\n")
            program.stdin.flush()
        for visitor, program in programs.items():
            assert program.stdout is not None
            if program.stdout.readline() != b"ready\n":
                raise LabError(f"{visitor}: the asking process did not start")
        for program in programs.values():
            assert program.stdin is not None
            program.stdin.write(b"go\n")
            program.stdin.flush()
        samples = []
        for program in programs.values():
            output, _ = program.communicate(timeout=seconds + 2 * load.timeout + 30)
            samples += [Sample(**json.loads(line)) for line in output.splitlines()]
    finally:
        for program in programs.values():
            if program.poll() is None:
                program.kill()
                program.wait()
    return sorted(samples, key=lambda sample: (sample.t_s, sample.visitor))


async def ask(task: dict[str, Any]) -> None:
    visitor = Visitor(
        LabResolver(),
        task["ca"],
        clock=time.monotonic,
        timeout_s=task["timeout_s"],
        keep=task["keep_alive"],
    )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    begin = time.monotonic()

    async def one(arrival: Arrival) -> None:
        visit = await visitor.get(arrival.url)
        sample = Sample.of(arrival, visit, visit.started - begin)
        sys.stdout.write(json.dumps(asdict(sample)) + "\n")

    async with asyncio.TaskGroup() as tasks:
        for at_s, url in task["arrivals"]:
            arrival = Arrival(at_s, task["visitor"], url)
            await asyncio.sleep(max(0.0, begin + at_s - time.monotonic()))
            tasks.create_task(one(arrival), name=f"get {url}")
    visitor.close()
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(ask(json.loads(sys.stdin.readline())))

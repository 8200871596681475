"""The same seed, the same run: other processes, hash seeds, directories and hours change nothing."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from lab.drivers.virtual_run import play, seeded
from topology.load import load_world
from topology.plan import Plan

ROOT = Path(__file__).parents[2]
WORLDS = {"short-outage": 5.0, "downloads": 3.0, "rush-hour": 2.0}
_HOUR_S = 3600

# Three worlds in one process, for starting a process costs more than a run. Its clocks are some hours off: both are
# turned before anything is imported that could keep a reference to them. Where a clock decides something, that shows.
SCRIPT = """
import json, sys, time
from pathlib import Path

root, worlds, hours = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
for name in ("time", "monotonic", "perf_counter"):
    def off(real=getattr(time, name)):
        return real() + 3600 * hours
    def off_ns(real=getattr(time, name + "_ns")):
        return real() + 3600 * hours * 10**9
    setattr(time, name, off)
    setattr(time, name + "_ns", off_ns)

from lab.drivers.virtual_run import play
from topology.load import load_world
from topology.plan import Plan

digests = {"clock": time.time()}
for name, until_s in worlds.items():
    plan = Plan.of(load_world(root / "examples" / f"{name}.yaml"))
    digests[name] = play(plan, until_s).event_log_sha256
print(json.dumps(digests))
"""


def digest(name: str, until_s: float, seed: int | None = None) -> str:
    plan = Plan.of(load_world(ROOT / "examples" / f"{name}.yaml"))
    return play(seeded(plan, seed), until_s).event_log_sha256


def test_same_seed_same_log_other_seed_other_log(tmp_path: Path) -> None:
    # Others each time; what they were stands in the message when it fails.
    hash_seed, hours = random.randrange(1, 2**32), random.randrange(1, 24 * 365)
    # Both at once: what else this machine does makes no difference either.
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(ROOT), json.dumps(WORLDS), str(hours)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as elsewhere:
        here = {name: digest(name, until_s) for name, until_s in WORLDS.items()}
        others = {name: digest(name, until_s, seed=99) for name, until_s in WORLDS.items()}
        output, errors = elsewhere.communicate(timeout=100)
    assert elsewhere.returncode == 0, errors.decode()
    there = json.loads(output)
    assert there.pop("clock") > time.time() + (hours - 1) * _HOUR_S
    assert len({*here.values(), *others.values()}) == 2 * len(WORLDS)
    assert there == here, f"PYTHONHASHSEED={hash_seed}, {hours} hours later"

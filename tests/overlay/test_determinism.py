"""The same seed, the same run: other processes, hash seeds, directories and hours change nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from lab.drivers.virtual_run import play, seeded
from topology.load import load_world
from topology.plan import Plan

ROOT = Path(__file__).parents[2]
WORLDS = {"short-outage": 5.0, "downloads": 3.0, "rush-hour": 2.0}

# Three worlds in one process, for starting a process costs more than a run.
SCRIPT = """
import json, sys
from pathlib import Path
from lab.drivers.virtual_run import play
from topology.load import load_world
from topology.plan import Plan

root, worlds = Path(sys.argv[1]), json.loads(sys.argv[2])
digests = {}
for name, until_s in worlds.items():
    plan = Plan.of(load_world(root / "examples" / f"{name}.yaml"))
    digests[name] = play(plan, until_s).event_log_sha256
print(json.dumps(digests))
"""


def digest(name: str, until_s: float, seed: int | None = None) -> str:
    plan = Plan.of(load_world(ROOT / "examples" / f"{name}.yaml"))
    return play(seeded(plan, seed), until_s).event_log_sha256


def test_same_seed_same_log_other_seed_other_log(tmp_path: Path) -> None:
    # Both at once: what else this machine does makes no difference either.
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(ROOT), json.dumps(WORLDS)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as elsewhere:
        here = {name: digest(name, until_s) for name, until_s in WORLDS.items()}
        others = {name: digest(name, WORLDS[name], seed=99) for name in ("downloads", "rush-hour")}
        output, errors = elsewhere.communicate(timeout=100)
    assert elsewhere.returncode == 0, errors.decode()
    assert len(set(here.values())) == len(WORLDS)
    assert json.loads(output) == here
    assert all(other != here[name] for name, other in others.items())

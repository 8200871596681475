"""The same seed, the same run: other processes, hash seeds, directories and hours change nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORLDS = {"black-hole": 22.0, "downloads": 6.0, "rush-hour": 4.0}

# Three worlds in one process, for starting a process costs more than a run.
SCRIPT = """
import json, sys
from pathlib import Path
from lab.drivers.virtual_run import play, seeded
from topology.load import load_world
from topology.plan import Plan

root, worlds, seed = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
digests = {}
for name, until_s in worlds.items():
    plan = Plan.of(load_world(root / "examples" / f"{name}.yaml"))
    digests[name] = play(seeded(plan, seed), until_s).event_log_sha256
print(json.dumps(digests))
"""


def starts(directory: Path, seed: int | None = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(ROOT), json.dumps(WORLDS), json.dumps(seed)],
        cwd=directory,
        env={**os.environ, "PYTHONHASHSEED": "random", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_same_seed_same_log_other_seed_other_log(tmp_path: Path) -> None:
    # All at once: what else this machine does makes no difference either.
    running = [starts(ROOT), starts(tmp_path), starts(tmp_path, seed=99)]
    found: list[dict[str, str]] = []
    for process in running:
        output, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors.decode()
        found.append(json.loads(output))
    first, second, other = found
    assert len(set(first.values())) == len(WORLDS)
    assert second == first
    assert all(other[name] != first[name] for name in WORLDS)

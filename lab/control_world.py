"""`python -m lab.control_world FILE`: prepares the volume that the containers of one lab share, then ends.

FILE is a world file, or a resolved world (world.json); POPNET_RUN says where. It runs before every other container.
What it finds of the same world stays as it is, certificates and all: a part of a lab may be started again while the
rest runs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
from pathlib import Path

import msgspec

from lab import configs, isolation, jsonlines, pki
from lab.jsonlines import UnreachableError
from lab.rundir import RUN_VARIABLE, RunDir, RunDirError
from lab.worlds import load_world
from topology.plan import Plan
from topology.problems import WorldError

_BAD_INPUT = 2
_STAMP = "prepared"


def prepare(plan: Plan, run: RunDir) -> str:
    """What was done, as a sentence."""
    run.check_lengths(list(plan.nodes))
    world = plan.to_json()
    stamp = run.path / _STAMP
    mark = hashlib.sha256(world + _code()).hexdigest()
    if stamp.exists() and stamp.read_text() == mark:
        return f"{run.name}: prepared already"
    others = [path for path in run.path.parent.iterdir() if path.is_dir()]
    for path in others:
        if _lives(RunDir(path)):
            raise RunDirError(
                f"{path.name} is running with another world or version: end it first (docker compose down)"
            )
        shutil.rmtree(path)
    run.create()
    run.world.write_bytes(world)
    run.events.touch()
    pki.write(run.pki, plan.world.dns, plan.pops, plan.world.access.certificates)
    isolation.write_files(run.etc, run.pki / "ca.pem", plan.nodes.values())
    configs.write(plan, run)
    stamp.write_text(mark)
    return f"{run.name}: {len(plan.nodes)} nodes prepared"


def _code() -> bytes:
    """What writes the files: a new version of it writes them anew."""
    sources = (configs, isolation, pki)
    return b"".join(Path(str(module.__file__)).read_bytes() for module in sources)


def _lives(run: RunDir) -> bool:
    try:
        jsonlines.ask(run.lab_socket, {"op": "status"}, timeout=5.0)
    except UnreachableError:
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.control_world", description=__doc__)
    parser.add_argument("file", type=Path)
    file: Path = parser.parse_args().file
    try:
        if file.suffix == ".json":
            plan = Plan.from_json(file.read_bytes())
        else:
            plan = Plan.of(load_world(file))
        print(prepare(plan, RunDir(Path(os.environ[RUN_VARIABLE]))))  # noqa: T201
    except WorldError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)  # noqa: T201
        return _BAD_INPUT
    except (OSError, RunDirError, msgspec.MsgspecError) as error:
        print(f"world: {error}", file=sys.stderr)  # noqa: T201
        return _BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())

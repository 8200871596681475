"""Every world in examples/ that claims something, by real packets: what it asserts holds there too.

About the minutes of each that virtual time plays in tests/overlay/test_examples.py, several labs side by side: most of
the time nothing happens in them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from topology.load import load_world
from topology.plan import Plan

from .conftest import Popnet

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

FILES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
PLANS = {file: plan for file in FILES if (plan := Plan.of(load_world(file))).world.assert_}
LONGEST_S, AFTER_S = 75.0, 10.0
SIDE_BY_SIDE = 7


def life_s(plan: Plan) -> float:
    ends = [each.at_s + (each.for_s or 0.0) for each in plan.timeline]
    return min(LONGEST_S, max(ends, default=AFTER_S) + AFTER_S)


BY_LIFE = sorted(PLANS, key=lambda file: life_s(PLANS[file]))


@pytest.fixture(scope="module")
def played(popnet: Popnet) -> Iterator[dict[str, Future[tuple[int, str, str]]]]:
    def play(file: Path) -> tuple[int, str, str]:
        until = f"{life_s(PLANS[file])}s"
        wanted = ("run", str(file), "--until", until, "--driver", "local", "-o", "json")
        with popnet.popen(*wanted) as process:
            output, errors = process.communicate(timeout=300)
        return process.returncode, output, errors

    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        yield {file.stem: threads.submit(play, file) for file in reversed(BY_LIFE)}


# What ends first is looked at first.
@pytest.mark.parametrize("name", [file.stem for file in BY_LIFE])
def test_an_example_holds_what_it_asserts(
    played: dict[str, Future[tuple[int, str, str]]], name: str
) -> None:
    code, output, errors = played[name].result()
    told: dict[str, Any] = json.loads(output or "{}")
    broken = [one for one in told.get("assertions", ()) if not one["held"]]
    assert (code, broken) == (0, []), errors
    assert told["driver"] == "local"
    assert told["assertions"]
    assert told["requests"] > 0

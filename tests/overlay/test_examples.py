"""Every world in examples/ holds what it asserts; the first minutes of those that take longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.assertions import check_all, parse_all
from lab.drivers.virtual_run import play
from topology.load import load_world
from topology.plan import Plan

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
LONGEST_S = 75.0


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_holds_what_it_asserts(file: Path) -> None:
    plan = Plan.of(load_world(file))
    assertions = parse_all(plan.world.assert_)
    assert assertions
    ends = [each.at_s + (each.for_s or 0.0) for each in plan.timeline]
    result = play(plan, min(LONGEST_S, max(ends, default=10.0) + 10.0))
    broken = [verdict for verdict in check_all(assertions, result.summary) if not verdict.held]
    assert not broken


def test_there_are_enough_of_them() -> None:
    assert len(EXAMPLES) >= 5

"""Every world in examples/ holds what it asserts when it is simply run; of those that take longer, the first minute."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.assertions import check_all, parse_all
from lab.drivers.virtual_run import play
from lab.play import length
from topology.load import load_world
from topology.plan import Plan

FILES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
# Others are made for `popnet compare`, and claim nothing about a run.
EXAMPLES = {file.stem: plan for file in FILES if (plan := Plan.of(load_world(file))).world.assert_}
LONGEST_S = 65.0


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_holds_what_it_asserts(name: str) -> None:
    plan = EXAMPLES[name]
    assertions = parse_all(plan.world.assert_)
    result = play(plan, min(LONGEST_S, length(plan)))
    broken = [verdict for verdict in check_all(assertions, result.summary) if not verdict.held]
    assert not broken


def test_there_are_enough_of_them() -> None:
    assert len(EXAMPLES) >= 5

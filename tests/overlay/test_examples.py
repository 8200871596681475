"""Every world in examples/ holds what it asserts; the first minutes of those that take longer."""

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
LONGEST_S = 75.0


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_holds_what_it_asserts(name: str) -> None:
    plan = EXAMPLES[name]
    assertions = parse_all(plan.world.assert_)
    ends = [each.at_s + (each.for_s or 0.0) for each in plan.timeline]
    result = play(plan, min(LONGEST_S, max(ends, default=10.0) + 10.0))
    broken = [verdict for verdict in check_all(assertions, result.summary) if not verdict.held]
    assert not broken


def test_there_are_enough_of_them() -> None:
    assert len(EXAMPLES) >= 5


def test_the_shortest_holds_as_the_command_plays_it_without_until() -> None:
    name = min(EXAMPLES, key=lambda name: (not EXAMPLES[name].timeline, length(EXAMPLES[name])))
    plan = EXAMPLES[name]
    result = play(plan, length(plan))
    verdicts = check_all(parse_all(plan.world.assert_), result.summary)
    assert [verdict for verdict in verdicts if not verdict.held] == []

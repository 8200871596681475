"""What a timeline does when, and how long a world is played: the same for every driver."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lab import play_real
from lab.driver import LabError
from lab.play import converged, disturbances, length
from topology.load import parse_world
from topology.plan import Plan

WORLD = """
popnet: 1
pops: [LHR, IAD]
visitors: [london]
sites: {}
dns: {}
timeline:
  - {at: 20s, for: 10s, cut: [LHR, IAD]}
  - {at: 5s, kill: LHR}
"""
PLAN = Plan.of(parse_world(WORLD))


def test_a_plan_that_is_idle_still_says_what_would_happen() -> None:
    idle = Plan.from_json(PLAN.idle().to_json())
    assert idle.timeline == ()
    assert idle.happenings() == PLAN.timeline
    assert length(idle) == length(PLAN) == 90.0


def test_disturbances_and_their_ends_in_order_of_time() -> None:
    assert disturbances(PLAN.timeline, 100.0) == [
        (5.0, "kill LHR"),
        (20.0, "cut LHR-IAD"),
        (30.0, "end of cut LHR-IAD"),
    ]
    assert disturbances(PLAN.timeline, 20.0) == [(5.0, "kill LHR")]


def test_converged_with_the_last_move_before_the_next_disturbance() -> None:
    found = converged([(5.0, "a"), (20.0, "b"), (30.0, "c")], [1.0, 6.0, 8.5, 21.0])
    assert [one.converged_at_s for one in found] == [8.5, 21.0, 30.0]


def test_a_timeline_of_another_world_is_refused_before_anything_happens() -> None:
    lab: Any = SimpleNamespace(name="other", plan=SimpleNamespace(nodes={"LHR": None}))
    assert play_real.checked(lab, PLAN, 10.0) == PLAN.timeline[:1]
    with pytest.raises(LabError, match="IAD is no node of the lab other"):
        play_real.checked(lab, PLAN, 100.0)

"""Storms follow from their seed, leave somebody standing, and end in calm."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.chaos.storm import CALM_S, storm
from topology.happenings import Happening, Kill, Partition, Pause, Vanish
from topology.load import load_world
from topology.plan import Plan

PLAN = Plan.of(load_world(Path(__file__).parents[3] / "topology.yaml"))
SEEDS = range(20)


def fallen(storm: tuple[Happening, ...], at_s: float) -> set[str]:
    down: set[str] = set()
    for one in storm:
        assert one.for_s is not None
        if one.at_s <= at_s < one.at_s + one.for_s:
            match one.what:
                case Kill(names) | Vanish(names) | Pause(names):
                    down |= {name for name in names if name in PLAN.pops}
                case Partition(groups):
                    down |= set(groups[0])
    return down


def test_the_same_seed_is_the_same_storm() -> None:
    assert storm(PLAN, 1, 600.0) == storm(PLAN, 1, 600.0)
    assert storm(PLAN, 1, 600.0) != storm(PLAN, 2, 600.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_somebody_is_left_in_every_region_and_the_end_is_calm(seed: int) -> None:
    found = storm(PLAN, seed, 600.0)
    assert found
    for one in found:
        assert one.for_s is not None
        assert one.at_s + one.for_s <= 600.0 - CALM_S + 0.001
        down = fallen(found, one.at_s)
        assert len(down) <= max(1, len(PLAN.pops) // 3)
        for region in (1, 2):
            assert any(PLAN.nodes[pop].region == region for pop in PLAN.pops if pop not in down)


def test_every_kind_of_trouble_comes() -> None:
    kinds = {type(one.what).__name__ for seed in SEEDS for one in storm(PLAN, seed, 600.0)}
    assert kinds == {"Kill", "Vanish", "Pause", "Cut", "SetLinks", "Partition"}


def test_a_short_storm_is_calm() -> None:
    assert storm(PLAN, 1, 20.0) == ()

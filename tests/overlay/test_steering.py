"""Each steering of a load balancer does what its name says, and a lost site costs no repeatable request."""

from __future__ import annotations

import pytest

from benchmarks.steering import CASES, Case, lose, play, share


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.steering)
def test_a_steering_does_what_its_name_says(case: Case) -> None:
    served = play(case, 300, rate_per_s=60.0)
    assert all(one.site for one in served)
    # Chance: five points are two standard deviations of so few.
    assert share(served) == pytest.approx(case.wanted(served), abs=0.06)


@pytest.mark.parametrize("how", ["kill", "vanish"])
def test_failover_loses_nothing_and_goes_back_when_the_site_heals(how: str) -> None:
    loss = lose(how, requests=480, rate_per_s=8.0)
    assert loss.lost == 0
    assert (loss.before, loss.meanwhile, loss.after) == (1.0, 0.0, 1.0)

from __future__ import annotations

import random

import pytest

from runtime.backoff import Backoff


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    backoff = Backoff(random.Random(1), base_s=1.0, cap_s=5.0)
    ceilings = []
    for _ in range(5):
        ceilings.append(backoff.ceiling_s)
        assert 0.0 <= backoff.next_delay() <= ceilings[-1]
    assert ceilings == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_delays_fill_the_whole_range() -> None:
    draws = [Backoff(random.Random(seed), base_s=1.0).next_delay() for seed in range(400)]
    assert min(draws) < 0.05
    assert max(draws) > 0.95
    assert 0.4 < sum(draws) / len(draws) < 0.6


def test_reset_starts_over_and_a_seed_repeats() -> None:
    one, other = (Backoff(random.Random(7), base_s=0.5) for _ in range(2))
    assert [one.next_delay() for _ in range(9)] == [other.next_delay() for _ in range(9)]
    one.reset()
    assert one.ceiling_s == 0.5
    assert one.attempts == 0


def test_it_survives_years_of_failure() -> None:
    backoff = Backoff(random.Random(0), base_s=1.0, cap_s=30.0)
    for _ in range(5000):
        assert backoff.next_delay() <= 30.0


@pytest.mark.parametrize("bad", [{"base_s": -1.0}, {"cap_s": 0.5}, {"factor": 0.5}])
def test_nonsense_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="backoff needs"):
        Backoff(random.Random(0), **bad)

"""Statistics with known answers."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.experiment.stats import (
    Interval,
    Verdict,
    block_bootstrap,
    blocked,
    holm,
    margin,
    quantile,
    sign_flip_p,
    student_t,
    verdict,
)


def test_quantiles_are_values_that_were_seen() -> None:
    assert [quantile([4.0, 1.0, 3.0, 2.0], q) for q in (0, 25, 50, 51, 100)] == [1, 1, 2, 3, 4]
    assert math.isnan(quantile([], 50))


def test_blocks_gather_what_belongs_together() -> None:
    assert blocked([("a", 1.0), ("b", 2.0), ("a", 3.0)]) == [[1.0, 3.0], [2.0]]


def test_a_constant_gain_has_an_interval_without_width() -> None:
    interval = block_bootstrap([[10.0, 10.0], [10.0], [10.0]])
    assert (interval.value, interval.lo, interval.hi, interval.blocks) == (10, 10, 10, 3)


def test_one_block_bounds_nothing() -> None:
    interval = block_bootstrap([[1.0, 2.0, 3.0]])
    assert interval == Interval(2.0, -math.inf, math.inf, 1)
    assert math.isnan(block_bootstrap([]).value)


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 12.706), (2, 4.303), (5, 2.571), (10, 2.228), (30, 2.042)]
)
def test_student_as_in_the_tables(freedom: int, expected: float) -> None:
    assert student_t(0.975, freedom) == pytest.approx(expected, rel=2e-3)


def test_the_interval_is_as_wide_as_students() -> None:
    luck = random.Random(1)
    values = [luck.gauss(5.0, 1.0) for _ in range(20)]
    average = sum(values) / 20
    deviation = math.sqrt(sum((x - average) ** 2 for x in values) / 19)
    half = student_t(0.975, 19) * deviation / math.sqrt(20)
    interval = block_bootstrap([[x] for x in values], resamples=20_000)
    assert (interval.hi - interval.lo) / 2 == pytest.approx(half, rel=0.06)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Blocks whose pairs go together: an interval over single pairs would hold it in half of the cases only."""
    luck, held, trials = random.Random(7), 0, 300
    for trial in range(trials):
        blocks = []
        for _ in range(10):
            shift = luck.gauss(0.0, 2.0)
            blocks.append([3.0 + shift + luck.gauss(0.0, 1.0) for _ in range(8)])
        interval = block_bootstrap(blocks, resamples=400, seed=trial)
        held += interval.lo <= 3.0 <= interval.hi
    assert 0.91 <= held / trials <= 0.99


def test_sign_flips_that_can_be_counted_by_hand() -> None:
    # All of one sign: of 2^6 throws only two are as far from zero.
    assert sign_flip_p([[1.0]] * 6) == 2 / 64
    # 3 - 1 = 2: of the sums 4, 2, -2, -4 all are at least that far.
    assert sign_flip_p([[3.0], [-1.0]]) == 1.0
    assert sign_flip_p([[0.0], [0.0]]) == 1.0
    assert sign_flip_p([]) == 1.0
    assert sign_flip_p([[1.0]] * 20) == pytest.approx(1 / 10_001)


def test_holm_as_in_a_textbook() -> None:
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}


@given(st.dictionaries(st.sampled_from("abcdefg"), st.floats(0, 1), max_size=6))
def test_holm_never_lowers_and_keeps_the_order(p_values: dict[str, float]) -> None:
    adjusted = holm(p_values)
    assert list(adjusted) == list(p_values)
    assert all(p_values[name] <= adjusted[name] <= 1 for name in p_values)
    ordered = sorted(p_values, key=lambda name: (p_values[name], name))
    assert [adjusted[name] for name in ordered] == sorted(adjusted.values())


def test_the_margin_is_a_millisecond_or_a_hundredth() -> None:
    assert margin(40.0) == 1.0
    assert margin(250.0) == 2.5


@pytest.mark.parametrize(
    ("lo", "hi", "p", "expected"),
    [
        (2.1, 9.0, 0.01, Verdict.helps),
        (2.1, 9.0, 0.06, Verdict.undecided),
        (1.9, 9.0, 0.01, Verdict.undecided),
        (0.5, 1.5, 0.01, Verdict.no_gain),
        (-2.0, 2.0, 0.5, Verdict.no_gain),
        (-2.1, 2.0, 0.5, Verdict.undecided),
        (-9.0, -2.1, 0.01, Verdict.harms),
        (-9.0, 9.0, 0.01, Verdict.undecided),
    ],
)
def test_verdict_by_where_the_interval_lies(
    lo: float, hi: float, p: float, expected: Verdict
) -> None:
    assert verdict(Interval((lo + hi) / 2, lo, hi, 20), 2.0, p) is expected


def test_few_blocks_decide_nothing() -> None:
    assert verdict(Interval(5.0, 5.0, 5.0, 5), 2.0, 0.0) is Verdict.undecided

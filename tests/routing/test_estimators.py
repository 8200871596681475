"""Estimators: known values, what always holds, and what is refused."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.errors import UnknownEstimatorError
from routing.estimators import Estimator, Spec, estimator

SPECS: list[Spec] = [
    "last",
    "ewma",
    {"ewma": 0.3},
    {"min": 5},
    {"median": 5},
    {"quantile": 0.9},
    {"quantile": [0.5, 7]},
    {"mean_deviation": 0},
]


def after(one: Estimator, samples: list[float]) -> float:
    state = one.start()
    for sample in samples:
        state = one.add(state, sample)
    return one.value(state)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("last", 5.0),
        ({"ewma": 0.5}, 4.25),
        ({"min": 2}, 3.0),
        ({"min": 10}, 1.0),
        ({"median": 3}, 3.0),
        ({"quantile": [0.75, 4]}, 3.5),
        ({"quantile": [1, 2]}, 5.0),
    ],
)
def test_known_values(spec: Spec, expected: float) -> None:
    assert after(estimator(spec), [9.0, 1.0, 3.0, 3.0, 5.0]) == pytest.approx(expected)


def test_mean_deviation_is_that_of_rfc_6298() -> None:
    # SRTT 1.0, RTTVAR 0; then RTTVAR = 1/4 x 1, SRTT = 1 + 1/8.
    assert after(estimator({"mean_deviation": 4}), [1.0, 2.0]) == pytest.approx(1.125 + 4 * 0.25)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@given(samples=st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=40))
def test_an_estimate_lies_within_the_samples(spec: Spec, samples: list[float]) -> None:
    found = after(estimator(spec), samples)
    assert min(samples) * (1 - 1e-9) <= found <= max(samples) * (1 + 1e-9)


@given(st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=40))
def test_the_median_is_that_of_the_window(samples: list[float]) -> None:
    assert after(estimator({"median": 9}), samples) == pytest.approx(
        statistics.median(samples[-9:])
    )


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_nothing_is_known_before_the_first_sample(spec: Spec) -> None:
    one = estimator(spec)
    state = one.start()
    assert math.isnan(one.value(state))
    one.add(state, 1.0)
    assert math.isnan(one.value(state)), "a state is never changed"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("mean", "there are last, ewma, min, median, quantile, mean_deviation"),
        ({"ewma": 0}, "0 is not in"),
        ({"ewma": 1.1}, "1.1"),
        ({"ewma": [0.3, 2]}, "does not take"),
        ({"ewma": "x"}, "no number"),
        ({"min": 0}, "window of 0"),
        ({"min": 2.5}, "window of 2.5"),
        ({"quantile": 2}, "2 is not in"),
        ({"last": 1}, "does not take"),
        ({"ewma": 0.3, "min": 3}, "one name"),
        ({"ewma": math.nan}, "no number"),
    ],
    ids=str,
)
def test_what_is_no_estimator_is_refused_by_name(spec: Spec, says: str) -> None:
    with pytest.raises(UnknownEstimatorError, match=says):
        estimator(spec)

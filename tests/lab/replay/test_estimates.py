"""The estimators of a matrix are those of a link, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lab.driver import LabError
from lab.replay.estimates import Estimates, spec
from routing.estimators import estimator


@pytest.mark.parametrize(
    "given",
    [
        "last",
        {"ewma": 0.3},
        {"min": 3},
        {"median": 4},
        {"quantile": [0.8, 5]},
        {"mean_deviation": 2},
    ],
)
@pytest.mark.parametrize("gaps", [False, True])
def test_a_matrix_is_estimated_like_its_links(given: Any, gaps: bool) -> None:
    rng = np.random.default_rng(5)
    series = rng.uniform(10, 100, (9, 4, 4))
    if gaps and not (isinstance(given, dict) and {"min", "median", "quantile"} & set(given)):
        series[rng.random(series.shape) < 0.3] = np.nan
    together, single = Estimates(given), estimator(given)
    states: dict[tuple[int, int], Any] = {cell: single.start() for cell in np.ndindex(4, 4)}
    for rtts in series:
        together.add(rtts)
        for cell in states:
            if not np.isnan(rtts[cell]):
                states[cell] = single.add(states[cell], float(rtts[cell]))
            assert together.matrix()[cell] == pytest.approx(single.value(states[cell]), nan_ok=True)


def test_a_window_with_gaps_is_of_slices() -> None:
    estimates = Estimates({"min": 2})
    for value in (5.0, np.nan, 9.0, np.nan, np.nan):
        estimates.add(np.array([[value]]))
    assert estimates.matrix()[0, 0] == 9.0


def test_what_is_typed() -> None:
    assert spec("last") == "last"
    assert spec("ewma:0.3") == {"ewma": 0.3}
    assert spec("quantile:0.9,20") == {"quantile": [0.9, 20.0]}
    for wrong in ("mean", "ewma:x", "ewma:2", "quantile:0.9,20,3", "min:0"):
        with pytest.raises(LabError, match=f"--estimator: found '{wrong}'"):
            spec(wrong)

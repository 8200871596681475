"""How far two medians may be apart."""

from __future__ import annotations

import math

import pytest

from lab.parity.band import Pair


@pytest.mark.parametrize(
    ("virtual", "real", "least_s", "agree"),
    [
        ([2.0], [2.5], 0.0, True),
        ([1.99], [2.5], 0.0, False),
        ([3.0], [2.5], 0.0, True),
        ([0.1], [0.3], 0.2, True),
        ([0.0], [0.0], 0.0, True),
        ([math.inf], [2.0], 0.0, False),
        ([], [2.0], 9.0, False),
        ([1.0, 2.0, 9.0], [0.1, 2.1, 2.2], 0.0, True),
    ],
)
def test_the_larger_of_a_share_and_a_time(
    virtual: list[float], real: list[float], least_s: float, agree: bool
) -> None:
    assert Pair.of("x", virtual, real, 0.2, least_s).agree is agree


def test_json_knows_no_infinity() -> None:
    told = Pair.of("x", [math.inf], [], 0.2).to_dict()
    assert (told["virtual_s"], told["real_s"], told["apart_pct"]) == (None, None, None)
    assert told["agree"] is False

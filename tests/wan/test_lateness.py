"""The histogram of the emulator's own lateness."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wan.lateness import Lateness


def test_nothing_measured_is_no_lateness() -> None:
    assert Lateness().snapshot() == (0.0, 0.0, 0.0)


@given(st.lists(st.floats(0, 5), min_size=1, max_size=300), st.sampled_from([0.5, 0.99, 1.0]))
def test_quantiles_are_upper_bounds_of_their_bin(times: list[float], share: float) -> None:
    subject = Lateness()
    for late in times:
        subject.add(late)
    ordered = sorted(times)
    exact = next(late for n, late in enumerate(ordered, 1) if n >= share * len(ordered))
    width = 1e-5 if exact < 0.01 else 1e-3
    found = subject.quantile(share)
    assert exact <= found <= subject.max_s == max(times)
    assert found <= exact + width + 1e-12 or exact > 1.0

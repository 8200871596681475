"""What is judged of a pair: the floor of its echoes, or with jitter the median."""

from __future__ import annotations

import math

from lab.fidelity import Check

# A machine that is late half of the time.
BUSY = [0.1001] * 10 + [0.1030] * 12
JITTERY = [0.0960] * 10 + [0.1002] * 20 + [0.1040] * 10


def test_lateness_of_some_echoes_is_the_machines() -> None:
    check = Check.of("LHR", "NRT", 0.1, BUSY, jitter=False)
    assert check.ok
    assert (check.measured_s, check.median_s) == (0.1001, 0.1030)


def test_lateness_of_all_echoes_is_the_networks() -> None:
    assert not Check.of("LHR", "NRT", 0.1, [one + 0.0021 for one in BUSY], jitter=False).ok
    assert not Check.of("LHR", "NRT", 0.1, [one - 0.0022 for one in BUSY], jitter=False).ok


def test_the_luckiest_of_jittery_echoes_is_not_what_was_declared() -> None:
    assert not Check.of("LHR", "NRT", 0.1, JITTERY, jitter=False).ok
    assert Check.of("LHR", "NRT", 0.1, JITTERY, jitter=True).ok


def test_no_echo_is_right_only_of_what_is_down() -> None:
    assert Check.of("LHR", "NRT", math.inf, [], jitter=False).ok
    assert not Check.of("LHR", "NRT", 0.1, [], jitter=False).ok
    assert not Check.of("LHR", "NRT", math.inf, [0.1], jitter=False).ok

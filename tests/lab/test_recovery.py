"""What one event of `popnet recovery` is measured to be, from samples alone."""

from __future__ import annotations

import math
from random import Random

import pytest

from lab.load import Sample
from lab.recovery.experiment import Distribution, Settings, distributions, measure, requests

AT_S = 1.0


def asked(t_s: float, total_s: float = 0.05, *, cause: str = "", visitor: str = "tokyo") -> Sample:
    return Sample(
        t_s=t_s,
        visitor=visitor,
        host="",
        url="",
        path="",
        status=0 if cause else 200,
        cause=cause,
        warm=False,
        bytes=0,
        dns_s=0.0,
        connect_s=0.0,
        tls_s=0.0,
        first_byte_s=total_s,
        total_s=total_s,
    )


def steady(until_s: float, visitor: str = "tokyo") -> list[Sample]:
    return [asked(tenth / 10, visitor=visitor) for tenth in range(round(until_s * 10))]


def test_nothing_was_felt() -> None:
    event = measure(0, steady(3.0), AT_S, None)
    assert event.without_s == pytest.approx(0.1)
    assert (event.settled_s, event.failed, event.cut_off) == (0.0, 0, ())


def test_failures_and_the_answer_after_them() -> None:
    failing = [asked(tenth / 10, 0.02, cause="tls: reset") for tenth in range(10, 22)]
    samples = steady(1.0) + failing + [asked(2.2 + tenth / 10) for tenth in range(10)]
    event = measure(0, samples, AT_S, 2.5)
    assert event.without_s == pytest.approx(1.25)
    assert event.first_s == pytest.approx(1.25)
    assert event.settled_s == pytest.approx(1.25)
    assert (event.failed, event.cut_off, event.tunnels_s) == (12, ("tokyo",), 2.5)


def test_late_answers_are_no_failures_but_a_time_without() -> None:
    samples = [*steady(1.0), asked(1.0, 0.8), asked(1.1, 0.75), asked(1.9)]
    event = measure(0, samples, AT_S, None)
    assert (event.failed, event.settled_s) == (0, 0.0)
    assert event.without_s == pytest.approx(0.8)


def test_an_answer_between_two_failures_settles_nothing() -> None:
    samples = [*steady(1.0), asked(1.1, cause="x"), asked(1.2), asked(1.3, cause="x"), asked(1.4)]
    event = measure(0, samples, AT_S, None)
    assert event.first_s == pytest.approx(0.25)
    assert event.settled_s == pytest.approx(0.45)


def test_the_figures_are_those_of_the_worst_visitor() -> None:
    event = measure(0, [*steady(3.0), asked(1.5, cause="x", visitor="london")], AT_S, None)
    assert event.cut_off == ("london",)
    assert event.without_s == event.first_s == event.settled_s == math.inf
    assert event.to_dict()["first_s"] is None


def test_what_was_over_before_does_not_count() -> None:
    samples = [asked(0.2, 0.1, cause="x"), *steady(3.0)]
    assert measure(0, samples, AT_S, None).failed == 0


def test_a_request_in_each_interval_of_each_visitor() -> None:
    settings = Settings(("tokyo", "london"), "https://x/", rate_per_s=4.0)
    found = requests(settings, 3.0, Random(1))
    for visitor in settings.visitors:
        assert [int(one.at_s * 4) for one in found if one.visitor == visitor] == list(range(12))
    assert found == sorted(found, key=lambda one: (one.at_s, one.visitor))


def test_what_never_happened_is_in_the_quantiles() -> None:
    whole = Distribution("first_s", (1.0, 2.0, math.inf))
    assert whole.never == 1
    assert whole.to_dict()["p50_s"] == 2.0
    assert whole.to_dict()["p90_s"] is None


def test_tunnels_of_events_that_lost_none_are_left_out() -> None:
    events = [measure(0, steady(3.0), AT_S, None), measure(1, steady(3.0), AT_S, 2.0)]
    assert distributions(events)[-1].values == (2.0,)

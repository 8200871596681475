from __future__ import annotations

import itertools

import msgspec
import pytest

from lab.load import Arrival, Sample, arrivals
from lab.load_client import Visit
from lab.load_summary import Disturbance, Group, Outage, find_outages, quantile, summarise
from topology.load import parse_world
from topology.model_load import Load
from topology.plan import Plan

PLAN = Plan.of(
    parse_world("{popnet: 1, pops: [LHR, IAD], visitors: [tokyo, london], dns: {}, sites: {}}")
)
URL = "https://app.example.com/"


def planned(until_s: float = 100.0, seed: int = 1, **fields: object) -> list[Arrival]:
    load = msgspec.convert({"rate_per_s": 10, "url": URL, **fields}, Load)
    return list(arrivals(load, PLAN, until_s, seed=seed))


@pytest.mark.parametrize("kind", ["poisson", "constant", "uniform"])
def test_the_rate_is_kept_and_the_order_is_that_of_time(kind: str) -> None:
    found = planned(arrivals=kind)
    assert 900 < len(found) < 1100
    assert all(a.at_s <= b.at_s for a, b in itertools.pairwise(found))
    assert {one.visitor for one in found} == {"tokyo", "london"}


def test_constant_is_constant_and_uniform_has_one_in_each_interval() -> None:
    assert [one.at_s for one in planned(1.0, arrivals="constant")] == pytest.approx(
        [number / 10 for number in range(10)]
    )
    assert [int(one.at_s * 10) for one in planned(5.0, arrivals="uniform")] == list(range(50))


def test_poisson_gaps_vary_as_much_as_their_mean() -> None:
    times = [one.at_s for one in planned(1000.0)]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(0.1, rel=0.1)
    assert deviation == pytest.approx(mean, rel=0.1)


def test_the_same_seed_asks_the_same() -> None:
    assert planned() == planned()
    assert planned() != planned(seed=2)


def test_mix_and_sizes() -> None:
    mix = {"https://a.example.com/": 3, "https://b.example.com/{size}": 1}
    found = planned(url=None, mix=mix, sizes=[10, 20])
    share = sum(one.url == "https://a.example.com/" for one in found) / len(found)
    assert share == pytest.approx(0.75, abs=0.05)
    assert {one.url for one in found} == {
        "https://a.example.com/",
        "https://b.example.com/10",
        "https://b.example.com/20",
    }


def sample(t_s: float, visitor: str = "tokyo", cause: str = "", total_s: float = 0.1) -> Sample:
    return Sample(
        t_s, visitor, "h", URL, "NRT", 0 if cause else 200, cause, False, 1, 0, 0, 0, 0.05, total_s
    )


@pytest.mark.parametrize(
    ("percent", "expected"), [(50, 2.0), (75, 3.0), (76, 4.0), (100, 4.0), (1, 1.0)]
)
def test_quantiles_are_values_that_were_measured(percent: float, expected: float) -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], percent) == expected


def test_an_outage_lasts_until_somebody_is_served_again() -> None:
    samples = [
        sample(1),
        sample(2, cause="tcp: refused"),
        sample(3, cause="tcp: refused"),
        sample(4, total_s=0.5),
        sample(5, "london", "x"),
    ]
    assert find_outages(samples) == [
        Outage("tokyo", 2, 4.5),
        Outage("london", 5, float("inf")),
    ]


def test_recovery_is_counted_from_the_disturbance() -> None:
    samples = [sample(1), sample(11, cause="x"), sample(13, total_s=0.0), sample(30)]
    summary = summarise(samples, [Disturbance(10.0, "kill LHR", 14.0), Disturbance(20.0, "end")])
    first, second = summary.recoveries
    assert (first.recovery_s, first.convergence_s, first.cut_off) == (3.0, 4.0, ("tokyo",))
    assert (second.recovery_s, second.convergence_s, second.cut_off) == (0.0, None, ())
    assert summary.everything.availability == 0.75
    assert summary.causes == {"x": 1}


def test_a_group_of_nothing_has_no_figures() -> None:
    assert Group.of([]).to_dict()["p50_ms"] is None


def test_the_summary_shows_statuses_and_every_figure_that_can_be_asserted() -> None:
    summary = summarise([sample(1), sample(2, total_s=0.3), sample(3, cause="tcp: refused")])
    told = summary.to_dict()
    # Who got no answer has no status.
    assert told["statuses"] == {"200": 2}
    assert (told["max_ms"], told["ttfb_p99_ms"]) == (300.0, 50.0)


@pytest.mark.parametrize(
    ("error", "status", "cause"),
    [
        ("tcp: [Errno 111] 198.18.0.1:443: Connection refused", 0, "tcp: refused"),
        ("dns: app.example.com: no answer in time", 0, "dns: no answer in time"),
        ("request: timed out", 0, "request: timed out"),
        ("", 502, "status 502"),
        ("", 404, ""),
        ("", 200, ""),
    ],
)
def test_causes_name_no_addresses(error: str, status: int, cause: str) -> None:
    visit = Visit(0.0, status=status, error=error)
    assert Sample.of(Arrival(0.0, "tokyo", URL), visit, 0.0).cause == cause

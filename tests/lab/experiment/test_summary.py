"""Samples with a known answer in, rows out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from lab.experiment.files import Row, Sample
from lab.experiment.summary import OVERLAY, TTFB, route_changes, summarise


def sample(algorithm: str, pair: int, ttfb_ms: float, **changed: object) -> Sample:
    made = Sample(
        seed=1 + pair % 2,
        repeat=pair // 10,
        pair_id=pair,
        order=0,
        t_s=float(pair),
        visitor=("tokyo", "london")[pair // 2 % 2],
        host="app.example.com",
        ingress="NRT",
        egress="LHR",
        algorithm=algorithm,
        path="NRT>LHR",
        status=200,
        error="",
        warm=True,
        bytes=1,
        dns_ms=0.0,
        connect_ms=0.0,
        tls_ms=0.0,
        ttfb_ms=ttfb_ms,
        total_ms=ttfb_ms,
        overlay_rtt_ms=ttfb_ms - 5,
        oracle_rtt_ms=90.0,
    )
    return replace(made, **changed)  # type: ignore[arg-type]


def both(gain: Callable[[int], float], count: int = 60, **changed: object) -> list[Sample]:
    return [sample("direct", n, 150.0 + n % 7) for n in range(count)] + [
        sample("relay", n, 150.0 + n % 7 - gain(n), **changed) for n in range(count)
    ]


def overall(samples: list[Sample], metric: str = TTFB, algorithm: str = "relay") -> Row:
    rows = summarise(samples, "direct", {"relay": 77})
    return next(
        row for row in rows if (row.group, row.metric, row.algorithm) == ("all", metric, algorithm)
    )


def test_a_gain_that_is_there_is_found_in_every_column() -> None:
    row = overall(both(lambda n: 10.0))
    assert (row.gain_ms, row.gain_lo, row.gain_hi) == (10.0, 10.0, 10.0)
    assert (row.n_pairs, row.n_blocks, row.base_p50, row.p50) == (60, 12, 153.0, 143.0)
    assert (row.worse_share, row.failed, row.route_changes, row.probe_bytes) == (0, 0, 0, 77)
    assert row.p_holm == pytest.approx(2 / 2**12, abs=1e-6)
    assert row.regret_ms == pytest.approx(153 - 10 - 5 - 90, abs=0.2)
    assert row.verdict == "helps"
    assert overall(both(lambda n: 10.0), OVERLAY).gain_ms == 10.0


def test_what_does_nothing_is_no_gain_and_what_is_slower_harms() -> None:
    assert overall(both(lambda n: 0.0)).verdict == "no gain"
    harm = overall(both(lambda n: -10.0))
    assert (harm.verdict, harm.worse_share) == ("harms", 1.0)


def test_what_varies_more_than_it_gains_is_undecided() -> None:
    row = overall(both(lambda n: 60.0 if n // 10 % 2 else -50.0))
    assert row.verdict == "undecided"


def test_each_city_has_its_own_row() -> None:
    rows = summarise(both(lambda n: 10.0 if n // 2 % 2 else 0.0), "direct")
    found = {row.group: (row.gain_ms, row.verdict) for row in rows if row.metric == TTFB}
    assert found == {
        "all": (5.0, "helps"),
        "london": (10.0, "helps"),
        "tokyo": (0.0, "no gain"),
    }


def test_refusals_and_cold_connections_do_not_count() -> None:
    """A world in which the edge refuses everything must not come out as `no gain`."""
    row = overall(both(lambda n: 0.0, status=403))
    assert (row.n_pairs, row.failed, row.verdict) == (0, 60, "harms")
    refused = [replace(one, status=403) for one in both(lambda n: 0.0)]
    row = overall(refused)
    assert (row.n_pairs, row.failed_base, row.failed, row.verdict) == (0, 60, 60, "undecided")
    assert overall(both(lambda n: 0.0, warm=False)).verdict == "undecided"


def test_fast_but_failing_is_harm() -> None:
    samples = [
        replace(one, error="http: reset", status=0)
        if one.algorithm == "relay" and one.pair_id % 5 == 0
        else one
        for one in both(lambda n: 10.0)
    ]
    row = overall(samples)
    assert (row.n_pairs, row.failed, row.gain_ms, row.verdict) == (48, 12, 10.0, "harms")


def test_changes_are_counted_by_city_and_seed() -> None:
    paths = ["A>B", "A>B", "A>C>B", "A>C>B", "A>B"]
    samples = [
        sample("relay", 4 * n, 100.0, path=path, visitor="tokyo", seed=1)
        for n, path in enumerate(paths)
    ]
    other = [replace(one, visitor="london", path="L") for one in samples]
    assert route_changes([*samples, *other]) == 2
    assert route_changes(replace(one, seed=one.pair_id) for one in samples) == 0


def test_holm_goes_over_the_algorithms() -> None:
    first = both(lambda n: 10.0)
    second = [replace(one, algorithm="other") for one in first if one.algorithm == "relay"]
    alone, among = overall(first).p_holm, overall([*first, *second]).p_holm
    assert alone is not None
    assert among == pytest.approx(2 * alone, abs=2e-6)

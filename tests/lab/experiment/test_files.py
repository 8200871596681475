"""What is written can be read back, and what is not ours is refused with its place."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.driver import LabError
from lab.experiment.files import Row, Sample, from_csv, number, read, to_csv, write

SAMPLE = Sample(
    seed=1,
    repeat=2,
    pair_id=3,
    order=0,
    t_s=1.25,
    visitor="tokyo",
    host="app.example.com",
    ingress="NRT",
    egress="LHR",
    algorithm="one-relay",
    path="NRT>IAD>LHR",
    status=200,
    error="",
    warm=True,
    bytes=493,
    dns_ms=0.0,
    connect_ms=0.0,
    tls_ms=0.0,
    ttfb_ms=250.125,
    total_ms=250.5,
    overlay_rtt_ms=245.0,
    oracle_rtt_ms=None,
)
ROW = Row(
    baseline="direct",
    algorithm="one-relay",
    group="all",
    metric="ttfb_ms",
    n_pairs=10,
    n_blocks=2,
    base_p50=100.0,
    p50=90.0,
    p95=99.0,
    p99=99.0,
    gain_ms=10.0,
    gain_lo=None,
    gain_hi=None,
    worse_share=0.0,
    p_holm=0.5,
    failed_base=0,
    failed=0,
    route_changes=0,
    regret_ms=1.0,
    probe_bytes=None,
    verdict="undecided",
)


def test_columns_stand_as_they_are_documented() -> None:
    assert to_csv([], Sample).strip() == (
        "schema,seed,repeat,pair_id,order,t_s,visitor,host,ingress,egress,algorithm,path,status,error,warm,bytes,"
        "dns_ms,connect_ms,tls_ms,ttfb_ms,total_ms,overlay_rtt_ms,oracle_rtt_ms"
    )
    assert to_csv([], Row).strip() == (
        "schema,baseline,algorithm,group,metric,n_pairs,n_blocks,base_p50,p50,p95,p99,gain_ms,gain_lo,gain_hi,"
        "worse_share,p_holm,failed_base,failed,route_changes,regret_ms,probe_bytes,verdict"
    )


def test_all_files_come_back(tmp_path: Path) -> None:
    write(tmp_path / "new", samples=[SAMPLE], rows=[ROW], extra={"a": 1}, manifest={"b": [2]})
    found = read(tmp_path / "new")
    assert (found.samples, found.rows) == ([SAMPLE], [ROW])
    assert found.summary["a"] == 1
    assert found.summary["rows"][0]["verdict"] == "undecided"
    assert found.manifest == {"schema": 1, "b": [2]}


@given(
    error=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=9),
    ttfb=st.floats(0, 1e6),
    warm=st.booleans(),
)
def test_any_sample_comes_back(error: str, ttfb: float, warm: bool) -> None:
    sample = replace(SAMPLE, error=error, ttfb_ms=round(ttfb, 6), warm=warm)
    assert from_csv(to_csv([sample], Sample), Sample) == [sample]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "schema,seed",
            "schema,seeds",
            "f.csv:1: found 23 columns (missing: seed; unknown: seeds)",
        ),
        ("1,1,2,3", "9,1,2,3", "f.csv:2: schema: found 9, allowed: 1"),
        ("250.125", "fast", "f.csv:2: ttfb_ms: found 'fast', allowed: float"),
        (",true,", ",yes,", "f.csv:2: warm: found 'yes', allowed: bool"),
        (",493,", ",", "f.csv:2: found 22 fields, allowed: 23"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(old: str, new: str, told: str) -> None:
    text = to_csv([SAMPLE], Sample)
    assert old in text
    with pytest.raises(LabError) as caught:
        from_csv(text.replace(old, new, 1), Sample, "f.csv")
    assert str(caught.value).startswith(told)


def test_a_directory_without_results_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"no samples\.csv .*popnet compare --out DIR"):
        read(tmp_path)


def test_numbers_that_json_does_not_know_are_none() -> None:
    assert number(math.inf) is None
    assert number(math.nan) is None
    assert number(1.23456789) == 1.2346

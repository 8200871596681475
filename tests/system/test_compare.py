"""A comparison by real packets: the header picks the table, pairs share everything else, nothing is left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.experiment.files import read

pytestmark = pytest.mark.system

# By way of C it is 60 ms shorter from B to the tunnels in A.
TRIANGLE = """
popnet: 1
name: triangle
pops:
  A: {at: [51.5, 0], region: 1}
  B: {at: [35.6, 139.7]}
  C: {at: [40, 60], region: 2}
internet:
  rtt_ms: {A: {B: 100, C: 20}, B: {C: 20}, a-site: {A: 4, C: 100}, b-city: {B: 4}}
visitors: {b-city: {at: [35, 139]}}
sites: {a-site: {at: [52, 0]}}
tunnels: {app: {site: a-site}}
dns: {app.example.com: {tunnel: app}}
"""


def test_pairs_go_by_the_table_that_they_name(popnet: Any, tmp_path: Path) -> None:
    world, out = tmp_path / "triangle.yaml", tmp_path / "out"
    world.write_text(TRIANGLE)
    short = ("--requests", "10", "--every", "300ms", "--warm-up", "4s", "--out", str(out))
    told = json.loads(popnet("compare", str(world), "--driver", "local", *short, "-o", "json"))
    found = read(out)
    assert {(one.algorithm, one.path) for one in found.samples} == {
        ("direct", "B>A"),
        ("one-relay", "B>C>A"),
    }
    assert len(found.samples) == 20
    assert all(one.ok and one.warm for one in found.samples)
    assert {one.order for one in found.samples if one.algorithm == "direct"} == {0, 1}
    (row,) = [row for row in told["rows"] if (row["group"], row["metric"]) == ("all", "ttfb_ms")]
    assert row["gain_ms"] == pytest.approx(60, abs=15)
    assert found.manifest["driver"] == "local"
    assert found.manifest["fidelity_ok"] in (True, False)
    assert [path.name for path in popnet.base.glob("compare-*")] == []

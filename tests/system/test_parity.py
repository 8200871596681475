"""Virtual time against real packets, and the same load through both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.driver import Lab

pytestmark = pytest.mark.system

LOAD = """
load: {rate_per_s: 10, arrivals: constant, url: "https://app.example.com/bytes/1000"}
assert: [availability >= 99%, p95(london) < 5s, failed <= 0]
"""


def test_traces_agree_with_virtual_time(popnet: Any, lab: Lab) -> None:
    """Paths are equal, and what the links declare agrees within 1 ms or 2 %: the command itself checks it."""
    told = json.loads(popnet("parity", "--only", "traces", "-n", lab.name, "-o", "json"))
    rows = told["traces"]
    assert {row["visitor"] for row in rows} == {"london", "new-york"}
    assert all(row["agree"] for row in rows)


def test_transfers_of_both_are_put_side_by_side(popnet: Any, lab: Lab) -> None:
    """So few tell nothing of medians, but all that they are made of."""
    few = ("parity", "--only", "transfers", "--count", "4", "-n", lab.name, "-o", "json")
    told = json.loads(popnet(*few, code=None))
    (pair,) = told["medians"]
    assert (pair["virtual_count"], pair["real_count"]) == (4, 4)
    assert "1 MB new-york > london" in told["choices"]["transfers"]
    assert not lab.wan("links", pairs=[["london", "new-york"]])["links"][0]["current"]["loss"]


def test_the_same_load_through_both_drivers(popnet: Any, lab: Lab, world: Path) -> None:
    file = world.with_name("load.yaml")
    file.write_text(world.read_text() + LOAD)
    real = json.loads(popnet("load", str(file), "-n", lab.name, "--for", "3s", "-o", "json"))
    played = json.loads(popnet("run", str(file), "--until", "3s", "-o", "json"))
    assert real["requests"] == played["requests"] == 30
    assert real["path_shares_pct"] == played["path_shares_pct"]
    for visitor, figures in played["visitors"].items():
        # Real programs take time, so real requests are slower, never faster.
        assert real["visitors"][visitor]["p50_ms"] > figures["p50_ms"] - 1

"""What `popnet routes` and `popnet lsdb` say about what PoPs told."""

from __future__ import annotations

from typing import Any

import pytest

from lab import explained


def view(me: str, **routes: Any) -> dict[str, Any]:
    fields = {"tunnel": "app", "chosen_s_ago": 75.0, "was": None, "reason": "first", "direct": None}
    return {"me": me, "routes": [{**fields, "route": None, **routes}]}


def test_routes_and_what_they_gain_over_direct() -> None:
    path = {"pops": ["NRT", "IAD", "LHR"], "cost_ms": 246.0}
    direct = {"pops": ["NRT", "FRA"], "cost_ms": 276.0}
    views = [
        view("NRT", route=path, direct=direct, was=["NRT", "SIN", "FRA"], reason="better"),
        view("LHR", route={"pops": ["LHR"], "cost_ms": 11.0}, direct={"pops": ["LHR"], "cost_ms": 11.0}),
        view("SYD"),
    ]  # fmt: skip
    assert explained.routes(views).rows[0] == (
        "NRT", "app", "NRT>IAD>LHR", "246.0", "1m15s", "NRT>SIN>FRA (better)",
    )  # fmt: skip
    assert explained.routes(views).rows[2][2:4] == ("-", "-")
    table, summary = explained.diff(explained.gains(views))
    assert table.rows[0][-2:] == ("30.0", "10.9")
    assert summary == (
        "1 of 2 routes go by a relay; on average a route gains 15.0 ms (10.5 %), as measured"
    )


def lsdb(me: str, **seqs: int) -> dict[str, Any]:
    return {
        "me": me,
        "lsas": [{"origin": one, "seq": seq, "checksum": seq} for one, seq in seqs.items()],
    }


def test_databases_agree_when_news_has_arrived_a_moment_later() -> None:
    before = [lsdb("A", A=5, B=7), lsdb("B", A=4, B=7)]
    assert explained.disagreements(before, [lsdb("A", A=6, B=7), lsdb("B", A=5, B=8)]) == []
    assert explained.disagreements(before, before) == ["B has A #4, there is #5"]
    assert explained.disagreements(before, [lsdb("A", A=5, B=7), lsdb("B", B=7)]) == [
        "B knows nothing of A"
    ]
    other = lsdb("B", A=5, B=7)
    other["lsas"][0]["checksum"] = 99
    assert explained.disagreements(before, [lsdb("A", A=5, B=7), other]) == ["two versions of A #5"]


def test_lines_of_the_database() -> None:
    link = {"to": "B", "rtt_ms": 12.34, "usable": True}
    leave = {"tunnel": "app"}
    shown = {
        "origin": "A", "seq": 3, "age_s": 1.25, "load": 2.0, "reachable": True, "withdrawn": False,
        "links": [link, {**link, "to": "C", "usable": False}], "exits": [leave, leave],
    }  # fmt: skip
    row = explained.lsas({"me": "A", "lsas": [shown]}).rows[0]
    assert row == ("A", "3", "1.2", "2", "app 2", "B 12.3  C 12.3?", "")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0s"), (59.9, "59.9s"), (252.0, "4m12s"), (7260.0, "2h01m")]
)
def test_ages(seconds: float, text: str) -> None:
    assert explained.ago(seconds) == text

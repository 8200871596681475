"""What `popnet why`, `routes` and `lsdb` say about what PoPs told."""

from __future__ import annotations

from typing import Any

import pytest

from lab import explained
from lab.driver import LabError
from lab.explained import Oracle
from lab.seen import tunnel_of
from topology.load import load_world
from topology.plan import Plan


def candidate(path: str, overlay: float, last_leg: float, **fields: Any) -> dict[str, Any]:
    pops = path.split(">")
    hops = float(max(0, len(pops) - 2))
    cost = overlay + hops + last_leg
    return {
        "path": pops,
        "connection": "c0",
        "chosen": False,
        "terms_ms": {"overlay": overlay, "hops": hops, "last_leg": last_leg},
        "cost_ms": cost,
        "behind_ms": cost - 246.0,
        "direct": len(pops) <= 2,
        **fields,
    }


def told(**fields: Any) -> dict[str, Any]:
    return {
        "me": "NRT",
        "tunnel": "app",
        "algorithm": "one-relay",
        "damping_text": "5 %/10 s",
        "error": None,
        "problem": None,
        "path": ["NRT", "IAD", "LHR"],
        "link_state_age_s": 0.8,
        "chosen_s_ago": 252.0,
        "pending": None,
        "damping": {"young": False, "needed_gain_ms": 12.3, "held_for_s": 0.0, "refused": None},
        "candidates": [
            candidate("NRT>IAD>LHR", 234.0, 11.0, chosen=True),
            candidate("NRT>IAD>LHR", 234.0, 11.5, connection="c1"),
            candidate("NRT>SIN>FRA", 228.0, 21.0),
            candidate("NRT>FRA", 255.0, 21.0),
        ],
        "flips": [
            {"link": ["NRT", "IAD"], "change_ms": 17.158, "to": ["NRT", "SIN", "FRA"]},
            {"link": ["IAD", "LHR"], "change_ms": 17.158, "to": ["NRT", "SIN", "FRA"]},
            {"link": ["SIN", "FRA"], "change_ms": -16.3, "to": ["NRT", "SIN", "FRA"]},
        ],
        **fields,
    }


def test_the_route_first_then_each_path_once_with_its_terms() -> None:
    shown = explained.why(told())
    assert shown.head == (
        "NRT to app   one-relay, damping 5 %/10 s   link state 0.8 s old   chosen 4m12s ago"
    )
    assert [list(row) for row in shown.table.rows] == [
        ["*", "NRT>IAD>LHR", "234.0", "1.0", "11.0", "246.0", ""],
        ["2", "NRT>SIN>FRA", "228.0", "1.0", "21.0", "250.0", "+4.0"],
        ["3", "NRT>FRA", "255.0", "0.0", "21.0", "276.0", "+30.0  direct"],
    ]
    assert shown.table.columns == ["", "PATH", "OVERLAY", "+ HOPS", "+ LAST LEG", "= COST ms", ""]
    assert shown.sentences == [
        "Flips to 2 if NRT-IAD or IAD-LHR rises 17.2 ms, or to 2 if SIN-FRA falls 16.3 ms.",
        "Another path must be 12.3 ms better.",
    ]


def test_all_connections_when_asked() -> None:
    shown = explained.why(told(), everything=True)
    assert [row[1:3] for row in shown.table.rows][:2] == [
        ["NRT>IAD>LHR", "c0"],
        ["NRT>IAD>LHR", "c1"],
    ]
    assert {len(row) for row in shown.table.rows} == {len(shown.table.columns)}
    assert len(shown.table.right) == len(shown.table.columns)


def test_a_long_list_is_cut_but_not_the_route_nor_the_direct_path() -> None:
    many = [candidate(f"NRT>P{i}>LHR", 100.0 + i, 11.0) for i in range(20)]
    mine = candidate("NRT>IAD>LHR", 150.0, 11.0, chosen=True)
    direct = candidate("NRT>LHR", 270.0, 11.0)
    shown = explained.why(told(candidates=[*many, mine, direct], flips=[]))
    assert [row[0] for row in shown.table.rows] == ["1", "2", "3", "4", "5", "*", "22"]


def test_the_oracle_adds_truth_and_regret() -> None:
    by_path = {
        ("NRT", "IAD", "LHR"): 245.0,
        ("NRT", "SIN", "FRA"): 240.0,
        ("NRT", "FRA"): float("inf"),
    }
    oracle = Oracle(by_path, ("NRT", "SIN", "FRA"), 240.0)
    shown = explained.why(told(), oracle)
    assert [row[-2] for row in shown.table.rows] == ["245.0", "240.0", "-"]
    assert shown.sentences[-1] == (
        "By the declared RTTs the best is NRT>SIN>FRA, 240.0 ms: regret 5.0 ms."
    )
    as_json = oracle.to_dict(("NRT", "IAD", "LHR"))
    assert as_json["regret_ms"] == 5.0
    assert as_json["candidates"][-1]["true_ms"] is None


@pytest.mark.parametrize(
    ("because", "says"),
    [
        ("gain", "A>B is 6.0 ms better; damping asks for 12.3 ms."),
        ("hold", "A>B is 6.0 ms better, but the route is held for 4.2 s more."),
        (
            "return",
            "A>B is 6.0 ms better, but was left lately: it must stay better for 4.2 s more.",
        ),
        ("cap", "A>B is 6.0 ms better, but too many routes move at once; it waits for 4.2 s more."),
    ],
)
def test_what_damping_did_not_allow(because: str, says: str) -> None:
    refused = {
        "path": ["A", "B"],
        "because": because,
        "gain_ms": 6.0,
        "needed_ms": 12.3,
        "for_s": None if because == "gain" else 4.2,
    }
    damping = {"young": False, "needed_gain_ms": 12.3, "held_for_s": 4.2, "refused": refused}
    said = explained.why(told(damping=damping)).sentences
    assert says in said
    assert said[-1] == "Another path must be 12.3 ms better; held for 4.2 s more."


def test_nothing_that_flips_no_path_and_a_failed_algorithm() -> None:
    assert explained.why(told(flips=[])).sentences[0] == (
        "No rise or fall of a single link would change this."
    )
    nowhere = explained.why(told(candidates=[], path=None))
    assert nowhere.sentences == ["No path: no connection of app can be reached."]
    assert nowhere.table.rows == []
    failed = explained.why(told(error="algorithm 'x': raised ValueError", problem="no answer"))
    assert failed.sentences[0].startswith("algorithm 'x': raised ValueError; the last good table")
    assert failed.sentences[1] == "What would change this was not tried: no answer."


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


def test_the_tunnel_behind_a_name() -> None:
    plan = Plan.of(load_world("topology.yaml"))
    assert {tunnel_of(plan, text) for text in (
        "app.example.com", "https://app.example.com/page?x", "app.example.com/page", "app"
    )} == {"app"}  # fmt: skip
    with pytest.raises(LabError, match=r"did you mean app\.example\.com"):
        tunnel_of(plan, "apq.example.com")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0s"), (59.9, "59.9s"), (252.0, "4m12s"), (7260.0, "2h01m")]
)
def test_ages(seconds: float, text: str) -> None:
    assert explained.ago(seconds) == text

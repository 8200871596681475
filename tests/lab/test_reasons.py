"""What `popnet why` says about what a PoP told."""

from __future__ import annotations

from typing import Any

import pytest

from lab import reasons
from lab.driver import LabError
from lab.named import Named, named, request
from lab.reasons import Oracle
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
    """Candidates ranked as they come."""
    shown = {
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
    ranked = [{"rank": rank, **one} for rank, one in enumerate(shown["candidates"], 1)]
    return {**shown, "candidates": ranked}


def test_the_route_first_then_each_path_once_with_its_terms() -> None:
    shown = reasons.why(told())
    assert shown.head == (
        "NRT to app   one-relay, damping 5 %/10 s   link state 0.8 s old   chosen 4m12s ago"
    )
    assert [list(row) for row in shown.table.rows] == [
        ["*", "1", "NRT>IAD>LHR", "c0", "234.0", "1.0", "11.0", "246.0", ""],
        ["", "3", "NRT>SIN>FRA", "c0", "228.0", "1.0", "21.0", "250.0", "+4.0"],
        ["", "4", "NRT>FRA", "c0", "255.0", "0.0", "21.0", "276.0", "+30.0  direct"],
    ]
    terms = ["OVERLAY", "+ HOPS", "+ LAST LEG", "= COST ms"]
    assert shown.table.columns == ["", "RANK", "PATH", "CONNECTION", *terms, ""]
    assert shown.sentences == [
        "Flips to 3 if NRT-IAD or IAD-LHR rises 17.2 ms, or if SIN-FRA falls 16.3 ms.",
        "Another path must be 12.3 ms better.",
    ]


def test_each_target_of_a_flip_is_named_once_by_its_rank_or_its_pops() -> None:
    far = ["NRT", "GRU", "LHR"]
    flips = [
        {"link": ["NRT", "IAD"], "change_ms": 17.2, "to": ["NRT", "SIN", "FRA"]},
        {"link": ["IAD", "LHR"], "change_ms": 19.0, "to": far},
        {"link": ["SIN", "FRA"], "change_ms": -16.3, "to": ["NRT", "SIN", "FRA"]},
    ]
    assert reasons.why(told(flips=flips)).sentences[0] == (
        "Flips to 3 if NRT-IAD rises 17.2 ms, or if SIN-FRA falls 16.3 ms; "
        "to NRT>GRU>LHR if IAD-LHR rises 19.0 ms."
    )


def test_another_connection_at_the_same_pops_is_named() -> None:
    connector = "afc9fbd7-856c-4165-bc8e-b1a65fef56d4"
    candidates = [
        candidate("NRT>IAD>LHR", 234.0, 9.2, connection=f"{connector}.0"),
        candidate("NRT>SIN>FRA", 228.0, 16.0, connection=f"{connector}.1"),
        candidate("NRT>SIN>LHR", 234.5, 10.0, connection=f"{connector}.0"),
        candidate("NRT>IAD>LHR", 234.0, 11.0, connection=f"{connector}.2", chosen=True),
        candidate("NRT>FRA", 255.0, 16.0, connection=f"{connector}.1"),
    ]
    refused = {
        "path": ["NRT", "IAD", "LHR"],
        "connection": f"{connector}.0",
        "because": "gain",
        "gain_ms": 1.8,
        "needed_ms": 12.6,
        "for_s": None,
    }
    damping = {"young": False, "needed_gain_ms": 12.6, "held_for_s": 0.0, "refused": refused}
    shown = reasons.why(told(candidates=candidates, damping=damping, flips=[]))
    assert [list(row[:4]) for row in shown.table.rows] == [
        ["", "1", "NRT>IAD>LHR", "c0"],
        ["", "2", "NRT>SIN>FRA", "c1"],
        ["", "3", "NRT>SIN>LHR", "c0"],
        ["*", "4", "NRT>IAD>LHR", "c2"],
        ["", "5", "NRT>FRA", "c1"],
    ]
    assert "NRT>IAD>LHR by c0 is 1.8 ms better; damping asks for 12.6 ms." in shown.sentences


def test_connections_are_called_as_trace_calls_them() -> None:
    first, second = "afc9fbd7-856c", "afc90000-1234"
    assert reasons.short([f"{first}.0", f"{first}.3"]) == {f"{first}.0": "c0", f"{first}.3": "c3"}
    assert list(reasons.short([f"{first}.0", f"{second}.0"]).values()) == ["afc9f/c0", "afc90/c0"]
    assert reasons.short(iter(["plain"])) == {"plain": "plain"}


def test_a_route_without_a_link_has_none_that_could_rise() -> None:
    here = [candidate("LHR", 0.0, 11.0, chosen=True), candidate("LHR>FRA", 14.0, 21.0)]
    shown = reasons.why(told(candidates=here, path=["LHR"], flips=[]))
    assert shown.sentences[0] == (
        "The route has no link, and no fall of another path's link would change it."
    )


def test_the_rule_is_named_as_everywhere() -> None:
    passes = {"rule": 4, "name": "rule 4 allow", "status": 0, "detail": ""}
    assert reasons.security(passes) == "security: rule 4 allow"
    refused = {"rule": 1, "name": "rule 1 block", "status": 403, "detail": "it is forbidden"}
    assert reasons.security(refused) == "security: rule 1 block: refused, 403 it is forbidden"


def member(tunnel: str, **fields: Any) -> dict[str, Any]:
    return {
        "tunnel": tunnel, "weight": 1.0, "state": "up", "cause": None, "reason": None, "cost_ms": 24.1,
        "check_ms": 0.0, "outstanding": 3, **fields,
    }  # fmt: skip


MEMBERS = [
    member("europe", state="left alone", cause="requests", reason="status 503", cost_ms=12.0),
    member("asia", state="draining"),
    member("america", weight=2.5, check_ms=9.4),
    member("africa", state="down", cause="routes", reason="there is no way to it", cost_ms=None),
    member("oceania", state="down", cause="checks"),
]


def test_members_of_a_load_balancer_and_which_of_them_serves() -> None:
    head, table = reasons.balancer(
        {"name": "www", "steering": "failover", "chosen": "america", "members": MEMBERS}
    )
    assert head == "load balancer www, steering failover: the first that is up serves: america"
    assert table.rows == [
        ("", "europe", "left alone", "1", "12.0", "-", "3", "requests failed: status 503"),
        ("", "asia", "draining", "1", "24.1", "-", "3", ""),
        ("*", "america", "up", "2.5", "24.1", "9.4", "3", ""),
        ("", "africa", "down", "1", "-", "-", "3", "there is no way to it"),
        ("", "oceania", "down", "1", "24.1", "-", "3", "health checks"),
    ]
    assert len(table.right) == len(table.columns)


@pytest.mark.parametrize(
    ("steering", "chosen", "says"),
    [
        ("weighted", "america", "chance decides by weight, for each request; likely america"),
        ("failover", None, "no member can serve"),
        ("failover", "sorry", "no member can serve, the fallback does: sorry"),
        (
            "failover",
            "europe",
            "requests failed at every member that is up; europe gets them all the same",
        ),
    ],
)
def test_why_a_member_serves(steering: str, chosen: str | None, says: str) -> None:
    told = {"name": "www", "steering": steering, "chosen": chosen, "members": MEMBERS}
    assert reasons.balancer(told)[0] == f"load balancer www, steering {steering}: {says}"


RECORDS = [
    {"name": "app.example.com", "version": 3, "origin": "LHR"},
    {"name": "shop.example.com", "version": 4, "origin": "FRA", "tunnel": "app"},
    {"name": "www.example.com", "version": 0, "origin": "", "load_balancer": "www"},
]


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("shop.example.com", Named("shop.example.com", "/", tunnel="app")),
        ("https://Shop.example.com:443/a?b=c", Named("shop.example.com", "/a?b=c", tunnel="app")),
        ("www.example.com/page", Named("www.example.com", "/page", balancer="www")),
        ("app", Named("", "/", tunnel="app")),
    ],
)
def test_a_name_leads_where_the_records_say(text: str, means: Named) -> None:
    assert named(text, RECORDS, ["app"]) == means


@pytest.mark.parametrize("text", ["app.example.com", "https://[x", ""])
def test_a_name_that_leads_nowhere_is_refused(text: str) -> None:
    """One was in the world file, and was removed."""
    with pytest.raises(LabError):
        named(text, RECORDS, ["app"])


def test_the_policy_is_asked_about_the_visitor() -> None:
    plan = Plan.of(load_world("topology.yaml"))
    asked = request(named("https://shop.example.com/a?b", RECORDS, []), plan.nodes["london"])
    assert asked == {
        "host": "shop.example.com",
        "path": "/a?b",
        "address": plan.nodes["london"].address,
        "country": plan.nodes["london"].country or "XX",
    }


def test_all_connections_when_asked() -> None:
    shown = reasons.why(told(), everything=True)
    assert [row[2:4] for row in shown.table.rows][:2] == [
        ["NRT>IAD>LHR", "c0"],
        ["NRT>IAD>LHR", "c1"],
    ]
    assert {len(row) for row in shown.table.rows} == {len(shown.table.columns)}
    assert len(shown.table.right) == len(shown.table.columns)


def test_a_long_list_is_cut_but_not_the_route_nor_the_direct_path() -> None:
    many = [candidate(f"NRT>P{i}>LHR", 100.0 + i, 11.0) for i in range(20)]
    mine = candidate("NRT>IAD>LHR", 150.0, 11.0, chosen=True)
    direct = candidate("NRT>LHR", 270.0, 11.0)
    shown = reasons.why(told(candidates=[*many, mine, direct], flips=[]))
    assert [row[1] for row in shown.table.rows] == ["1", "2", "3", "4", "5", "21", "22"]
    assert [row[0] for row in shown.table.rows] == ["", "", "", "", "", "*", ""]
    assert "CONNECTION" not in shown.table.columns


def test_the_oracle_adds_truth_and_regret() -> None:
    by_path = {
        ("NRT", "IAD", "LHR"): 245.0,
        ("NRT", "SIN", "FRA"): 240.0,
        ("NRT", "FRA"): float("inf"),
    }
    oracle = Oracle(by_path, ("NRT", "SIN", "FRA"), 240.0)
    shown = reasons.why(told(), oracle)
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
        "connection": "c0",
        "because": because,
        "gain_ms": 6.0,
        "needed_ms": 12.3,
        "for_s": None if because == "gain" else 4.2,
    }
    damping = {"young": False, "needed_gain_ms": 12.3, "held_for_s": 4.2, "refused": refused}
    said = reasons.why(told(damping=damping)).sentences
    assert says in said
    assert said[-1] == "Another path must be 12.3 ms better; held for 4.2 s more."


def test_nothing_that_flips_no_path_and_a_failed_algorithm() -> None:
    assert reasons.why(told(flips=[])).sentences[0] == (
        "No rise or fall of a single link would change this."
    )
    nowhere = reasons.why(told(candidates=[], path=None))
    assert nowhere.sentences == ["No path: no connection of app can be reached."]
    assert nowhere.table.rows == []
    failed = reasons.why(told(error="algorithm 'x': raised ValueError", problem="no answer"))
    assert failed.sentences[0].startswith("algorithm 'x': raised ValueError; the last good table")
    assert failed.sentences[1] == "What would change this was not tried: no answer."

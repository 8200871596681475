"""Splitting a measured request into network and processing."""

from __future__ import annotations

from typing import Any

import pytest

from lab.cli import tracing
from lab.journey import journey, server_timing

RTT = {
    ("tokyo", "NRT"): 0.005,
    ("NRT", "IAD"): 0.158,
    ("IAD", "LHR"): 0.076,
    ("LHR", "dublin"): 0.011,
}


def rtt_s(a: str, b: str) -> float:
    return RTT[a, b]


def visit(headers: list[list[str]], request: float) -> dict[str, Any]:
    return {
        "phases": {"dns": 0.0052, "tcp": 0.0051, "tls": 0.0059, "request": request, "body": 0.0},
        "status": 200,
        "headers": headers,
    }


def test_nested_waits_unfold_into_legs() -> None:
    headers = [
        ["popnet-path", "NRT>IAD>LHR"],
        ["popnet-connection", "c0"],
        ["cf-ray", "8f2c1e-NRT"],
        [
            "server-timing",
            'NRT;dur=247.2;desc="ingress", IAD;dur=88.9;desc="relay", LHR;dur=12.1;desc=egress, origin;dur=0.8',
        ],
    ]
    told = journey(
        "https://app.example.com/", "tokyo", "NRT", "dublin", visit(headers, 0.2526), rtt_s
    )
    legs = [(p.name, p.emulated_s, round(p.processing_s * 1e3, 3), p.note) for p in told.phases]
    assert legs == [
        ("dns", 0.005, 0.2, "NRT"),
        ("tcp", 0.005, 0.1, "NRT"),
        ("tls", 0.005, 0.9, "NRT"),
        ("tokyo <> NRT", 0.005, 0.4, ""),
        ("NRT <> IAD", 0.158, 0.3, "relay"),
        ("IAD <> LHR", 0.076, 0.8, ""),
        ("LHR <> dublin", 0.011, 0.3, "tunnel c0"),
        ("origin", None, 0.8, ""),
    ]
    shown = told.to_dict()
    assert shown["path"] == ["NRT", "IAD", "LHR"]
    assert shown["site"] == "dublin"
    assert (shown["ingress"], shown["egress"], shown["hops"]) == ("NRT", "LHR", 2)
    assert shown["total_ms"] == pytest.approx(268.8)
    assert shown["emulated_ms"] == pytest.approx(265.0)


def test_a_pop_that_answers_by_itself_ends_the_journey() -> None:
    headers = [["popnet-path", "NRT"], ["cf-ray", "1-NRT"]]
    told = journey(
        "https://gone.example.com/", "tokyo", "NRT", "dublin", visit(headers, 0.0055), rtt_s
    )
    assert [phase.name for phase in told.phases] == ["dns", "tcp", "tls", "tokyo <> NRT"]
    assert told.to_dict()["site"] is None


def test_a_connector_that_does_not_tell_the_origin_time_keeps_it_in_its_leg() -> None:
    headers = [["popnet-path", "LHR"], ["server-timing", "LHR;dur=14.0"]]
    told = journey(
        "https://app.example.com/",
        "dublin",
        "LHR",
        "dublin",
        visit(headers, 0.026),
        lambda a, b: 0.011,
    )
    assert [phase.name for phase in told.phases[3:]] == ["dublin <> LHR", "LHR <> dublin"]
    assert told.phases[-1].processing_s == pytest.approx(0.003)


@pytest.mark.parametrize(
    ("value", "metrics"),
    [
        ("", []),
        ("a", []),
        ("a;dur=1", [("a", 0.001, "")]),
        ('a;desc="x, y";dur=2.5,b;dur=1', [("a", 0.0025, "x, y"), ("b", 0.001, "")]),
        ("a;dur=oops, b ; dur = 3", [("b", 0.003, "")]),
    ],
)
def test_server_timing(value: str, metrics: list[tuple[str, float, str]]) -> None:
    assert server_timing(value) == metrics


@pytest.mark.parametrize(
    ("fields", "first", "second"),
    [
        ([], "", ""),
        ([["popnet-security", "no rule"]], "", ""),
        ([["popnet-security", "rule 2 allow"]], "   security: rule 2 allow", ""),
        (
            [["popnet-security", "no rule; logged by rule 1 watch"]],
            "   security: no rule; logged by rule 1 watch",
            "",
        ),
        (
            [["popnet-security", "policy unreadable"], ["popnet-problem", "Forbidden: it is so"]],
            "   security: policy unreadable",
            "Forbidden: it is so",
        ),
        ([["popnet-problem", "The tunnel is not connected"]], "", "The tunnel is not connected"),
    ],
)
def test_a_trace_shows_the_rule_and_why_the_edge_answered_itself(
    capsys: pytest.CaptureFixture[str], fields: list[list[str]], first: str, second: str
) -> None:
    headers = [["popnet-path", "NRT"], ["cf-ray", "1-NRT"], *fields]
    told = journey("https://x.example/", "tokyo", "NRT", None, visit(headers, 0.0055), rtt_s)
    tracing.show(told)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("ray 1-NRT" + first)
    assert lines[1] == second if second else lines[1].startswith("PHASE")
    shown = told.to_dict()
    assert (shown["security"], shown["problem"]) == (
        told.headers.get("popnet-security"),
        second or None,
    )

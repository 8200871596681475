"""The schedule that a timeline becomes. Time is made up."""

from __future__ import annotations

import math

import pytest

from topology.plan import Happening
from wan.timeline import NodeAction, Partitioning, Timeline, Vanishing, Wishes


def timeline(planner, *entries: dict[str, object]) -> Timeline:  # type: ignore[no-untyped-def]
    happenings: tuple[Happening, ...] = planner(timeline=list(entries)).timeline
    return Timeline(happenings)


def steps(subject: Timeline, until: float) -> list[tuple[float, object]]:
    """(when, step) for all that is due until then, asked for at its own time."""
    out: list[tuple[float, object]] = []
    while subject.next_at <= until:
        at = subject.next_at
        out += [(at, step) for step in subject.due(at)]
    return out


def downs(found: list[tuple[float, object]]) -> list[tuple[float, bool]]:
    return [
        (at, step.wishes[0].fields is not None) for at, step in found if isinstance(step, Wishes)
    ]


def test_nothing_is_due_before_the_start(planner) -> None:  # type: ignore[no-untyped-def]
    subject = timeline(planner, {"at": "0s", "kill": "LHR"})
    assert subject.next_at == math.inf
    subject.start(100.0)
    assert steps(subject, 100.0) == [(100.0, NodeAction("LHR", "kill"))]


def test_a_set_lasts_for_its_time(planner) -> None:  # type: ignore[no-untyped-def]
    subject = timeline(
        planner,
        {
            "at": "30s",
            "for": "10s",
            "set": {"from": "SIN", "to": "NRT", "rtt_ms": 400, "loss_pct": 1},
        },
    )
    subject.start(0.0)
    (begin, on), (end, off) = steps(subject, 1000)
    assert (begin, end) == (30.0, 40.0)
    assert [(w.source, w.destination) for w in on.wishes] == [("SIN", "NRT"), ("NRT", "SIN")]
    assert on.wishes[0].fields == {"one_way_s": 0.2, "loss": 0.01}
    assert [w.fields for w in off.wishes] == [None, None]
    assert on.owner == off.owner


def test_what_has_no_end_stays(planner) -> None:  # type: ignore[no-untyped-def]
    subject = timeline(planner, {"at": "1s", "cut": ["SIN", "NRT"]})
    subject.start(0.0)
    assert downs(steps(subject, 1e6)) == [(1.0, True)]
    assert subject.next_at == math.inf


def test_nodes(planner) -> None:  # type: ignore[no-untyped-def]
    subject = timeline(
        planner,
        {"at": "1s", "for": "1s", "kill": ["LHR", "SIN"]},
        {"at": "3s", "for": "1s", "pause": "LHR"},
        {"at": "5s", "for": "1s", "vanish": "LHR"},
        {"at": "7s", "for": "1s", "partition": [["LHR"], ["NRT"]]},
    )
    subject.start(0.0)
    assert steps(subject, 100) == [
        (1.0, NodeAction("LHR", "kill")),
        (1.0, NodeAction("SIN", "kill")),
        (2.0, NodeAction("LHR", "start")),
        (2.0, NodeAction("SIN", "start")),
        (3.0, NodeAction("LHR", "pause")),
        (4.0, NodeAction("LHR", "resume")),
        (5.0, Vanishing("LHR", True)),
        (6.0, Vanishing("LHR", False)),
        (7.0, Partitioning((("LHR",), ("NRT",)))),
        (8.0, Partitioning(())),
    ]


def test_a_flap_goes_down_and_up_until_its_end(planner) -> None:  # type: ignore[no-untyped-def]
    flap = {"from": "SIN", "to": "NRT", "period": "2s", "down_share": 0.25}
    subject = timeline(planner, {"at": "10s", "for": "5s", "flap": flap})
    subject.start(0.0)
    assert downs(steps(subject, 100)) == [
        (10.0, True), (10.5, False), (12.0, True), (12.5, False), (14.0, True), (14.5, False)
    ]  # fmt: skip


def test_an_endless_flap_is_made_as_it_goes(planner) -> None:  # type: ignore[no-untyped-def]
    flap = {"from": "SIN", "to": "NRT", "period": "1s"}
    subject = timeline(planner, {"at": "0s", "flap": flap})
    subject.start(0.0)
    assert len(steps(subject, 1000.0)) == 2001


def test_a_ramp_moves_from_first_to_last_and_back(planner) -> None:  # type: ignore[no-untyped-def]
    ramp = {"from": "SIN", "to": "NRT", "every": "1s", "rtt_ms": [100, 500]}
    subject = timeline(planner, {"at": "10s", "for": "5s", "ramp": ramp})
    subject.start(0.0)
    found = steps(subject, 100)
    assert [at for at, _ in found] == [10, 11, 12, 13, 14, 15]
    values = [step.wishes[0].fields["one_way_s"] for _, step in found[:-1]]
    assert values == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.25])
    assert [wish.fields for wish in found[-1][1].wishes] == [None, None]


def test_a_process_that_was_late_catches_up_in_order(planner) -> None:  # type: ignore[no-untyped-def]
    subject = timeline(
        planner, {"at": "1s", "for": "1s", "vanish": "LHR"}, {"at": "1.5s", "kill": "SIN"}
    )
    subject.start(0.0)
    assert subject.due(50.0) == [
        Vanishing("LHR", True),
        NodeAction("SIN", "kill"),
        Vanishing("LHR", False),
    ]

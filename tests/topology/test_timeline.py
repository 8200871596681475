"""Timeline entries and what they make of the world."""

from __future__ import annotations

import pytest

from topology.load import parse_world
from topology.plan import (
    Change,
    Cut,
    Flap,
    Happening,
    Kill,
    Partition,
    Pause,
    Plan,
    Ramp,
    SetLinks,
    Slope,
    Vanish,
    What,
)

FORTH, BACK = ("LHR", "NRT"), ("NRT", "LHR")


def happen(*entries: str) -> tuple[Happening, ...]:
    lines = "".join(f"  - {entry}\n" for entry in entries)
    text = f"popnet: 1\npops: [LHR, FRA, NRT]\nvisitors: [tokyo]\nsites: {{dublin: {{}}}}\ntimeline:\n{lines}"
    plan = Plan.of(parse_world(text))
    assert Plan.from_json(plan.to_json()).timeline == plan.timeline
    return plan.timeline


@pytest.mark.parametrize(
    ("action", "what"),
    [
        ("kill: LHR", Kill(("LHR",))),
        ("kill: [LHR, dublin]", Kill(("LHR", "dublin"))),
        ("vanish: tokyo", Vanish(("tokyo",))),
        ("pause: NRT", Pause(("NRT",))),
        ("cut: [LHR, NRT]", Cut((FORTH, BACK))),
        ("cut: {from: LHR, to: NRT, both: false}", Cut((FORTH,))),
        ("flap: {from: LHR, to: NRT, period: 2s}", Flap((FORTH, BACK), 2.0, 1.0)),
        (
            "flap: {from: LHR, to: NRT, both: false, period: 500ms, down_share: 0.2}",
            Flap((FORTH,), 0.5, 0.1),
        ),
        ("partition: [LHR]", Partition((("LHR",), ("FRA", "NRT")))),
        ("partition: [[LHR, FRA]]", Partition((("LHR", "FRA"), ("NRT",)))),
        ("partition: [[LHR], [NRT, tokyo]]", Partition((("LHR",), ("NRT", "tokyo")))),
        (
            "set: {from: LHR, to: NRT, rtt_ms: 400, loss_pct: 2}",
            SetLinks(
                (
                    Change(*FORTH, {"one_way_s": 0.2, "loss": 0.02}),
                    Change(*BACK, {"one_way_s": 0.2, "loss": 0.02}),
                )
            ),
        ),
        ("set: {from: LHR, to: NRT, down: true}", SetLinks((Change(*FORTH, {"down": True}),))),
        (
            "set: {from: LHR, to: NRT, burst: {enter_pct: 1, leave_pct: 10, loss_bad_pct: 50}}",
            SetLinks(
                (
                    Change(
                        *FORTH,
                        {"burst": {"enter": 0.01, "leave": 0.1, "loss_good": 0.0, "loss_bad": 0.5}},
                    ),
                )
            ),
        ),
        (
            "for: 10s, ramp: {from: LHR, to: NRT, rtt_ms: [100, 400]}",
            Ramp(
                (Slope(*FORTH, "one_way_s", 0.05, 0.2), Slope(*BACK, "one_way_s", 0.05, 0.2)), 0.1
            ),
        ),
        (
            "for: 10s, ramp: {from: LHR, to: NRT, rate_mbit: [10, 1], loss_pct: [0, 5], every: 1s}",
            Ramp((Slope(*FORTH, "loss", 0.0, 0.05), Slope(*FORTH, "rate_bps", 1e7, 1e6)), 1.0),
        ),
    ],
)
def test_each_action(action: str, what: What) -> None:
    (happening,) = happen(f"{{at: 30s, {action}}}")
    assert happening.what == what
    assert happening.at_s == 30.0


def test_what_is_set_can_be_patched_into_a_link() -> None:
    (happening,) = happen("{at: 0, set: {from: LHR, to: NRT, rate_mbit: unlimited, mtu: 1280}}")
    assert isinstance(happening.what, SetLinks)
    plan = Plan.of(parse_world("popnet: 1\npops: [LHR, NRT]"))
    patched = plan.link("LHR", "NRT").patched(happening.what.changes[0].fields)
    assert (patched.rate_bps, patched.mtu) == (None, 1280)


def test_times() -> None:
    found = happen(
        "{at: 1m, kill: LHR}",
        "{at: 250ms, for: 1.5, kill: LHR}",
        "{at: 2, for: 1h, kill: LHR}",
        "{at: 2s, pause: LHR}",
    )
    assert [(one.at_s, one.for_s) for one in found] == [
        (0.25, 1.5),
        (2.0, 3600.0),
        (2.0, None),
        (60.0, None),
    ]
    assert [type(one.what) for one in found] == [Kill, Kill, Pause, Kill]

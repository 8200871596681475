"""Changes of links: all of them or none, and errors that say what would have been right."""

from __future__ import annotations

import pytest

from topology.plan import LinkSpec
from wan import changes
from wan.changes import ChangeError, Wish
from wan.fabric import Fabric


@pytest.fixture
def fabric(plan) -> Fabric:  # type: ignore[no-untyped-def]
    return Fabric(plan)


def apply(fabric: Fabric, *raw: dict[str, object]) -> list[Wish]:
    return changes.grant(fabric, "people", changes.read_wishes(fabric, list(raw)), 0.0)


def specs(fabric: Fabric) -> dict[str, LinkSpec]:
    return {link.name: link.spec for _, _, link in fabric.links()}


def test_one_way_changes_one_way(fabric: Fabric) -> None:
    apply(fabric, {"from": "LHR", "to": "NRT", "set": {"one_way_s": 0.5, "loss": 0.1}})
    assert fabric.link("LHR", "NRT").spec.one_way_s == 0.5
    assert fabric.link("LHR", "NRT").spec.loss == 0.1
    assert fabric.link("NRT", "LHR").spec == fabric.plan.link("NRT", "LHR")


def test_rtt_is_half_each_way(fabric: Fabric) -> None:
    apply(fabric, {"from": "LHR", "to": "NRT", "both": True, "set": {"rtt_s": 0.4}})
    assert (
        fabric.link("LHR", "NRT").spec.one_way_s == fabric.link("NRT", "LHR").spec.one_way_s == 0.2
    )
    assert fabric.rtt("LHR", "NRT") == pytest.approx(0.4)


def test_changes_add_up_and_only_real_ones_are_reported(fabric: Fabric) -> None:
    apply(fabric, {"from": "LHR", "to": "NRT", "set": {"loss": 0.1}})
    apply(fabric, {"from": "LHR", "to": "NRT", "set": {"jitter_s": 0.1}})
    assert (fabric.link("LHR", "NRT").spec.loss, fabric.link("LHR", "NRT").spec.jitter_s) == (
        0.1,
        0.1,
    )
    assert apply(fabric, {"from": "LHR", "to": "NRT", "set": {"loss": 0.1}}) == []


def test_two_changes_of_one_link_in_one_go(fabric: Fabric) -> None:
    apply(
        fabric,
        {"from": "LHR", "to": "NRT", "set": {"loss": 0.1}},
        {"from": "LHR", "to": "NRT", "set": {"one_way_s": 0.3}},
    )
    assert (fabric.link("LHR", "NRT").spec.loss, fabric.link("LHR", "NRT").spec.one_way_s) == (
        0.1,
        0.3,
    )


def test_access_has_two_ways(fabric: Fabric) -> None:
    apply(fabric, {"access": "tokyo", "set": {"rate_bps": 1e6}})
    assert [link.spec.rate_bps for link in fabric.access("tokyo")] == [1e6, 1e6]


GOOD = {"from": "LHR", "to": "SIN", "set": {"loss": 0.5}}


@pytest.mark.parametrize(
    ("bad", "key", "allowed"),
    [
        ({"from": "LHR", "to": "NRT", "set": {"los": 0.1}}, "changes[1].set.los", "loss? one of"),
        ({"from": "LHR", "to": "NRT", "set": {"loss": 2}}, "changes[1].set.loss", "<= 1"),
        (
            {"from": "LHR", "to": "NRT", "set": {"one_way_s": -1}},
            "changes[1].set.one_way_s",
            ">= 0",
        ),
        (
            {"from": "LHR", "to": "NRT", "set": {"one_way_s": "1s"}},
            "changes[1].set.one_way_s",
            "float",
        ),
        ({"from": "LHR", "to": "NRT", "set": {"mtu": 20}}, "changes[1].set.mtu", ">= 68"),
        (
            {"from": "LHR", "to": "NRT", "set": {"burst": {"enter": 1}}},
            "changes[1].set.burst",
            "leave",
        ),
        ({"from": "LHR", "to": "NRT", "set": {"rtt_s": 1}}, "changes[1].set.rtt_s", "both"),
        (
            {"from": "LHR", "to": "NRT", "both": True, "set": {"rtt_s": -1}},
            "changes[1].set.rtt_s",
            "0 or more",
        ),
        (
            {"from": "LHR", "to": "NRT", "both": True, "set": {"rtt_s": 1, "one_way_s": 1}},
            "changes[1].set.rtt_s",
            "one of rtt_s and one_way_s",
        ),
        ({"from": "LRH", "to": "NRT", "set": {"loss": 0.1}}, "changes[1].from", "LHR? one of"),
        ({"from": "LHR", "to": "LHR", "set": {"loss": 0.1}}, "changes[1].to", "another node"),
        ({"from": "LHR", "to": "NRT", "set": {}}, "changes[1].set", "some of"),
        (
            {"from": "LHR", "to": "NRT", "bot": True, "set": {"loss": 1}},
            "changes[1].bot",
            "both? one of",
        ),
        ({"access": "paris", "set": {"loss": 0.1}}, "changes[1].access", "one of"),
        ("LHR", "changes[1]", "{from, to, set}"),
    ],
)
def test_a_bad_change_says_why_and_nothing_is_changed(
    fabric: Fabric, bad, key: str, allowed: str
) -> None:  # type: ignore[no-untyped-def]
    before = fabric.link("LHR", "SIN").spec
    with pytest.raises(ChangeError) as caught:
        apply(fabric, GOOD, bad)
    assert caught.value.key == key
    assert allowed in caught.value.allowed
    assert key in str(caught.value)
    assert fabric.link("LHR", "SIN").spec == before


@pytest.mark.parametrize("raw", [None, [], {}, "x"])
def test_no_changes_are_an_error(fabric: Fabric, raw: object) -> None:
    with pytest.raises(ChangeError):
        changes.read_wishes(fabric, raw)


def test_a_wish_that_does_not_fit_stops_all_of_them(fabric: Fabric) -> None:
    before = specs(fabric)
    wishes = [Wish("LHR", "NRT", {"loss": 0.1}), Wish("NRT", "SIN", {"rate_bps": 0.0})]
    with pytest.raises(ChangeError):
        changes.grant(fabric, "timeline[0]", wishes, 0.0)
    assert {name: spec for name, spec in specs(fabric).items() if spec.loss} == {}
    assert all(specs(fabric)[name] == spec for name, spec in before.items())


def test_other_links_keep_their_state(fabric: Fabric) -> None:
    other = fabric.link("LHR", "SIN")
    apply(
        fabric,
        {
            "from": "LHR",
            "to": "SIN",
            "set": {"rate_bps": 8000.0, "queue_s": 100.0, "one_way_s": 0.0},
        },
    )

    class NoLuck:
        def dice(self, link: str) -> object:
            raise AssertionError

    assert other.judge(1000, 0.0, NoLuck()) == 1.0  # type: ignore[arg-type]
    apply(fabric, {"from": "LHR", "to": "NRT", "set": {"one_way_s": 0.5}})
    assert other.judge(1000, 0.0, NoLuck()) == 2.0  # type: ignore[arg-type]
    assert other.packets == 2

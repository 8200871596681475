"""Steering: each does what its name says; members that are down get nothing; an order never ends early."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pops.core.balancer import STEERINGS, Condition, Member, Pool, Steering
from pops.core.health import Health, Patient, Thresholds

NEAR, FAR = Condition(0.010), Condition(0.100)


def shares(pool: Pool, conditions: dict[str, Condition], requests: int = 2000) -> Counter[str]:
    rng = random.Random(1)
    return Counter((pool.order(conditions, rng) or ["nobody"])[0] for _ in range(requests))


def pool(steering: Steering, **more: float) -> Pool:
    weights = {"a": 1.0, "b": 1.0, **more}
    return Pool("www", tuple(Member(name, weight) for name, weight in weights.items()), steering)


def test_proximity_takes_the_nearest() -> None:
    assert shares(pool("proximity"), {"a": FAR, "b": NEAR}) == {"b": 2000}


def test_dynamic_sees_a_slow_service() -> None:
    slow = Condition(0.010, check_s=0.5)
    assert shares(pool("dynamic"), {"a": slow, "b": FAR}) == {"b": 2000}
    assert shares(pool("proximity"), {"a": slow, "b": FAR}) == {"a": 2000}


def test_random_and_weighted_within_five_percent() -> None:
    even = shares(pool("random"), {"a": NEAR, "b": FAR})
    assert even["a"] / 2000 == pytest.approx(0.5, abs=0.05)
    three_to_one = shares(pool("weighted", a=3.0), {"a": FAR, "b": NEAR})
    assert three_to_one["a"] / 2000 == pytest.approx(0.75, abs=0.05)


def test_least_outstanding_fills_up_to_the_same_level() -> None:
    chosen, rng, under_way = pool("least_outstanding", a=3.0), random.Random(1), Counter[str]()
    for _ in range(2000):
        now = {name: Condition(0.1, outstanding=under_way[name]) for name in "ab"}
        under_way[chosen.order(now, rng)[0]] += 1
    assert under_way["a"] / 2000 == pytest.approx(0.75, abs=0.05)


def test_failover_goes_back_when_the_first_heals() -> None:
    chosen, down = pool("failover"), Condition(0.01, up=False)
    assert shares(chosen, {"a": FAR, "b": NEAR}) == {"a": 2000}
    assert shares(chosen, {"a": down, "b": NEAR}) == {"b": 2000}
    assert shares(chosen, {"a": FAR, "b": NEAR}) == {"a": 2000}


@pytest.mark.parametrize("steering", STEERINGS)
def test_who_is_down_drained_or_out_of_reach_serves_nothing(steering: Steering) -> None:
    for out in (Condition(0.01, up=False), Condition(0.01, draining=True), Condition(None)):
        assert shares(pool(steering), {"a": out, "b": FAR}) == {"b": 2000}
        assert shares(pool(steering), {"a": out, "b": out}) == {"nobody": 2000}


def test_the_fallback_serves_when_all_are_down() -> None:
    down = Condition(0.01, up=False)
    chosen = Pool("www", (Member("a"),), fallback="sorry")
    assert chosen.order({"a": down}, random.Random(1)) == ["sorry"]


@given(
    st.sampled_from(STEERINGS),
    st.lists(st.tuples(st.booleans(), st.floats(0.0, 1.0)), min_size=1, max_size=5),
    st.integers(0, 5),
)
def test_an_order_holds_every_able_member_once(
    steering: Steering, members: list[tuple[bool, float]], session: int
) -> None:
    names = [f"m{i}" for i in range(len(members))]
    conditions = {
        name: Condition(cost, up) for name, (up, cost) in zip(names, members, strict=True)
    }
    chosen = Pool("p", tuple(Member(name, 1.0 + i) for i, name in enumerate(names)), steering)
    order = chosen.order(conditions, random.Random(2), f"m{session}")
    able = {name for name in names if conditions[name].up}
    assert sorted(order) == sorted(able)
    if f"m{session}" in able:
        assert order[0] == f"m{session}", "a session stays where it is while its member is up"


def test_thresholds() -> None:
    patient = Patient(Thresholds(fall=2, rise=3))
    assert patient.state is Health.UNKNOWN
    assert patient.succeeded(0.0, 0.1)
    assert not patient.failed(100.0, "503")
    assert not patient.succeeded(101.0, 0.1), "one failure is forgiven"
    assert not patient.failed(102.0, "503")
    assert patient.failed(103.0, "503")
    assert (patient.state, patient.reason) == (Health.DOWN, "503")
    assert [patient.succeeded(104.0 + i, 0.1) for i in range(3)] == [False, False, True]


def test_a_service_that_flaps_has_to_wait_longer_each_time() -> None:
    patient, now = Patient(Thresholds(fall=1, rise=1, calm_s=60.0)), 0.0
    needed = []
    patient.succeeded(now, 0.1)
    for _ in range(5):
        now += 1.0
        patient.failed(now, "x")
        needed.append(patient.needed)
        while patient.state is Health.DOWN:
            now += 1.0
            patient.succeeded(now, 0.1)
    assert needed == [1, 2, 4, 8, 8], "its start was no return"
    patient.succeeded(now + 61.0, 0.1)
    patient.failed(now + 62.0, "x")
    assert patient.needed == 1, "a calm time forgives"


def test_the_round_trip_of_checks_is_smoothed() -> None:
    patient = Patient(Thresholds())
    patient.succeeded(0.0, 0.1)
    patient.succeeded(1.0, 0.2)
    assert patient.check_s == pytest.approx(0.13)

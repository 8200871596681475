"""Where packets for an anycast address land, and when that changes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topology.plan import Anycast
from wan.catchment import Catchment

RTT = {"A": 10.0, "B": 20.0, "C": 20.0}
ADDRESS = "198.18.0.1"


def catchment(**pins: str) -> Catchment:
    groups = (
        Anycast(address=ADDRESS, members=("C", "B", "A")),
        Anycast(address="198.18.1.1", members=("B",)),
    )
    made = Catchment(groups, lambda _, member: RTT[member], 3.0, pins)
    for name in RTT:
        made.announce(name)
    return made


def test_the_lowest_rtt_wins_and_ties_go_by_file_order() -> None:
    subject = catchment()
    assert subject.lands("tokyo", ADDRESS) == "A"
    subject.withdraw("A", 0.0)
    subject.settle(3.0)
    assert subject.lands("tokyo", ADDRESS) == "C"


def test_a_pin_wins_where_it_is_a_member() -> None:
    subject = catchment(tokyo="B")
    assert subject.lands("tokyo", ADDRESS) == "B"
    assert subject.lands("london", ADDRESS) == "A"
    assert subject.nearest("tokyo", ADDRESS) == "A"
    subject.pin("tokyo", None)
    assert subject.lands("tokyo", ADDRESS) == "A"
    subject.pin("tokyo", "A")
    assert subject.lands("tokyo", "198.18.1.1") == "B"


def test_a_pin_to_a_dead_member_gives_way() -> None:
    subject = catchment(tokyo="B")
    subject.withdraw("B", 0.0)
    assert subject.settle(3.0) == ("B",)
    assert subject.lands("tokyo", ADDRESS) == "A"
    assert subject.lands("tokyo", "198.18.1.1") is None


def test_withdrawal_takes_the_convergence_time() -> None:
    subject = catchment()
    subject.withdraw("A", 10.0)
    assert subject.next_at == 13.0
    assert subject.settle(12.99) == ()
    assert subject.lands("tokyo", ADDRESS) == "A"
    assert subject.settle(13.0) == ("A",)
    assert subject.lands("tokyo", ADDRESS) == "C"
    assert subject.next_at == math.inf


def test_a_second_withdrawal_does_not_restart_the_clock() -> None:
    subject = catchment()
    subject.withdraw("A", 10.0)
    subject.withdraw("A", 12.0)
    assert subject.next_at == 13.0


def test_an_announcement_is_known_at_once_and_cancels_a_withdrawal() -> None:
    subject = catchment()
    subject.withdraw("A", 10.0)
    subject.announce("A")
    assert subject.settle(100.0) == ()
    assert subject.lands("tokyo", ADDRESS) == "A"


def test_nobody_announces() -> None:
    groups = (Anycast(address=ADDRESS, members=("A",)),)
    subject = Catchment(groups, lambda *_: 1.0, 3.0, {})
    assert subject.lands("tokyo", ADDRESS) is None
    with pytest.raises(KeyError):
        subject.lands("tokyo", "192.0.2.1")


def test_a_cut_link_moves_only_those_behind_it_and_only_after_convergence() -> None:
    subject = catchment()
    subject.cut("tokyo", "A", 0.0)
    assert subject.lands("tokyo", ADDRESS) == "A"
    subject.settle(3.0)
    assert subject.lands("tokyo", ADDRESS) == "C"
    assert subject.lands("london", ADDRESS) == "A"
    subject.heal("tokyo", "A")
    assert subject.lands("tokyo", ADDRESS) == "A"


def test_a_link_that_heals_in_time_moves_nobody() -> None:
    subject = catchment()
    epoch = subject.epoch
    subject.cut("tokyo", "A", 0.0)
    subject.heal("tokyo", "A")
    subject.settle(100.0)
    assert subject.epoch == epoch


@given(
    st.lists(
        st.tuples(st.sampled_from("ABC"), st.sampled_from(["up", "down", "wait"])), max_size=30
    )
)
def test_who_announces_is_routed_and_who_is_long_silent_is_not(
    steps: list[tuple[str, str]],
) -> None:
    subject, now = catchment(), 0.0
    announced = dict.fromkeys("ABC", True)
    for name, step in steps:
        if step == "wait":
            now += 1.0
            subject.settle(now)
        elif step == "up":
            subject.announce(name)
            announced[name] = True
        else:
            subject.withdraw(name, now)
            announced[name] = False
        assert all(subject.is_routed(each) for each, on in announced.items() if on)
    subject.settle(now + 3.0)
    assert {name for name in "ABC" if subject.is_routed(name)} == {
        n for n, on in announced.items() if on
    }

from __future__ import annotations

import random
from collections import Counter

import pytest

from tunnel_client.core.addresses import FALLBACK_S, REGION_DEAD_S, Address, AddressBook, Family

ONE = [(f"198.18.1.{i}", 7844) for i in range(1, 11)]
TWO = [(f"198.18.2.{i}", 7844) for i in range(1, 11)]


def taken(book: AddressBook, user: int, now: float = 0.0) -> Address:
    address = book.keep_or_take(now, user)
    assert address is not None
    return address


@pytest.mark.parametrize("seed", range(20))
def test_four_connections_are_two_and_two(seed: int) -> None:
    book = AddressBook([ONE, TWO], random.Random(seed))
    addresses = [taken(book, user) for user in range(4)]
    assert Counter(a.region for a in addresses) == {1: 2, 2: 2}
    assert len(set(addresses)) == 4


def test_an_address_is_kept_until_it_fails() -> None:
    book = AddressBook([ONE, TWO], random.Random(1))
    first = taken(book, 0)
    assert taken(book, 0) == first
    other = book.move_on(0.0, 0)
    assert other != first
    assert book.holds(0) == other


def test_moving_on_goes_where_more_is_free() -> None:
    book = AddressBook([ONE, TWO], random.Random(2))
    for user in range(4):
        taken(book, user)
    held = book.holds(0)
    assert held is not None
    # Nine of its own region stay free for it, eight of the other.
    moved = book.move_on(0.0, 0)
    assert moved is not None
    assert moved.region == held.region


def test_a_region_that_may_live_keeps_its_connections() -> None:
    book = AddressBook([ONE, TWO], random.Random(2))
    homes = [taken(book, user).region for user in range(4)]
    assert sorted(homes) == [1, 1, 2, 2]
    now = 100.0
    while now < 100.0 + REGION_DEAD_S:
        book.failed(now, 0)
        moved = book.move_on(now, 0)
        assert moved is not None
        assert moved.region == homes[0]
        now += 1.0
    book.failed(now, 0)
    moved = book.move_on(now, 0)
    assert moved is not None
    assert moved.region != homes[0], "nothing got through for so long: the region is given up"


def test_one_dial_that_gets_through_shows_that_a_region_lives() -> None:
    book = AddressBook([ONE, TWO], random.Random(2))
    homes = [taken(book, user).region for user in range(4)]
    other = homes.index(homes[0], 1)
    book.failed(0.0, 0)
    book.succeeded(other)
    book.failed(REGION_DEAD_S, 0)
    moved = book.move_on(REGION_DEAD_S + 1, 0)
    assert moved is not None
    assert moved.region == homes[0]


def test_no_more_users_than_addresses() -> None:
    book = AddressBook([ONE[:1], TWO[:1]], random.Random(3))
    assert book.count(0.0) == 2
    taken(book, 0)
    taken(book, 1)
    assert book.keep_or_take(0.0, 2) is None
    same = book.holds(0)
    assert book.move_on(0.0, 0) == same, "with no other address the old one is better than none"
    book.release(0)
    assert taken(book, 2) == same


def test_families() -> None:
    both = [("2001:db8::1", 1), ("198.18.1.1", 1), ("2001:db8::2", 1)]
    assert AddressBook([both], random.Random(0)).count(0.0) == 2
    assert AddressBook([both], random.Random(0), Family.V4).count(0.0) == 1
    assert AddressBook([both], random.Random(0), Family.V6).count(0.0) == 2
    assert AddressBook([both], random.Random(0), None).count(0.0) == 3


def test_a_family_without_a_route_is_left_for_a_while() -> None:
    both = [("2001:db8::1", 1), ("198.18.1.1", 1)]
    book = AddressBook([both], random.Random(0))
    assert taken(book, 0).family == 6
    book.unreachable(0.0, 0)
    moved = book.move_on(1.0, 0)
    assert moved is not None
    assert moved.family == 4
    assert book.count(FALLBACK_S - 1) == 1
    again = book.move_on(FALLBACK_S + 1, 0)
    assert again is not None
    assert again.family == 6


def test_a_seed_repeats_itself() -> None:
    def draw() -> list[Address | None]:
        book = AddressBook([ONE, TWO], random.Random(9))
        return [book.keep_or_take(0.0, user) for user in range(6)]

    assert draw() == draw()


def test_a_later_look_up_keeps_who_is_up() -> None:
    rng = random.Random(4)
    old = AddressBook([ONE, TWO], rng)
    kept = taken(old, 0)
    taken(old, 1)
    new = AddressBook([[("198.18.1.99", 7844)], [("198.18.2.99", 7844)]], rng)
    new.inherit(old, [0])
    assert new.holds(0) == kept
    assert taken(new, 1).host.endswith(".99")


def test_addresses_are_written_as_urls_have_them() -> None:
    assert str(Address("::1", 7844, 1)) == "[::1]:7844"
    assert str(Address("198.18.1.1", 7844, 1)) == "198.18.1.1:7844"

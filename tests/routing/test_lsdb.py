"""What PoPs know of each other after any order of messages, cuts, deaths and restarts."""

from __future__ import annotations

import random
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.lsa import (
    HIGHEST_SEQ,
    Answer,
    Digest,
    Lsa,
    LsaExit,
    LsaLink,
    decode_answer,
    decode_digest,
    decode_lsas,
    encode_answer,
    encode_digest,
    encode_lsas,
)
from routing.lsdb import Lsdb, Timing

EXIT = LsaExit("t", "c.0", 11_000)
TIMING = Timing()


def make(me: str, **options: object) -> Lsdb:
    return Lsdb(me, rng=random.Random(me), **options)  # type: ignore[arg-type]


def links(*names: str, rtt_us: int = 1000) -> list[LsaLink]:
    return [LsaLink(name, rtt_us) for name in names]


class Mesh:
    """PoPs whose messages arrive in an order drawn by a Random, some twice, by the rules of pops/drivers/flooding."""

    def __init__(self, names: str, pairs: list[tuple[str, str]], seed: int) -> None:
        self.names = list(names)
        self.links: set[frozenset[str]] = set()
        self.now = 0.0
        self.rng = random.Random(seed)
        self.exits: dict[str, tuple[LsaExit, ...]] = dict.fromkeys(self.names, ())
        self.pops = {name: make(name) for name in self.names}
        self.under_way: list[tuple[str, str, bytes, str]] = []
        self.messages = 0
        for name in self.names:
            self.look(name)
        for a, b in pairs:
            self.connect(a, b)

    def neighbors(self, name: str) -> list[str]:
        return [n for n in self.names if frozenset((n, name)) in self.links]

    def send(self, here: str, there: str, body: bytes, kind: str) -> None:
        self.messages += 1
        self.under_way.append((here, there, body, kind))

    def look(self, name: str) -> None:
        """What is true at `name` now, and what it says of that."""
        pop = self.pops[name]
        pop.set_local(links(*self.neighbors(name)), self.exits[name], 0.0, self.now)
        self.timer(name)

    def timer(self, name: str) -> None:
        own = self.pops[name].handle_timer(self.now).own
        if own is not None:
            for neighbor in self.neighbors(name):
                self.send(name, neighbor, encode_lsas([own]), "lsas")

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for name in self.names:
            self.timer(name)

    def compare(self, here: str, there: str) -> None:
        self.send(here, there, encode_digest(self.pops[here].digest()), "digest")

    def connect(self, a: str, b: str) -> None:
        self.links.add(frozenset((a, b)))
        for here, there in ((a, b), (b, a)):
            self.compare(here, there)
            self.look(here)

    def cut(self, a: str, b: str) -> None:
        """Everything under way between the two is lost. Both notice, one after the other."""
        self.links.discard(frozenset((a, b)))
        self.under_way = [one for one in self.under_way if {one[0], one[1]} != {a, b}]
        for name in self.rng.sample([a, b], 2):
            self.look(name)

    def restart(self, name: str) -> None:
        held = self.neighbors(name)
        for other in held:
            self.cut(name, other)
        self.pops[name] = make(name)
        self.look(name)
        for other in held:
            self.connect(name, other)

    def deliver(self) -> None:
        index = self.rng.randrange(len(self.under_way))
        here, there, body, kind = self.under_way[index]
        if self.rng.random() > 0.1:  # else it comes again
            del self.under_way[index]
        pop = self.pops[there]
        match kind:
            case "lsas":
                self.learn(there, here, decode_lsas(body))
            case "digest":
                answer = pop.answer(decode_digest(body), self.now)
                self.send(there, here, encode_answer(answer), "answer")
            case "answer":
                told = decode_answer(body)
                if told.wanted:
                    wanted = pop.selected(told.wanted, self.now)
                    self.send(there, here, encode_lsas(wanted), "lsas")
                self.learn(there, here, list(told.newer))

    def learn(self, me: str, sender: str, lsas: list[Lsa]) -> None:
        pop = self.pops[me]
        for lsa in pop.receive(lsas, self.now).fresh:
            for name in pop.beyond(lsa, sender, self.neighbors(me)):
                self.send(me, name, encode_lsas(pop.aged([lsa], self.now)), "lsas")
        self.timer(me)

    def some(self, count: int) -> None:
        for _ in range(min(count, len(self.under_way))):
            self.deliver()

    def drain(self) -> None:
        for _ in range(100_000):
            if not self.under_way:
                return
            self.deliver()
        raise AssertionError("it never settles")

    def settle(self) -> None:
        """Let everything arrive, and then everybody compare once with each neighbour, as in time they do."""
        self.drain()
        for _ in range(len(self.names)):
            self.pass_time(TIMING.min_interval_s)
            for name in self.names:
                for neighbor in self.neighbors(name):
                    self.compare(name, neighbor)
            self.drain()

    def component(self, name: str) -> set[str]:
        found = {name}
        while more := {b for a in found for b in self.neighbors(a)} - found:
            found |= more
        return found


LINE = [("A", "B"), ("B", "C"), ("C", "D")]


def test_an_exit_is_known_across_relays_and_gone_with_the_way_to_it() -> None:
    mesh = Mesh("ABCD", LINE, 1)
    mesh.exits["D"] = (EXIT,)
    mesh.look("D")
    mesh.settle()
    known = mesh.pops["A"]
    assert [(e.pop, e.connection, e.rtt_s) for e in known.exits()["t"]] == [("D", "c.0", 0.011)]
    assert known.reachable() == ("A", "B", "C", "D")
    mesh.cut("B", "C")
    mesh.drain()
    assert known.exits() == {}
    assert known.reachable() == ("A", "B")
    assert {(one.source, one.destination) for one in known.links(mesh.now)} == {
        ("A", "B"),
        ("B", "A"),
    }
    mesh.connect("B", "C")
    mesh.settle()
    assert "t" in known.exits()


@given(st.data())
def test_all_who_are_connected_agree_after_any_history(data: st.DataObject) -> None:
    mesh = Mesh("ABCDE", LINE, data.draw(st.integers(0, 2**16)))
    pairs = st.sampled_from(list(combinations("ABCDE", 2)))
    names = st.sampled_from("ABCDE")
    for _ in range(data.draw(st.integers(0, 15))):
        match data.draw(
            st.sampled_from(["cut", "connect", "exit", "restart", "some", "time", "settle"])
        ):
            case "cut":
                mesh.cut(*data.draw(pairs))
            case "connect":
                mesh.connect(*data.draw(pairs))
            case "exit":
                name = data.draw(names)
                mesh.exits[name] = (LsaExit("t", f"c.{data.draw(st.integers(0, 3))}", 1),)
                mesh.look(name)
            case "restart":
                mesh.restart(data.draw(names))
            case "some":
                mesh.some(data.draw(st.integers(1, 20)))
            case "time":
                mesh.pass_time(data.draw(st.floats(0.0, 40.0)))
            case "settle":
                mesh.settle()
    mesh.settle()
    for name in mesh.names:
        found = mesh.component(name)
        pop = mesh.pops[name]
        assert set(pop.reachable()) == found
        exits = {(e.pop, e.connection) for e in pop.exits().get("t", [])}
        assert exits == {(one, mesh.exits[one][0].connection) for one in found if mesh.exits[one]}
        alive = {(a, b) for a in found for b in mesh.neighbors(a)}
        assert {(link.source, link.destination) for link in pop.links(mesh.now)} == alive
        for other in found:
            assert pop.digest() == mesh.pops[other].digest()


@given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=6))
def test_the_order_of_messages_and_their_repetition_change_nothing(
    order: list[int], again: list[int]
) -> None:
    said = [
        Lsa("B", 1, links=(LsaLink("A", 5),)),
        Lsa("B", 2, links=(LsaLink("A", 7),), exits=(EXIT,)),
        Lsa("C", 3),
        Lsa("C", 3, load=2.0),  # of another life, by the same number
        Lsa("D", 9, withdrawn=True),
        Lsa("D", 8, exits=(EXIT,)),
    ]
    straight, mixed = make("A"), make("A")
    straight.receive(said, 0.0)
    for index in [*order, *again]:
        mixed.receive([said[index]], 0.0)
    assert mixed.digest() == straight.digest()
    assert mixed.get("B") == said[1]
    assert mixed.get("D") == said[4]


def test_a_full_mesh_costs_one_message_a_neighbour_and_not_their_square() -> None:
    names = "ABCDEFGHIJKL"
    mesh = Mesh(names, list(combinations(names, 2)), 3)
    mesh.settle()
    mesh.messages = 0
    mesh.exits["A"] = (EXIT,)
    mesh.look("A")
    mesh.rng = random.Random(0)
    while mesh.under_way:
        _, there, body, _ = mesh.under_way.pop()
        mesh.learn(there, "A", decode_lsas(body))
    assert mesh.messages == len(names) - 1
    assert all("t" in pop.exits() for pop in mesh.pops.values())


def test_what_a_dying_link_swallowed_is_repaired_by_one_comparison() -> None:
    mesh = Mesh("ABC", list(combinations("ABC", 2)), 1)
    mesh.settle()
    mesh.exits["A"] = (EXIT,)
    mesh.look("A")  # B and C are told; what goes to C is lost with the link
    mesh.cut("A", "C")
    mesh.under_way = [one for one in mesh.under_way if one[:2] != ("B", "C")]
    lost = [one for one in mesh.under_way if one[0] == "A"]
    mesh.under_way = []
    for _, there, body, _ in lost:
        mesh.pops[there].receive(decode_lsas(body), mesh.now)
    assert "t" not in mesh.pops["C"].exits()
    mesh.compare("C", "B")
    mesh.drain()
    assert "t" in mesh.pops["C"].exits()


def told(pop: Lsdb, now: float, *names: str, rtt_us: int = 100_000, load: float = 0.0) -> bool:
    """Whether this is told at this time."""
    pop.set_local(links(*names, rtt_us=rtt_us), (), load, now)
    return pop.handle_timer(now).own is not None


def test_news_is_told_at_most_once_a_second_but_a_death_at_once() -> None:
    pop = make("A")
    assert told(pop, 0.0, "B")
    assert not told(pop, 0.1, "B", "C")
    assert pop.next_at == pytest.approx(1.0)
    assert told(pop, 1.0, "B", "C")
    pop.set_local(links("C"), (), 0.0, 1.1)
    timed = pop.handle_timer(1.1)
    assert timed.own is not None
    assert timed.urgent
    assert not told(pop, 1.2, "B", "C"), "it is back, and that can wait"


def test_a_connection_that_drains_is_a_death() -> None:
    pop = make("A")
    pop.set_local((), (EXIT,), 0.0, 0.0)
    pop.handle_timer(0.0)
    pop.set_local((), (LsaExit("t", "c.0", 11_000, draining=True),), 0.0, 0.1)
    assert pop.handle_timer(0.1).urgent


@pytest.mark.parametrize(
    ("rtt_us", "load", "news"),
    [
        (102_500, 0.0, False),
        (104_000, 0.0, True),
        (96_000, 0.0, True),
        (100_000, 3.0, False),
        (100_000, 5.0, True),
    ],
)
def test_small_changes_wait_for_the_refresh(rtt_us: int, load: float, news: bool) -> None:
    pop = make("A")
    assert told(pop, 0.0, "B")
    assert (pop.link_differs(LsaLink("B", rtt_us)) or pop.load_differs(load)) is news
    assert told(pop, 5.0, "B", rtt_us=rtt_us, load=load) is news
    if not news:
        assert 27.0 <= pop.next_at <= 30.0
        own = pop.handle_timer(30.0).own
        assert own is not None
        assert own.links[0].rtt_us == rtt_us


def test_a_link_that_was_never_told_is_news() -> None:
    pop = make("A")
    assert pop.link_differs(LsaLink("B", 5))
    assert pop.load_differs(0.0)
    told(pop, 0.0, "B")
    assert pop.link_differs(LsaLink("C", 5))


def test_a_change_that_went_away_before_it_was_due_is_told_as_it_is_then() -> None:
    pop = make("A")
    told(pop, 0.0, "B")
    told(pop, 0.5, "B", "C")
    pop.set_local(links("B"), (), 0.0, 0.6)
    own = pop.handle_timer(1.0).own
    assert own is not None
    assert [link.to for link in own.links] == ["B"]


def test_after_a_restart_it_jumps_over_what_it_once_said() -> None:
    pop = make("A")
    told(pop, 0.0, "B")
    pop.receive([Lsa("A", 57, exits=(EXIT,))], 0.1)
    own = pop.handle_timer(1.0).own
    assert own is not None
    assert (own.seq, own.exits) == (58, ())
    assert pop.receive([own], 1.1) == ([], False, [], False)


def test_former_words_met_before_the_first_are_jumped_over_at_once() -> None:
    pop = make("A")
    pop.receive([Lsa("A", 57)], 0.0)
    assert told(pop, 0.1, "B")
    assert pop.own is not None
    assert pop.own.seq == 58


def test_a_pop_that_left_says_so_once_more_to_who_still_believes_in_it() -> None:
    pop = make("A")
    told(pop, 0.0, "B")
    assert pop.withdraw(1.0).withdrawn
    assert pop.handle_timer(100.0).own is None
    pop.receive([Lsa("A", 9, exits=(EXIT,))], 101.0)
    own = pop.handle_timer(102.0).own
    assert own is not None
    assert (own.seq, own.withdrawn) == (10, True)


def test_a_number_that_is_out_of_reach_is_not_followed() -> None:
    pop = make("A")
    told(pop, 0.0, "B")
    pop.receive([Lsa("A", HIGHEST_SEQ)], 0.5)
    assert told(pop, 2.0, "C")
    assert pop.own is not None
    assert pop.own.seq == 2


def test_words_grow_old_on_the_way_and_count_no_more_when_their_time_is_over() -> None:
    a, b, c = make("A"), make("B"), make("C")
    told(a, 0.0, "B")
    assert a.own is not None
    b.receive(a.aged([a.own], 40.0), 1000.0)
    (passed_on,) = b.aged([a.own], 1030.0)
    assert passed_on.age_ms == 70_000
    c.receive([passed_on], 5.0)
    assert c.ages(10.0) == {"A": 75.0}
    assert c.next_at == pytest.approx(35.0)
    assert c.handle_timer(34.9).expired == []
    assert c.handle_timer(35.0).expired == ["A"]
    assert c.digest() == {}
    assert c.receive([Lsa("A", 2, age_ms=100_000)], 36.0).fresh == []


def test_a_refresh_is_passed_on_but_is_no_change() -> None:
    pop = make("A")
    old, new = Lsa("B", 5, links=(LsaLink("A", 5),)), Lsa("B", 6, links=(LsaLink("A", 5),))
    pop.receive([old], 0.0)
    news = pop.receive([new], 30.0)
    assert news.fresh == [new]
    assert not news.changed


def test_a_link_counts_while_both_its_ends_list_it() -> None:
    pop = make("A")
    told(pop, 0.0, "B")
    pop.receive([Lsa("B", 1)], 0.0)
    assert pop.links(0.0) == []
    news = pop.receive([Lsa("B", 2, links=(LsaLink("A", 5),))], 0.0)
    assert news.changed
    assert pop.reachable() == ("A", "B")
    assert len(pop.links(0.0)) == 2
    assert pop.receive([Lsa("B", 3)], 0.0).urgent
    assert pop.reachable() == ("A",)


def test_strangers_are_not_listened_to() -> None:
    pop = make("A", members=["A", "B"])
    assert pop.receive([Lsa("X", 1)], 0.0).fresh == []
    assert pop.answer(Digest(), 0.0) == Answer()
    assert pop.answer({"X": next(iter(make_digest("X").values()))}, 0.0).wanted == ()


def make_digest(name: str) -> Digest:
    pop = make(name)
    told(pop, 0.0)
    return pop.digest()


def test_a_digest_tells_both_what_each_lacks() -> None:
    a, b = make("A"), make("B")
    told(a, 0.0)
    told(b, 0.0)
    b.receive([Lsa("C", 4)], 0.0)
    a.receive([Lsa("C", 3), Lsa("D", 1)], 0.0)
    answer = b.answer(a.digest(), 2.0)
    assert [(lsa.origin, lsa.seq, lsa.age_ms) for lsa in answer.newer] == [
        ("B", 1, 2000),
        ("C", 4, 2000),
    ]
    assert answer.wanted == ("A", "D")


def test_a_connection_that_appears_elsewhere_has_moved() -> None:
    pop = make("A")
    pop.set_local(links("B"), (EXIT,), 0.0, 0.0)
    pop.handle_timer(0.0)
    assert pop.receive([Lsa("B", 1)], 0.0).moved == []
    assert pop.receive([Lsa("B", 2, exits=(EXIT,))], 0.0).moved == [("c.0", "B")]
    again = pop.receive([Lsa("B", 3, load=1.0, exits=(EXIT,))], 0.0).moved
    assert again == [], "it is no news a second time: the connector may have come back to us"


def test_a_claim_that_was_always_there_moves_nothing() -> None:
    pop = make("A")
    pop.set_local((), (EXIT,), 0.0, 0.0)
    pop.handle_timer(0.0)
    assert pop.receive([Lsa("B", 1, exits=(EXIT,))], 0.0).moved == []


def test_a_snapshot_says_what_an_operator_wants_to_know() -> None:
    pop = make("A")
    told(pop, 0.0, "B")
    pop.receive([Lsa("B", 7, links=(LsaLink("A", 5),), exits=(EXIT,)), Lsa("C", 1)], 0.0)
    assert str(pop.snapshot(1.5)).splitlines() == [
        "A #1 1.5 s old: 1 links, 0 exits, load 0",
        "B #7 1.5 s old: 1 links, 1 exits, load 0",
        "C #1 1.5 s old: 0 links, 0 exits, load 0 unreachable",
    ]

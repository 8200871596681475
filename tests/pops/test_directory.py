"""What PoPs know of each other, after any order of messages."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from pops.core.directory import Directory
from wire.advert import AdvertisedExit, Advertisement

EXIT = AdvertisedExit("t", "c.0", 11_000)
DECLARED = {(a, b): 0.1 for a in "ABCD" for b in "ABCD" if a != b}


class Mesh:
    """PoPs whose messages arrive in an order drawn by a Random."""

    def __init__(self, links: list[tuple[str, str]], seed: int) -> None:
        self.links = {frozenset(link) for link in links}
        self.names = sorted({name for link in links for name in link})
        self.pops = {name: Directory(name) for name in self.names}
        self.exits: dict[str, tuple[AdvertisedExit, ...]] = dict.fromkeys(self.names, ())
        self.queues: dict[tuple[str, str], list[list[Advertisement]]] = {}
        self.rng = random.Random(seed)
        for name in self.names:
            self.changed(name)
        for link in sorted(map(sorted, self.links)):
            self.connect(*link)

    def neighbors(self, name: str) -> list[str]:
        return [n for n in self.names if frozenset((n, name)) in self.links]

    def changed(self, name: str) -> None:
        advert = self.pops[name].set_local(self.neighbors(name), self.exits[name])
        if advert is not None:
            self.flood(name, [advert])

    def flood(self, name: str, adverts: list[Advertisement], but: str = "") -> None:
        for neighbor in self.neighbors(name):
            if adverts and neighbor != but:
                self.queues.setdefault((name, neighbor), []).append(adverts)

    def connect(self, a: str, b: str) -> None:
        self.links.add(frozenset((a, b)))
        for here, there in ((a, b), (b, a)):
            self.changed(here)
            self.queues.setdefault((here, there), []).append(self.pops[here].everything())

    def cut(self, a: str, b: str) -> None:
        self.links.discard(frozenset((a, b)))
        self.queues.pop((a, b), None)
        self.queues.pop((b, a), None)
        self.changed(a)
        self.changed(b)

    def settle(self) -> None:
        for _ in range(10_000):
            waiting = sorted(key for key, queue in self.queues.items() if queue)
            if not waiting:
                return
            here, there = self.rng.choice(waiting)
            news = self.pops[there].receive(self.queues[here, there].pop(0)).adverts
            self.flood(there, [a for a in news if a.origin != there], here)
            self.flood(there, [a for a in news if a.origin == there])
        raise AssertionError("it never settles")


LINE = [("A", "B"), ("B", "C"), ("C", "D")]


def test_an_exit_is_known_across_relays_and_gone_with_the_way_to_it() -> None:
    mesh = Mesh(LINE, 1)
    mesh.exits["D"] = (EXIT,)
    mesh.changed("D")
    mesh.settle()
    known = mesh.pops["A"]
    assert [(e.pop, e.connection, e.rtt_s) for e in known.exits()["t"]] == [("D", "c.0", 0.011)]
    assert known.reachable() == ("A", "B", "C", "D")
    mesh.cut("B", "C")
    mesh.settle()
    assert known.exits() == {}
    assert known.reachable() == ("A", "B")
    assert set(known.live_links(DECLARED)) == {("A", "B", 0.1), ("B", "A", 0.1)}
    mesh.connect("B", "C")
    mesh.settle()
    assert "t" in known.exits()


def test_nothing_is_said_when_nothing_changed() -> None:
    directory = Directory("A")
    assert directory.set_local(["B"], ()) is not None
    assert directory.set_local(["B"], ()) is None
    advert = directory.set_local(["B"], (EXIT,))
    assert advert is not None
    assert advert.seq == 2


def test_the_newest_wins_and_is_passed_on_once() -> None:
    directory = Directory("A")
    new, old = Advertisement("B", 5, ("A",), (EXIT,)), Advertisement("B", 4)
    assert directory.receive([new]).adverts == [new]
    assert directory.receive([new]).adverts == []
    assert directory.receive([old]).adverts == []
    directory.set_local(["B"], ())
    assert "t" in directory.exits()


def test_after_a_restart_it_jumps_over_what_it_once_said() -> None:
    directory = Directory("A")
    directory.set_local([], ())
    own = directory.receive([Advertisement("A", 57, ("B",), (EXIT,))]).adverts
    assert [(advert.origin, advert.seq, advert.exits) for advert in own] == [("A", 58, ())]
    assert directory.receive(own).adverts == []


def test_links_that_are_not_declared_or_not_alive_are_not_used() -> None:
    directory = Directory("A")
    directory.set_local(["B"], ())
    assert directory.live_links({("A", "C"): 0.1}) == []
    assert directory.live_links(DECLARED) == [("A", "B", 0.1)]


@settings(deadline=None)
@given(st.data())
def test_all_who_are_connected_agree_after_any_history(data: st.DataObject) -> None:
    mesh = Mesh(LINE, data.draw(st.integers(0, 2**16)))
    pairs = st.sampled_from([("A", "B"), ("B", "C"), ("C", "D"), ("A", "C"), ("A", "D")])
    for _ in range(data.draw(st.integers(0, 12))):
        match data.draw(st.sampled_from(["cut", "connect", "exit", "restart", "settle"])):
            case "cut":
                mesh.cut(*data.draw(pairs))
            case "connect":
                mesh.connect(*data.draw(pairs))
            case "exit":
                name = data.draw(st.sampled_from("ABCD"))
                mesh.exits[name] = (AdvertisedExit("t", f"c.{data.draw(st.integers(0, 3))}", 1),)
                mesh.changed(name)
            case "restart":
                name = data.draw(st.sampled_from("ABCD"))
                links = [link for link in sorted(map(sorted, mesh.links)) if name in link]
                for link in links:
                    mesh.cut(*link)
                mesh.pops[name] = Directory(name)
                mesh.changed(name)
                for link in links:
                    mesh.connect(*link)
            case "settle":
                mesh.settle()
    mesh.settle()
    for name in mesh.names:
        found = {name}
        while more := {b for a in found for b in mesh.neighbors(a)} - found:
            found |= more
        assert set(mesh.pops[name].reachable()) == found
        exits = {(e.pop, e.connection) for e in mesh.pops[name].exits().get("t", [])}
        assert exits == {(pop, mesh.exits[pop][0].connection) for pop in found if mesh.exits[pop]}


def test_a_connection_that_appears_elsewhere_has_moved() -> None:
    directory = Directory("A")
    directory.set_local(("B",), (EXIT,))
    assert directory.receive([Advertisement("B", 1, ("A",))]).moved == []
    moved = directory.receive([Advertisement("B", 2, ("A",), (EXIT,))]).moved
    assert moved == [(EXIT.connection, "B")]
    again = directory.receive([Advertisement("B", 3, ("A", "C"), (EXIT,))]).moved
    assert again == [], "it is no news a second time: the connector may have come back to us"


def test_a_claim_that_was_always_there_moves_nothing() -> None:
    directory = Directory("A")
    directory.set_local(("B",), (EXIT,))
    assert directory.receive([Advertisement("B", 1, ("A",), (EXIT,))]).moved == []

"""One line that tells what a death did, from observations at given times."""

from __future__ import annotations

from typing import Any

from lab.aftermath import Aftermath


def connector(*pops: str, site: str = "dublin", answers: bool = True) -> dict[str, Any]:
    return {
        "site": site,
        "name": "connector",
        "wanted": 4,
        "ready": len(pops),
        "pops": list(pops),
        "answers": answers,
    }


WHOLE = [connector("LHR", "LHR", "FRA", "FRA")]


def test_a_pop_that_held_connections() -> None:
    told = Aftermath("LHR", is_pop=True, before=WHOLE, now=10.0)
    told.observe([connector("FRA", "FRA")], 10.1)
    told.withdrawn(13.0)
    assert not told.settled
    told.observe([connector("FRA", "FRA", "IAD")], 14.0)
    told.observe([connector("FRA", "FRA", "IAD", "IAD")], 14.8)
    assert told.settled
    assert str(told) == "anycast withdrawn in 3.0 s; connector 2/4, then 4/4 in 4.8 s"


def test_a_connection_that_nobody_has_missed_yet_does_not_count() -> None:
    told = Aftermath("LHR", is_pop=True, before=WHOLE, now=0.0)
    told.observe(WHOLE, 1.0)
    told.withdrawn(3.0)
    assert not told.settled, "the connector still believes in its connections to the vanished PoP"
    told.observe([connector("FRA", "FRA", "IAD", "IAD")], 9.5)
    assert str(told) == "anycast withdrawn in 3.0 s; connector 2/4, then 4/4 in 9.5 s"


def test_a_pop_without_connections() -> None:
    told = Aftermath("SYD", is_pop=True, before=WHOLE, now=0.0)
    told.observe(WHOLE, 0.1)
    assert not told.settled
    told.withdrawn(3.0)
    assert told.settled
    assert str(told) == "anycast withdrawn in 3.0 s"


def test_connections_that_come_and_go_are_whole_when_they_stay() -> None:
    told = Aftermath("LHR", is_pop=True, before=WHOLE, now=0.0)
    told.withdrawn(3.0)
    told.observe([connector("FRA", "FRA", "IAD", "IAD")], 4.0)
    told.observe([connector("FRA")], 5.0)
    assert not told.settled
    told.observe([connector("FRA", "FRA", "IAD", "IAD")], 6.0)
    assert str(told) == "anycast withdrawn in 3.0 s; connector 1/4, then 4/4 in 6.0 s"


def test_a_site_is_its_own_affair_and_a_dead_connector_is_not_waited_for() -> None:
    others = [*WHOLE, connector(site="paris", answers=False)]
    told = Aftermath("dublin", is_pop=False, before=others, now=0.0)
    told.observe(others, 0.1)
    assert told.settled
    assert str(told) == ""


def test_what_does_not_come_back_is_told_as_it_is() -> None:
    told = Aftermath("LHR", is_pop=True, before=WHOLE, now=0.0)
    told.observe([connector("FRA", "FRA")], 30.0)
    assert str(told) == "anycast not withdrawn; connector 2/4, then 2/4"

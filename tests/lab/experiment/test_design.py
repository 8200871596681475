"""Which requests are made: from the seed alone, in rounds, in blocks of whole rounds."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lab.experiment.design import Ask, design

CITIES = ["tokyo", "london", "sydney", "lima"]


def make(**changed: Any) -> dict[int, tuple[Ask, ...]]:
    given_: dict[str, Any] = {
        "seeds": [1, 2],
        "requests": 64,
        "visitors": CITIES,
        "urls": ["https://a.example/"],
        "algorithms": ["direct", "one-relay"],
        "every_s": 0.5,
        "block_s": 4.0,
    }
    return design(**{**given_, **changed})


def test_the_same_seed_asks_the_same_and_another_does_not() -> None:
    first, again = make(), make()
    assert first == again
    assert [ask.visitor for ask in first[1]] != [ask.visitor for ask in first[2]]


def test_another_algorithm_changes_no_request() -> None:
    plain = [(a.pair_id, a.at_s, a.visitor, a.url) for a in make()[1]]
    more = make(algorithms=["direct", "one-relay", "hubs"])[1]
    orders = {ask.order for ask in more}
    assert len(orders) > 3
    assert all(sorted(order) == ["direct", "hubs", "one-relay"] for order in orders)
    assert [(a.pair_id, a.at_s, a.visitor, a.url) for a in more] == plain


@given(st.integers(1, 200), st.integers(1, 5), st.floats(0.05, 3), st.floats(0.1, 30))
def test_every_block_asks_every_city_equally_often(
    requests: int, seeds: int, every_s: float, block_s: float
) -> None:
    designed = make(requests=requests, seeds=list(range(seeds)), every_s=every_s, block_s=block_s)
    asks = [ask for part in designed.values() for ask in part]
    assert [ask.pair_id for ask in asks] == list(range(requests))
    whole = Counter(ask.visitor for ask in asks)
    assert max(whole.values()) - min(whole[city] for city in CITIES) <= 1
    for part in designed.values():
        assert abs(len(part) - requests / seeds) < 2 * len(CITIES)
        assert [ask.at_s for ask in part] == sorted(ask.at_s for ask in part)
        blocks = Counter(ask.repeat for ask in part)
        assert list(blocks) == list(range(len(blocks)))
        for block in list(blocks)[:-1]:
            cities = Counter(ask.visitor for ask in part if ask.repeat == block)
            assert len(cities) == len(CITIES)
            assert len(set(cities.values())) == 1
            assert blocks[block] * every_s >= block_s - 1e-6


def test_urls_take_turns_by_rounds() -> None:
    asks = make(urls=["https://a.example/", "https://b.example/"], requests=16, seeds=[1])[1]
    assert [ask.url[8] for ask in asks] == ["a"] * 4 + ["b"] * 4 + ["a"] * 4 + ["b"] * 4

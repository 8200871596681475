"""Records are the same everywhere in the end, whatever happens to the messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pops.core.records import Record, RecordError, Records, encode_records, parse_records


def test_a_name_is_added_changed_and_removed() -> None:
    here, there = Records("A"), Records("B")
    there.receive([here.put("shop.example.com", tunnel="t1")])
    assert there.get("shop.example.com") == here.get("shop.example.com")
    here.receive([there.put("shop.example.com", load_balancer="www", ttl=5)])
    found = here.get("shop.example.com")
    assert found is not None
    assert (found.load_balancer, found.tunnel, found.ttl, found.origin) == ("www", "", 5, "B")
    gone = here.put("shop.example.com")
    assert gone.removed
    assert here.get("shop.example.com") is None
    assert there.receive([gone]) == [gone]
    assert there.receive([gone]) == [], "no news twice"
    assert here.present() == []


def test_what_was_removed_does_not_come_back() -> None:
    here, late = Records("A"), Records("C")
    late.receive([here.put("shop.example.com", tunnel="t1")])
    here.put("shop.example.com")
    assert here.receive(late.everything()) == []
    late.receive(here.everything())
    assert late.get("shop.example.com") is None


operation = st.tuples(
    st.integers(0, 2),
    st.sampled_from(["a.example.com", "b.example.com"]),
    st.sampled_from(["", "t1", "t2"]),
)


@given(st.lists(operation, max_size=12), st.randoms(use_true_random=False))
def test_any_order_duplication_and_delay_end_alike(
    operations: list[tuple[int, str, str]], rng: object
) -> None:
    pops = [Records(name) for name in "ABC"]
    sent: list[Record] = []
    for index, name, tunnel in operations:
        sent.append(pops[index].put(name, tunnel=tunnel))
        # Some messages arrive before the next change, some much later.
        late = rng.sample(sent, rng.randint(0, len(sent)))  # type: ignore[attr-defined]
        pops[rng.randint(0, 2)].receive(late)  # type: ignore[attr-defined]
    for pop in pops:
        shuffled = [*sent, *sent]
        rng.shuffle(shuffled)  # type: ignore[attr-defined]
        pop.receive(shuffled)
    assert pops[0].everything() == pops[1].everything() == pops[2].everything()


def test_encoding() -> None:
    records = Records("A")
    records.put("shop.example.com", tunnel="t")
    records.put("x.example.com")
    assert parse_records(encode_records(records.everything())) == records.everything()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'[{"version": 1}]',
        b'[{"version": 1, "origin": "A", "name": "UPPER.example.com"}]',
        b'[{"version": 1, "origin": "A", "name": "one"}]',
        b'[{"version": -1, "origin": "A", "name": "a.b.c"}]',
        b'[{"version": 1, "origin": "A", "name": "a.b.c", "ttl": -1}]',
        b'[{"version": 1, "origin": "A", "name": "a.b.c", "tunnel": "t", "load_balancer": "l"}]',
    ],
)
def test_nonsense_is_refused(body: bytes) -> None:
    with pytest.raises(RecordError):
        parse_records(body)


def test_the_map_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pops.core.records.MOST_RECORDS", 3)
    records = Records("A")
    records.receive(Record(1, "B", f"n{i}.example.com", "t") for i in range(10))
    assert len(records.everything()) == 3

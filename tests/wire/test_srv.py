from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from wire.srv import SrvRecord, in_order, region_target, tunnel_service

records = st.lists(
    st.builds(
        SrvRecord,
        priority=st.integers(0, 3),
        weight=st.integers(0, 65535),
        port=st.just(7844),
        target=st.sampled_from(["a.", "b.", "c."]),
    )
)


@given(records, st.randoms(use_true_random=False))
def test_nothing_is_lost_and_priorities_ascend(given: list[SrvRecord], rng: random.Random) -> None:
    ordered = in_order(given, rng)
    assert sorted(ordered) == sorted(given)
    priorities = [record.priority for record in ordered]
    assert priorities == sorted(priorities)


def test_weights_decide_within_a_priority() -> None:
    light, heavy = SrvRecord(1, 10, 1, "light"), SrvRecord(1, 90, 1, "heavy")
    rng = random.Random(3)
    first = Counter(in_order([light, heavy], rng)[0].target for _ in range(1000))
    assert 850 < first["heavy"] < 950


def test_weight_zero_is_rare_but_possible() -> None:
    zero, some = SrvRecord(0, 0, 1, "zero"), SrvRecord(0, 9, 1, "some")
    rng = random.Random(4)
    first = Counter(in_order([some, zero], rng)[0].target for _ in range(1000))
    assert 50 < first["zero"] < 150


def test_the_answers_order_does_not_matter() -> None:
    given = [SrvRecord(i % 2, i, 1, str(i)) for i in range(9)]
    shuffled = given[::-1]
    assert in_order(given, random.Random(5)) == in_order(shuffled, random.Random(5))


def test_names() -> None:
    assert tunnel_service() == "_v2-origintunneld._tcp.argotunnel.com"
    assert tunnel_service("us") == "_us-v2-origintunneld._tcp.argotunnel.com"
    assert region_target(1) == "region1.v2.argotunnel.com"
    assert region_target(2, "us") == "us-region2.v2.argotunnel.com"

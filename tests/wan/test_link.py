"""What a link does to packets, one impairment at a time. Times are made up, luck is seeded."""

from __future__ import annotations

import statistics
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topology.plan import Burst, LinkSpec
from wan.dice import Dice
from wan.link import Link


class Hand:
    """The luck of one flow."""

    def __init__(self, *key: object) -> None:
        self._key = key
        self._dice: dict[str, Dice] = {}

    def dice(self, link: str) -> Dice:
        return self._dice.setdefault(link, Dice(link, *self._key))


class NoLuck:
    def dice(self, link: str) -> Dice:
        raise AssertionError("a link without chances asked for luck")


def link(**fields: object) -> Link:
    return Link("A>B", LinkSpec().patched(fields))


def fates(
    subject: Link, count: int, *, gap: float = 1.0, size: int = 100, flow: Hand | None = None
) -> list[object]:
    flow = flow or Hand(1)
    return [subject.judge(size, number * gap, flow) for number in range(count)]


def test_delay_is_added_and_no_luck_is_asked_for() -> None:
    assert link(one_way_s=0.25).judge(1500, 10.0, NoLuck()) == 10.25


def test_rate_serialises_then_the_packet_travels() -> None:
    slow = link(one_way_s=1.0, rate_bps=8000.0, queue_s=10.0)  # 1000 bytes a second
    assert [slow.judge(500, 0.0, NoLuck()) for _ in range(3)] == [1.5, 2.0, 2.5]
    assert slow.judge(500, 10.0, NoLuck()) == 11.5


def test_queue_is_finite_and_drops_at_its_tail() -> None:
    slow = link(rate_bps=8000.0, queue_s=1.0)
    verdicts = [slow.judge(500, 0.0, NoLuck()) for _ in range(5)]
    assert verdicts == [0.5, 1.0, 1.5, "queue", "queue"]
    assert slow.drops == {"queue": 2}
    assert slow.queued_bytes(0.0) == 1500
    assert slow.queued_bytes(1.0) == 500
    assert slow.judge(500, 0.6, NoLuck()) == 2.0


def test_goodput_over_a_full_queue_is_the_rate() -> None:
    slow = link(rate_bps=1e6, queue_s=0.05)
    arrived = [
        v for n in range(20000) if isinstance(v := slow.judge(1250, n * 0.001, NoLuck()), float)
    ]
    assert len(arrived) * 1250 * 8 / max(arrived) == pytest.approx(1e6, rel=0.01)


def test_down_drops_new_packets() -> None:
    cut = link(down=True)
    assert fates(cut, 2) == ["down", "down"]
    assert cut.drops == {"down": 2}


def test_loss_has_its_rate() -> None:
    lossy = link(loss=0.02)
    verdicts = fates(lossy, 20000)
    assert lossy.drops["loss"] == verdicts.count("loss") == pytest.approx(400, abs=60)


def test_bursts_have_their_rate_and_their_length() -> None:
    bursty = link(burst={"enter": 0.01, "leave": 0.25})
    lost = [verdict == "burst" for verdict in fates(bursty, 50000)]
    starts = sum(now and not before for before, now in zip([False, *lost], lost, strict=False))
    assert sum(lost) / len(lost) == pytest.approx(0.01 / 0.26, rel=0.15)
    assert sum(lost) / starts == pytest.approx(4.0, rel=0.15)


def test_short_flows_meet_as_many_bursts_as_long_ones() -> None:
    bursty = link(burst={"enter": 0.01, "leave": 0.04})
    firsts = [bursty.judge(100, 0.0, Hand(flow)) for flow in range(5000)]
    assert firsts.count("burst") / 5000 == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("distribution", ["normal", "uniform", "pareto"])
@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_jitter_is_a_standard_deviation(distribution: str, correlation: float) -> None:
    jittery = link(
        one_way_s=0.5,
        jitter_s=0.01,
        jitter_distribution=distribution,
        jitter_correlation=correlation,
    )
    delays = [at - n for n, at in enumerate(fates(jittery, 20000)) if isinstance(at, float)]
    assert statistics.fmean(delays) == pytest.approx(0.5, abs=0.001)
    assert statistics.stdev(delays) == pytest.approx(0.01, rel=0.12)


def test_jitter_correlation_is_that_of_neighbours() -> None:
    jittery = link(one_way_s=0.5, jitter_s=0.01, jitter_correlation=0.7)
    delays = [at - n for n, at in enumerate(fates(jittery, 5000)) if isinstance(at, float)]
    assert statistics.correlation(delays[:-1], delays[1:]) == pytest.approx(0.7, abs=0.05)


def test_pareto_has_the_long_tail() -> None:
    def tail(distribution: str) -> float:
        jittery = link(one_way_s=0.5, jitter_s=0.01, jitter_distribution=distribution)
        return max(at - n for n, at in enumerate(fates(jittery, 5000)) if isinstance(at, float))

    assert tail("pareto") > tail("normal") > tail("uniform")


def test_delay_never_becomes_negative() -> None:
    jittery = link(one_way_s=0.001, jitter_s=0.05)
    assert all(isinstance(at, float) and at >= n for n, at in enumerate(fates(jittery, 1000)))


@given(
    st.lists(st.tuples(st.floats(0, 0.01), st.integers(28, 1500)), min_size=2, max_size=60),
    st.sampled_from(["normal", "uniform", "pareto"]),
    st.sampled_from([None, 1e5, 1e9]),
    st.integers(0, 5),
)
def test_packets_keep_their_order_whatever_the_jitter(
    gaps: list[tuple[float, int]], distribution: str, rate: float | None, seed: int
) -> None:
    jittery = link(
        one_way_s=0.01,
        jitter_s=0.02,
        jitter_distribution=distribution,
        rate_bps=rate,
        loss=0.1,
        duplicate=0.1,
    )
    now, arrivals = 0.0, []
    for gap, size in gaps:
        now += gap
        verdict = jittery.judge(size, now, Hand(seed))
        if isinstance(verdict, str):
            continue
        arrivals += verdict if isinstance(verdict, tuple) else (verdict,)
        assert arrivals[-1] >= now
    assert arrivals == sorted(arrivals)


def test_reordered_packets_are_late_and_hold_nobody_up() -> None:
    disorder = link(one_way_s=0.1, reorder=0.1)
    times = [at for at in fates(disorder, 5000, gap=0.001) if isinstance(at, float)]
    late = [n for n, at in enumerate(times) if at > n * 0.001 + 0.1 + 1e-9]
    assert len(late) == pytest.approx(500, abs=70)
    assert all(times[n] <= n * 0.001 + 0.11 + 1e-9 for n in late)
    assert sum(after < before for before, after in pairwise(times)) > 300


def test_duplicates_arrive_twice_and_use_the_rate_twice() -> None:
    double = link(duplicate=1.0, rate_bps=8000.0, queue_s=10.0)
    assert double.judge(500, 0.0, Hand(1)) == (0.5, 1.0)
    assert double.duplicates == 1


def test_a_lost_packet_has_used_the_line() -> None:
    lossy = link(loss=1.0, rate_bps=8000.0, queue_s=10.0)
    assert lossy.judge(500, 0.0, Hand(1)) == "loss"
    assert lossy.queued_bytes(0.0) == 500


def test_a_full_queue_does_not_shift_the_luck_of_a_flow() -> None:
    calm = link(loss=0.3, rate_bps=8000.0, queue_s=100.0)
    busy = link(loss=0.3, rate_bps=8000.0, queue_s=0.5)
    alone, crowded, stranger = Hand(1), Hand(1), Hand(2)
    for n in range(300):
        expected = calm.judge(100, n * 1.0, alone)
        if n % 3 == 0:
            for _ in range(10):
                busy.judge(100, n * 1.0, stranger)
        found = busy.judge(100, n * 1.0, crowded)
        assert found == "queue" or (found == "loss") == (expected == "loss")


def test_same_key_same_fate_and_another_flow_another_one() -> None:
    def run(*key: object) -> list[object]:
        return fates(link(one_way_s=0.1, loss=0.3, jitter_s=0.01), 200, flow=Hand(*key))

    assert run(1, "tokyo", 0) == run(1, "tokyo", 0)
    assert run(1, "tokyo", 0) != run(1, "tokyo", 1)


def test_strangers_do_not_shift_the_luck_of_a_flow() -> None:
    quiet = fates(link(loss=0.3), 200, flow=Hand(1))
    subject, flow, stranger = link(loss=0.3), Hand(1), Hand(2)
    crowded = []
    for n in range(200):
        subject.judge(100, float(n), stranger)
        crowded.append(subject.judge(100, float(n), flow))
    assert [v == "loss" for v in crowded] == [v == "loss" for v in quiet]


def test_a_new_delay_counts_for_packets_that_come_after() -> None:
    subject = link(one_way_s=1.0)
    assert subject.judge(100, 0.0, NoLuck()) == 1.0
    subject.change(*subject.plan("me", {"one_way_s": 0.1}))
    assert subject.judge(100, 0.0, NoLuck()) == 0.1


def test_whoever_takes_back_a_wish_uncovers_those_of_others() -> None:
    subject = link(one_way_s=1.0)
    for owner, fields in (
        ("people", {"one_way_s": 2.0, "loss": 0.5}),
        ("timeline", {"one_way_s": 3.0}),
    ):
        subject.change(*subject.plan(owner, fields))
    assert (subject.spec.one_way_s, subject.spec.loss) == (3.0, 0.5)
    subject.change(*subject.plan("timeline", None))
    assert subject.spec.one_way_s == 2.0
    subject.reset()
    assert subject.spec == subject.declared
    assert not subject.changed


def test_planning_a_wrong_change_raises_and_changes_nothing() -> None:
    subject = link(one_way_s=1.0)
    with pytest.raises(msgspec.ValidationError):
        subject.plan("me", {"loss": 2.0})
    assert subject.spec == subject.declared


def test_declared_burst_survives_other_changes() -> None:
    subject = link(burst={"enter": 0.1, "leave": 0.2})
    subject.change(*subject.plan("me", {"loss": 0.5}))
    assert subject.spec.burst == Burst(enter=0.1, leave=0.2)

"""Probes: when they go, what their answers mean, and when silence is death. A simulated link, no clock."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from math import inf

import pytest

from pops.core.probing import Dead, Prober, ProbeSettings, SendProbe
from routing.estimators import estimator

SETTINGS = ProbeSettings()


class Wire:
    """Neighbours that answer after `rtt(now)`, or never (inf). As over TCP, no answer overtakes another."""

    def __init__(
        self,
        rtts: dict[str, Callable[[float], float]],
        settings: ProbeSettings = SETTINGS,
        seed: int = 1,
    ) -> None:
        self.prober = Prober(settings, estimator({"ewma": 0.3}), random.Random(seed), self.heard)
        self.rtts = rtts
        self.now = 0.0
        self.sent: list[tuple[float, str]] = []
        self.dead: list[tuple[float, str]] = []
        self.answers: list[tuple[float, str, int]] = []
        self.octets: dict[str, int] = {}
        for name in rtts:
            self.prober.up(name, 0.0)

    def heard(self, neighbor: str) -> int:
        return self.octets.get(neighbor, 0)

    def run(self, until: float) -> None:
        for _ in range(1_000_000):
            first = min(self.answers, default=(inf, "", 0))
            due = min(first[0], self.prober.next_at)
            if due > until:
                self.now = until
                return
            self.now = max(self.now, due)
            if first[0] <= self.prober.next_at:
                self.answers.remove(first)
                self.octets[first[1]] = self.heard(first[1]) + 17
                self.prober.answered(first[1], first[2], self.now)
                continue
            for effect in self.prober.handle_timer(self.now, due=due):
                match effect:
                    case SendProbe(neighbor, number):
                        self.sent.append((self.now, neighbor))
                        back = self.now + self.rtts[neighbor](self.now)
                        before = [at for at, name, _ in self.answers if name == neighbor]
                        if back < inf:
                            self.answers.append((max([back, *before]), neighbor, number))
                    case Dead(neighbor, _):
                        self.dead.append((self.now, neighbor))
        raise AssertionError("time stands still")

    def rtt(self, neighbor: str = "B") -> float:
        found = self.prober.measurement(neighbor)
        assert found is not None
        return found.rtt_s

    def loss(self, neighbor: str = "B") -> float:
        found = self.prober.measurement(neighbor)
        assert found is not None
        return found.loss


def steady(rtt_s: float) -> Callable[[float], float]:
    return lambda now: rtt_s


def test_the_least_answer_of_the_first_burst_is_the_first_value() -> None:
    noise = iter([0.180, 0.165, 0.250, 0.240])
    wire = Wire({"B": lambda now: next(noise)})
    wire.run(0.09)
    assert len(wire.sent) == SETTINGS.burst
    assert wire.prober.measurement("B") is None
    wire.run(0.32)
    assert wire.rtt() == pytest.approx(0.165)


def test_one_probe_a_second_and_neighbours_are_asked_at_different_times() -> None:
    names = "BCDEFGH"
    wire = Wire({name: steady(0.05) for name in names})
    wire.run(2.0)
    wire.sent.clear()
    wire.run(12.0)
    assert {name: sum(1 for _, n in wire.sent if n == name) for name in names} == dict.fromkeys(
        names, 10
    )
    phases = sorted(at % 1.0 for at, _ in wire.sent[: len(names)])
    assert phases[-1] - phases[0] > 0.4


def test_many_neighbours_share_the_budget() -> None:
    settings = replace(SETTINGS, budget_per_s=20.0)
    wire = Wire({f"P{n}": steady(0.05) for n in range(60)}, settings)
    wire.run(10.0)
    wire.sent.clear()
    wire.run(30.0)
    assert wire.prober.period_s == pytest.approx(4.0)
    assert len(wire.sent) / 20.0 == pytest.approx(15.0, rel=0.05)


def test_a_slower_link_is_believed_when_a_fresh_probe_is_slow_too() -> None:
    wire = Wire({"B": lambda now: 0.07 if now < 10 else 0.5})
    wire.run(10.0)
    wire.run(13.0)
    assert wire.dead == []
    assert wire.rtt() == pytest.approx(0.5)
    assert wire.loss() == 0.0
    (first,) = [at for at, _ in wire.sent if at >= 10.0][:1]
    learnt = next(at for at in frange(10.0, 13.0, 0.01) if replay(0.07, 0.5, at) > 0.4)
    assert learnt - first < 2 * 0.5 + 0.2


def replay(before: float, then: float, until: float) -> float:
    wire = Wire({"B": lambda now: before if now < 10 else then})
    wire.run(until)
    return wire.rtt()


def frange(start: float, stop: float, step: float) -> list[float]:
    return [start + step * n for n in range(round((stop - start) / step))]


def test_an_answer_that_had_to_be_sent_again_is_a_loss_and_no_sample() -> None:
    lost = iter([True])

    def rtt(now: float) -> float:
        # TCP's retransmission: an RTO of 200 ms and the RTT, and then the way once more.
        return 0.4 if now > 10 and next(lost, False) else 0.1

    wire = Wire({"B": rtt})
    wire.run(30.0)
    assert wire.dead == []
    assert wire.prober.lost == 1
    assert 0 < wire.loss() < 0.05
    assert wire.rtt() == pytest.approx(0.1)


def test_samples_that_surprise_are_followed_by_quick_ones() -> None:
    wire = Wire({"B": lambda now: 0.10 if now < 10 else 0.13})
    wire.run(10.0)
    wire.sent.clear()
    wire.run(11.8)
    assert len(wire.sent) >= 4
    assert wire.rtt() > 0.12
    wire.run(30.0)
    wire.sent.clear()
    wire.run(40.0)
    assert len(wire.sent) == 10


@pytest.mark.parametrize("rtt_s", [0.005, 0.08, 0.345])
@pytest.mark.parametrize("seed", range(4))
def test_silence_is_death_within_a_second_or_two(rtt_s: float, seed: int) -> None:
    wire = Wire({"B": lambda now: rtt_s if now < 10 else inf}, seed=seed)
    wire.run(20.0)
    ((at, name),) = wire.dead
    assert name == "B"
    # A probe may just have been answered; the patience is one second and four RTTs.
    assert 1.0 + 3 * rtt_s < at - 10 <= 2.0 + 4 * rtt_s
    quick = [when for when, _ in wire.sent if 10 + rtt_s + 0.1 < when]
    assert len(quick) >= 4
    assert wire.prober.next_at == inf, "nobody is left to be asked"


def test_lossy_and_long_links_are_not_given_up() -> None:
    rng = random.Random(5)

    def rtt(now: float) -> float:
        """Lost on either way with 1 % each, then sent again by TCP after its RTO, which doubles."""
        spent, rto = 0.0, 0.6
        while rng.random() < 0.02:
            spent += rto
            rto *= 2
        return spent + 0.4 + rng.uniform(0.0, 0.02)

    wire = Wire({"B": rtt})
    wire.run(5000.0)
    assert wire.dead == []
    assert 0.005 < wire.prober.lost / wire.prober.sent < 0.04
    assert 0.4 < wire.rtt() < 0.43


def test_other_octets_are_a_sign_of_life() -> None:
    wire = Wire({"B": lambda now: 0.1 if now < 10 else 30.0})
    wire.run(10.5)
    for tenth in range(60):
        wire.octets["B"] += 1400  # a large database, in front of the answers
        wire.run(10.5 + tenth / 10)
    assert wire.dead == []
    wire.run(20.0)
    assert wire.dead != []


def test_a_process_that_stood_still_blames_itself() -> None:
    wire = Wire({"B": steady(0.1)})
    wire.run(5.0)
    due = wire.prober.next_at
    (probe,) = wire.prober.handle_timer(due, due=due)
    assert isinstance(probe, SendProbe)
    due = wire.prober.next_at
    assert not any(isinstance(one, Dead) for one in wire.prober.handle_timer(due + 30.0, due=due))
    assert wire.prober.answered("B", probe.number, due + 30.001) in (True, False)
    assert wire.prober.measured("B")


def test_a_neighbour_that_comes_back_is_measured_anew() -> None:
    wire = Wire({"B": steady(0.3)})
    wire.run(5.0)
    wire.prober.down("B")
    wire.answers.clear()
    assert wire.prober.measurement("B") is None
    wire.rtts["B"] = steady(0.05)
    wire.prober.up("B", wire.now)
    wire.run(wire.now + 0.2)
    assert wire.rtt() == pytest.approx(0.05)


def test_an_answer_to_nobodys_question_is_nothing() -> None:
    prober = Prober(SETTINGS, estimator("last"), random.Random(1))
    assert not prober.answered("B", 1, 0.0)
    prober.up("B", 0.0)
    assert not prober.answered("B", 77, 0.1)


def test_jitter_is_that_of_rtts_one_after_the_other() -> None:
    turn = iter([True, False] * 1000)
    wire = Wire({"B": lambda now: 0.110 if next(turn) else 0.100})
    wire.run(120.0)
    found = wire.prober.measurement("B")
    assert found is not None
    assert found.jitter_s == pytest.approx(0.010, rel=0.05)
    assert 0.100 < found.rtt_s < 0.110

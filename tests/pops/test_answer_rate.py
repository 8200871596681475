"""How many answers one source gets."""

from __future__ import annotations

from pops.core.answer_rate import AnswerRate, Verdict

VICTIM = "192.0.2.1"


def test_whole_then_truncated_then_nothing() -> None:
    rate = AnswerRate(10, 5)
    verdicts = [rate.judge(VICTIM, 0.0) for _ in range(20)]
    assert verdicts == [Verdict.ANSWER] * 5 + [Verdict.TRUNCATE] * 5 + [Verdict.SILENCE] * 10


def test_in_a_flood_that_lasts_no_answer_is_whole() -> None:
    rate = AnswerRate(10, 5)
    verdicts = [rate.judge(VICTIM, n / 1000) for n in range(10_000)]
    assert Verdict.ANSWER not in verdicts[5:]
    assert 95 <= verdicts.count(Verdict.TRUNCATE) <= 110


def test_who_waits_is_answered_again() -> None:
    rate = AnswerRate(10, 5)
    for _ in range(20):
        rate.judge(VICTIM, 0.0)
    assert rate.judge(VICTIM, 0.7) is Verdict.ANSWER


def test_others_do_not_notice() -> None:
    rate = AnswerRate(10, 5)
    for _ in range(20):
        rate.judge(VICTIM, 0.0)
    assert rate.judge("192.0.2.2", 0.0) is Verdict.ANSWER
    assert rate.judge("2001:db8:0:1::1", 0.0) is Verdict.ANSWER


def test_all_of_an_ipv6_network_is_one_source() -> None:
    rate = AnswerRate(10, 1)
    assert rate.judge("2001:db8:0:1::1", 0.0) is Verdict.ANSWER
    assert rate.judge("2001:db8:0:1:ffff::2", 0.0) is Verdict.TRUNCATE
    assert rate.judge("2001:db8:0:2::1", 0.0) is Verdict.ANSWER


def test_invented_sources_do_not_fill_the_memory() -> None:
    rate = AnswerRate(10, 1)
    for n in range(20_000):
        rate.judge(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 0.0)
    assert rate.judge("10.0.0.0", 0.0) is Verdict.ANSWER  # forgotten
    assert rate.judge("10.0.78.31", 0.0) is Verdict.TRUNCATE  # the last one is not


def test_no_limit() -> None:
    rate = AnswerRate(0, 1)
    assert {rate.judge(VICTIM, 0.0) for _ in range(100)} == {Verdict.ANSWER}

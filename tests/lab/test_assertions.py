from __future__ import annotations

from xml.etree import ElementTree

import pytest

from lab.assertions import AssertionSyntaxError, check_all, junit, parse_all
from lab.load import Sample
from lab.load_summary import Disturbance, summarise


def sample(t_s: float, visitor: str, total_s: float, cause: str = "", path: str = "A>B") -> Sample:
    return Sample(
        t_s, visitor, "app", "u", path, 200, cause, False, 1, 0, 0, 0, total_s / 2, total_s
    )


SUMMARY = summarise(
    [
        *(sample(number, "tokyo", 0.2) for number in range(90)),
        *(sample(number, "london", 0.05, path="A") for number in range(9)),
        sample(50.5, "tokyo", 1.0, "tcp: refused"),
    ],
    [Disturbance(50.0, "kill LHR", 53.0)],
)


@pytest.mark.parametrize(
    ("text", "measured", "held"),
    [
        ("p95(tokyo) < 250ms", "200ms", True),
        ("p95(tokyo) < 0.2s", "0.2s", False),
        ("p50 <= 200ms", "200ms", True),
        ("ttfb_p99(london) < 30ms", "25ms", True),
        ("mean(london) == 50ms", "50ms", True),
        ("max > 100ms", "200ms", True),
        ("availability >= 99.0%", "99%", True),
        ("availability(tokyo) >= 99%", "98.9011%", False),
        ("availability(app) > 98%", "99%", True),
        ("failed <= 1", "1", True),
        ("requests >= 101", "100", False),
        ("share(A>B) > 90%", "90.9091%", True),
        ("share( A > B ) > 90%", "90.9091%", True),
        ("p100 < 1h", "5.55556e-05h", True),
        ("requests(tokyo) == 91", "91", True),
        ("failed(paris) <= 5", "not measured", False),
        ("share(nowhere) > 1%", "0%", False),
        ("recovered within 3s", "1.2s", True),
        ("recovered within 1s", "1.2s", False),
        ("cut_off(tokyo) < 1s", "0.7s", True),
        ("cut_off(london) < 1ms", "0ms", True),
        ("converged within 3s", "3s", True),
        ("p95(paris) < 1s", "not measured", False),
    ],
)
def test_assertions(text: str, measured: str, held: bool) -> None:
    (verdict,) = check_all(parse_all([text]), SUMMARY)
    assert (verdict.measured, verdict.held) == (measured, held)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("speed < 1s", "allowed: pN, ttfb_pN, mean"),
        ("recoverd within 1s", "did you mean 'recovered'?"),
        ("p95 < 1", "found 1 without a unit; allowed: us, ms, s, m or h"),
        ("p95 < 1%", "found the unit '%'; allowed: us, ms, s, m or h"),
        ("availability >= 3s", "allowed: %"),
        ("failed <= 3s", "allowed: no unit"),
        ("p < 3s", "found 'p', which"),
        ("mean95 < 3s", "found 'mean95', which"),
        ("tokyo is fast", "one comparison a line"),
        ("p95 < 3s and failed < 1", "one comparison a line"),
        ("availability => 99.9%", "one comparison a line"),
        ("p150 < 3s", "found p150; allowed: pN with N above 0 and up to 100"),
        ("ttfb_p0 < 3s", "found ttfb_p0"),
        ("share < 50%", "found share of no path"),
        ("share() < 50%", "found share of no path"),
        ("recovered(tokyo) within 4s", "found recovered(tokyo); allowed: recovered without"),
        ("converged() within 4s", "allowed: converged without a bracket"),
        ("p95() < 4s", "a visitor or a name in dns in the bracket"),
        ("availability within 99%", "only a time"),
    ],
)
def test_what_is_wrong_is_named(text: str, hint: str) -> None:
    with pytest.raises(AssertionSyntaxError) as caught:
        parse_all([text])
    assert hint in str(caught.value)


def test_everything_that_is_wrong_with_a_line_is_said() -> None:
    with pytest.raises(AssertionSyntaxError) as caught:
        parse_all(["p150() < 3%"])
    assert [flaw.found for flaw in caught.value.flaws] == ["p150", "p()", "the unit '%'"]


@pytest.mark.parametrize(
    "text",
    [
        "recovered within 4s",
        "converged within 4s",
        "cut_off < 1s",
        "failed <= 0",
        "requests < 1",
        "share(A) < 50%",
        "availability <= 100%",
        "max < 1s",
    ],
)
def test_nothing_holds_of_a_run_in_which_nothing_happened(text: str) -> None:
    (verdict,) = check_all(parse_all([text]), summarise([]))
    assert (verdict.measured, verdict.held) == ("not measured", False)


def test_nobody_recovers_from_what_nobody_would_have_noticed() -> None:
    assertions = parse_all(["recovered within 4s"])
    (nobody_asked,) = check_all(assertions, summarise([], [Disturbance(0.5, "kill LHR")]))
    (nothing_broke,) = check_all(assertions, summarise([sample(1, "tokyo", 1.0)]))
    assert (nobody_asked.measured, nothing_broke.measured) == ("not measured", "not measured")


def test_a_bound_is_what_was_written() -> None:
    samples = [sample(number, "tokyo", 0.1, "x" if number == 0 else "") for number in range(1000)]
    (verdict,) = check_all(parse_all(["availability == 99.9%"]), summarise(samples))
    assert verdict.held


def test_never_is_no_number_of_seconds() -> None:
    summary = summarise([sample(1, "tokyo", 1.0, "x")], [Disturbance(0.5, "kill LHR")])
    (verdict,) = check_all(parse_all(["recovered within 1000s"]), summary)
    assert (verdict.measured, verdict.held) == ("never", False)


def test_junit_tells_what_failed() -> None:
    verdicts = check_all(parse_all(["failed <= 0", "requests > 1"]), SUMMARY)
    suite = ElementTree.fromstring(junit("world", verdicts))
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == ["failed <= 0"]
    broken_off = ElementTree.fromstring(junit("world", [], "interrupted at 8 s"))
    assert broken_off.get("failures") == "1"

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from lab.assertions import Assertion, AssertionSyntaxError, check_all, junit, parse_all
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
    verdict = Assertion.parse(text).check(SUMMARY)
    assert (verdict.measured, verdict.held) == (measured, held)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("speed < 1s", "allowed: p50"),
        ("p95 < 1", "found unit ''"),
        ("p95 < 1%", "allowed: us, ms, s, m"),
        ("availability >= 3s", "allowed: %"),
        ("p < 3s", "found p"),
        ("mean95 < 3s", "found mean95"),
        ("tokyo is fast", "no comparison"),
    ],
)
def test_what_is_wrong_is_named(text: str, hint: str) -> None:
    with pytest.raises(AssertionSyntaxError) as caught:
        Assertion.parse(text)
    assert hint in str(caught.value)


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

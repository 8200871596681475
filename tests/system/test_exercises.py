"""The exercises of docs/lab, typed as they stand: what a class sees is what they promise."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Popnet
from .transcripts import Step, follow, is_like, missing, steps

pytestmark = pytest.mark.system

EXERCISES = sorted((Path(__file__).resolve().parents[2] / "docs/lab").glob("[0-9]-*.md"))


@pytest.fixture(scope="module")
def world_of_a_class(popnet: Popnet) -> Iterator[Popnet]:
    popnet("up", "-n", "class", "--detach")
    yield popnet.of("class")
    popnet("down", "-n", "class", code=None)


def _run(popnet: Popnet, arguments: list[str]) -> str:
    with popnet.popen(*arguments) as process:
        output, errors = process.communicate(timeout=60)
    return output + errors


def _settle(popnet: Popnet) -> None:
    """A reader takes longer to read on than routes take to converge; this waits for what a reader waits for."""
    give_up = time.monotonic() + 60
    while not missing_nothing(_run(popnet, ["status"])):
        assert time.monotonic() < give_up, _run(popnet, ["status"])
        time.sleep(0.2)


def _choose_anew(popnet: Popnet) -> None:
    """A reader takes twenty minutes for an exercise, and a route forgets how often it changed; this has no time.

    It does what their README advises when Tokyo goes another way.
    """
    give_up = time.monotonic() + 60
    look_until = 0.0
    while "NRT>IAD>LHR" not in (routes := _run(popnet, ["routes", "NRT"])) or not look_until:
        assert time.monotonic() < give_up, routes
        if time.monotonic() > look_until:
            _run(popnet, ["kill", "NRT"])
            _run(popnet, ["start", "NRT"])
            look_until = time.monotonic() + 12
        time.sleep(0.5)


def missing_nothing(status: str) -> bool:
    return is_like("...8/8 PoPs  4/4 tunnel connections (FRA 2, LHR 2)...", status.splitlines()[0])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("document", EXERCISES, ids=lambda path: path.stem)
def test_an_exercise(world_of_a_class: Popnet, document: Path) -> None:
    _settle(world_of_a_class)
    _choose_anew(world_of_a_class)
    before: Step | None = None
    for step in steps(document):
        _patiently(world_of_a_class, step, before)
        before = step
    # It leaves the world as it found it.
    _settle(world_of_a_class)


def _patiently(popnet: Popnet, step: Step, before: Step | None) -> None:
    """Commands that only look may be typed again: routes settle while somebody reads.

    What follows a silence has little time. Who was too late begins again, as the exercise says.
    """
    give_up = time.monotonic() + 40
    looks = step.arguments[0] in ("trace", "why", "routes", "catchment", "status", "curl")
    silence = before is not None and before.arguments[0] == "vanish"
    while True:
        try:
            follow(step, lambda arguments: _run(popnet, arguments))
        except AssertionError:
            if not (looks or silence) or time.monotonic() > give_up:
                raise
            if before is not None and silence:
                _run(popnet, ["start", before.arguments[1]])
                follow(before, lambda arguments: _run(popnet, arguments))
            else:
                time.sleep(0.5)
        else:
            return


def test_there_are_four_and_they_are_listed() -> None:
    assert len(EXERCISES) == 4
    listed = (EXERCISES[0].parent / "README.md").read_text()
    assert all(f"({path.name})" in listed for path in EXERCISES)
    assert all(len(steps(path)) >= 8 for path in EXERCISES)


@pytest.mark.parametrize(
    ("expected", "line", "alike"),
    [
        ("tokyo  SIN  89", "tokyo          SIN     89", True),
        ("tokyo  SIN  89", "tokyo          SIN     89  NRT", False),
        ("tokyo  SIN ...", "tokyo          SIN     89  NRT", True),
        ("time=~5 ms", "time=5.71 ms", True),
        ("time=~200 ms", "time=5.71 ms", False),
        ("time=~200 ms", "time=900 ms", False),
        ("cf-ray: ...-NRT", "cf-ray: 12ab-NRT", True),
        ("cf-ray: ...-NRT", "cf-ray: 12ab-SIN", False),
        ("200  a > b", "200  a > c > b", False),
    ],
)
def test_what_counts_as_alike(expected: str, line: str, alike: bool) -> None:
    assert is_like(expected, line) is alike


def test_lines_are_looked_for_in_order() -> None:
    assert missing(["a", "c"], "a\nb\nc\n") is None
    assert missing(["c", "a"], "a\nb\nc\n") == "a"

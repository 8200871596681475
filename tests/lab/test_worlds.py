"""World files whose routing nobody could carry out: each error at its place, with a way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.worlds import AlgorithmChoiceError, load_world
from topology.problems import WorldError

BASE = "popnet: 1\npops: {LHR: {region: 1}, FRA: {region: 2}}\nrouting:\n"
GOOD = "PARAMS = {'weight': 1.0}\n\n\ndef decide(state):\n    return {}\n"


def world(directory: Path, *lines: str) -> Path:
    file = directory / "w.yaml"
    file.write_text(BASE + "".join(f"  {line}\n" for line in lines))
    (directory / "mine.py").write_text(GOOD)
    (directory / "syntax.py").write_text("def decide(state)\n")
    (directory / "none.py").write_text("x = 1\n")
    return file


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["algorithm: one-rely"], ":4:14: routing.algorithm: found 'one-rely'; allowed: direct, "),
        (["algorithm: one-rely"], "(did you mean 'one-relay'?)"),
        (["algorithm: min.py"], ":4:14: routing.algorithm: found 'min.py': No such file"),
        (["algorithm: min.py"], "(did you mean 'mine.py'?)"),
        (["algorithm: syntax.py"], ":4:14: routing.algorithm: found syntax.py:1: expected ':'"),
        (["algorithm: none.py"], ":4:14: routing.algorithm: found none.py: no function `decide"),
        (["algorithm: x", "source: 'y = 1'"], ":5:11: routing.source: found x: no function"),
        (
            ["params: {hop_cost: 1}"],
            ":4:12: routing.params.hop_cost: found no parameter of one-relay; allowed: hop_cost_s "
            "(did you mean 'hop_cost_s'?)",
        ),
        (["algorithm: mine.py", "params: {wieght: 1}"], ":5:12: routing.params.wieght"),
        (["params: {hop_cost_s: much}"], ":4:24: routing.params.hop_cost_s: found 'much'"),
        (["probe: {estimator: {emwa: 1}}"], ":4:22: routing.probe.estimator: found 'emwa'"),
        (["probe: {estimator: {ewma: 2}}"], ":4:22: routing.probe.estimator: found estimator"),
    ],
)
def test_routing_that_cannot_be_is_named_at_its_place(
    tmp_path: Path, lines: list[str], said: str
) -> None:
    with pytest.raises(WorldError) as caught:
        load_world(world(tmp_path, *lines))
    (problem,) = caught.value.problems
    assert said in str(problem)


@pytest.mark.parametrize(
    "lines",
    [
        ["algorithm: mine.py", "params: {weight: 2}"],
        ["algorithm: hubs", "params: {hubs: [LHR]}"],
        ["probe: {estimator: last}"],
        ["probe: {estimator: {quantile: [0.9, 20]}}"],
        ["damping: {min_gain_pct: 0, min_gain_ms: 2, hold: 0s, max_moved_pct: 10, interval: 5s}"],
    ],
)
def test_routing_that_can_be_is_accepted(tmp_path: Path, lines: list[str]) -> None:
    load_world(world(tmp_path, *lines))


def test_the_text_of_a_plug_in_comes_along(tmp_path: Path) -> None:
    routing = load_world(world(tmp_path, "algorithm: mine.py")).routing
    assert (routing.algorithm, routing.source) == ("mine.py", GOOD)


def test_another_algorithm_leaves_parameters_of_the_old_one_behind(tmp_path: Path) -> None:
    file = world(tmp_path, "algorithm: no-such", "params: {anything: 1}")
    routing = load_world(file, "direct").routing
    assert (routing.algorithm, routing.params, routing.source) == ("direct", {}, None)
    routing = load_world(file, str(tmp_path / "mine.py")).routing
    assert (routing.algorithm, routing.source) == ("mine.py", GOOD)
    with pytest.raises(AlgorithmChoiceError, match=r"--algorithm: found 'dirct'.*'direct'\?"):
        load_world(file, "dirct")
    with pytest.raises(AlgorithmChoiceError, match="No such file"):
        load_world(file, "nothing.py")

"""Comparisons in virtual time: what is found is what the world was made for, and a second run finds the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.driver import LabError
from lab.experiment import real
from lab.experiment import wanted as wanting
from lab.experiment.comparing import Comparison, compare
from lab.experiment.files import read, to_csv
from lab.experiment.wanted import Wanted
from topology.load import load_world, parse_world
from topology.plan import Plan

ROOT = Path(__file__).parents[3]
# By way of C it is 60 ms shorter from B to the tunnels in A.
TRIANGLE = """
popnet: 1
name: triangle
pops:
  A: {at: [51.5, 0], region: 1}
  B: {at: [35.6, 139.7]}
  C: {at: [40, 60], region: 2}
internet:
  rtt_ms: {A: {B: 200, C: 60}, B: {C: 80}, a-site: {A: 4, C: 200}, b-city: {B: 4}}
visitors: {b-city: {at: [35, 139]}}
sites: {a-site: {at: [52, 0]}}
tunnels: {app: {site: a-site}}
dns: {app.example.com: {tunnel: app}}
"""


def wanted(plan: Plan, world: Path, **changed: object) -> Wanted:
    given: dict[str, object] = {
        "plan": plan,
        "world": world,
        "algorithms": wanting.algorithms(["direct", "one-relay"]),
        "requests": 8,
        "visitors": tuple(plan.world.visitors),
        "urls": wanting.urls(plan, None),
        "seeds": (plan.seed,),
        "every_s": 0.5,
        "warm_up_s": 8.0,
        "block_s": 0.5,
    }
    return Wanted(**{**given, **changed})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def triangle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Wanted, Comparison]:
    file = tmp_path_factory.mktemp("world") / "triangle.yaml"
    file.write_text(TRIANGLE)
    asked = wanted(Plan.of(parse_world(TRIANGLE)), file)
    return asked, compare(asked)


def test_a_shorter_way_helps_by_what_it_is_shorter(triangle: tuple[Wanted, Comparison]) -> None:
    _, found = triangle
    (row,) = found.overall()
    assert row.gain_ms == pytest.approx(60, abs=2)
    assert (row.n_pairs, row.n_blocks, row.failed, row.verdict) == (8, 8, 0, "helps")
    assert found.predictions["one-relay"].gain_ms == pytest.approx(60)
    assert {(one.algorithm, one.path) for one in found.samples} == {
        ("direct", "B>A"),
        ("one-relay", "B>C>A"),
    }
    truth = {(one.algorithm, one.overlay_rtt_ms, one.oracle_rtt_ms) for one in found.samples}
    assert truth == {("direct", 204.0, 144.0), ("one-relay", 144.0, 144.0)}
    assert all(world.settled and world.control_bytes > 0 for world in found.worlds)


def test_a_second_run_is_the_same_to_the_byte(triangle: tuple[Wanted, Comparison]) -> None:
    asked, first = triangle
    again = compare(asked)
    kinds = type(first.samples[0])
    assert to_csv(again.samples, kinds) == to_csv(first.samples, kinds)
    assert [w.event_log_sha256 for w in again.worlds] == [w.event_log_sha256 for w in first.worlds]


def test_what_it_leaves_can_be_read_and_repeated(
    triangle: tuple[Wanted, Comparison], tmp_path: Path
) -> None:
    _, found = triangle
    found.leave(tmp_path, ["popnet", "compare"])
    results = read(tmp_path)
    assert results.samples == found.samples
    assert results.rows == found.rows
    manifest = results.manifest
    assert manifest["argv"] == ["popnet", "compare"]
    assert manifest["world"]["file"] == "triangle.yaml"
    assert len(manifest["event_log_sha256"]) == len(manifest["lock_sha256"]) == 64
    assert {"versions", "commit", "seeds", "driver", "platform", "fidelity_ok"} <= set(manifest)
    assert str(tmp_path) not in json.dumps(results.summary)
    assert results.summary["prediction"]["one-relay"]["gain_ms"] == 60.0
    assert results.summary["paths"]["one-relay"]["b-city"] == {"B>C>A": 1.0}


def small(world: Path, cities: tuple[str, ...]) -> Comparison:
    """Seven rounds of a few cities, each of them a block."""
    plan = Plan.of(load_world(world))
    asked = wanted(
        plan,
        world,
        visitors=cities,
        requests=7 * len(cities),
        every_s=0.3,
        block_s=0.3 * len(cities),
    )
    return compare(asked)


def test_the_default_world_gains_what_brute_force_predicts() -> None:
    found = small(ROOT / "topology.yaml", ("tokyo", "sydney", "london"))
    (row,) = found.overall()
    assert row.verdict == "helps"
    assert row.gain_ms == pytest.approx(found.predictions["one-relay"].gain_ms, rel=0.2)
    assert found.predictions["one-relay"].gain_ms == pytest.approx(44 / 3, abs=0.01)


@pytest.mark.parametrize(
    ("world", "verdict", "cities"),
    [
        ("no-tiv", "no gain", ("tokyo", "sydney", "london")),
        ("harm", "harms", ("tokyo", "singapore")),
    ],
)
def test_worlds_made_for_a_verdict(world: str, verdict: str, cities: tuple[str, ...]) -> None:
    (row,) = small(ROOT / "examples" / f"{world}.yaml", cities).overall()
    assert row.verdict == verdict, row
    if verdict == "no gain":
        assert row.base_p50 is not None
        assert row.gain_lo is not None
        assert row.gain_hi is not None
        assert max(-row.gain_lo, row.gain_hi) < 0.01 * row.base_p50


def test_a_world_by_several_algorithms_beside_each_other(tmp_path: Path) -> None:
    text = TRIANGLE + "routing: {algorithm: hubs, params: {hop_cost_s: 0.002}}\n"
    (tmp_path / "world.yaml").write_text(text)
    to = tmp_path / "elsewhere" / "world.yaml"
    to.parent.mkdir()
    real.beside_file(tmp_path / "world.yaml", ["direct", "one-relay"], to)
    from_file, before = load_world(to), parse_world(text)
    assert from_file == real.beside(Plan.of(before), ["direct", "one-relay"]).world
    assert from_file.routing.beside == ("direct", "one-relay")
    assert from_file.internet == before.internet


def test_bad_input_is_named() -> None:
    with pytest.raises(LabError, match=r"'nonsense'.*direct"):
        wanting.algorithms(["direct", "nonsense"])
    with pytest.raises(LabError, match="at least two, each of them once"):
        wanting.algorithms(["direct", "direct"])
    plan = Plan.of(parse_world(TRIANGLE))
    with pytest.raises(LabError, match=r"^--algorithms: found .*nowhere\.py.*a readable"):
        wanting.worlds(plan, wanting.algorithms(["direct", "nowhere.py"]))
    with pytest.raises(LabError, match=r"other\.example.*app\.example\.com"):
        wanting.urls(plan, "https://other.example/")
    assert wanting.urls(plan, None) == ("https://app.example.com/",)

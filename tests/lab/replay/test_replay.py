"""Whole replays: a synthetic matrix always, a real one where `POPNET_PLANETLAB` says where it is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import typer

from lab.cli.replay import replay
from lab.driver import LabError
from lab.experiment.files import read as read_results
from lab.replay.matrices import Matrices, checked, read
from lab.replay.playing import Contender, Played, Settings, play
from lab.replay.summary import Line, lines, rows, samples
from routing.catalogue import CATALOGUE, algorithm
from routing.damping import Damping

PLANETLAB = os.environ.get("POPNET_PLANETLAB")


def wanted(pct: float = 5.0, **more: object) -> Settings:
    given = {
        "estimator": {"ewma": 0.3},
        "damping": Damping(min_gain_pct=pct),
        "pairs": 30,
        "every_s": 60.0,
        "rounds": 4,
        "hop_cost_s": 0.001,
        "seed": 1,
    }
    return Settings(**{**given, **more})  # type: ignore[arg-type]


def played(matrices: Matrices, *names: str, pct: float = 5.0, **more: object) -> Played:
    contenders = [
        Contender(name, algorithm(name), algorithm(name).params)
        for name in dict.fromkeys(("direct", *names))
    ]
    return play(matrices, contenders, wanted(pct, **more))


def table(result: Played) -> dict[str, Line]:
    """Of each algorithm the widest group."""
    return {line.algorithm: line for line in reversed(lines(result))}


def world(noise: float, slices: int = 8, nodes: int = 12) -> Matrices:
    """Node 0 is a short way round between all others."""
    rng = np.random.default_rng(7)
    base = rng.uniform(100, 200, (nodes, nodes))
    base = np.minimum(base, base.T)
    base[0, :] = base[:, 0] = 40.0
    rtts = np.stack([base * (1 + noise * rng.random(base.shape)) for _ in range(slices)])
    for one in rtts:
        np.fill_diagonal(one, 0.0)
    return checked([f"n{index:02d}" for index in range(nodes)], rtts)


def test_in_a_world_that_stands_still_the_best_relay_is_the_oracle() -> None:
    found = table(played(world(0.0), *CATALOGUE))
    assert found["direct"].gain_ms == 0.0
    for name in ("one-relay", "ttfb", "loss-aware", "k-disjoint", "static", "bandit", "race"):
        assert found[name].of_oracle == pytest.approx(1.0, abs=1e-9), name
    for name in set(CATALOGUE) - {"direct"}:
        assert found[name].worse == 0.0, name
        assert found[name].changes == 0.0, name
    base = 81.0
    assert found["one-relay"].mean_ms == pytest.approx((11 * 10 * base + 22 * 40) / 132)
    assert found["lowest-rtt"].regret_ms == pytest.approx(0.0, abs=1e-9)
    assert found["race"].tried is not None
    assert found["race"].tried > 0


def test_without_detours_nothing_is_gained() -> None:
    """Points on a line: a metric space."""
    at = np.linspace(0, 500, 9)
    rtts = np.abs(at[:, None] - at) + 5.0
    np.fill_diagonal(rtts, 0.0)
    matrices = checked([f"n{index}" for index in range(9)], np.stack([rtts] * 8))
    result = played(matrices, "one-relay", "lowest-rtt")
    assert table(result)["lowest-rtt"].gain_ms == 0.0
    assert table(result)["one-relay"].of_oracle is None
    assert {row.verdict for row in rows(result)} == {"no gain"}


def test_a_slice_is_judged_by_what_was_known_before_it() -> None:
    """The detour closes in the last slice: who trusted it pays, and nobody could know."""
    rtts = np.full((3, 3, 3), 100.0)
    rtts[:, 0, 1] = rtts[:, 1, 0] = 30.0
    rtts[:, 1, 2] = rtts[:, 2, 1] = 30.0
    rtts[2, 1, 2] = rtts[2, 2, 1] = 300.0
    for one in rtts:
        np.fill_diagonal(one, 0.0)
    result = played(checked("abc", rtts), "one-relay")
    gains = [
        1e3 * (direct - mine)
        for direct, mine in zip(
            result.everywhere["direct"].rtt_s, result.everywhere["one-relay"].rtt_s, strict=True
        )
    ]
    # Of the six pairs a-c and c-a go over b: 61 ms instead of 100, then 331.
    assert sorted(gains[0].round(6).tolist()) == [0, 0, 0, 0, 39, 39]
    assert sorted(gains[1].round(6).tolist()) == [-231, -231, 0, 0, 0, 0]
    assert table(result)["one-relay"].worse == pytest.approx(2 / 12)


def test_damping_trades_gain_for_rest() -> None:
    """Relays that are nearly equal, and noise that makes now this one, now that one the best."""
    rng = np.random.default_rng(7)
    rtts = 100 * (1 + 0.2 * rng.random((20, 12, 12)))
    rtts[:, :4, :] = rtts[:, :, :4] = 40 * (1 + 0.2 * rng.random((20, 12, 4))).mean()
    rtts[:, :4, :] *= 1 + 0.1 * rng.random((20, 4, 12))
    for one in rtts:
        np.fill_diagonal(one, 0.0)
    noisy = checked([f"n{index:02d}" for index in range(12)], rtts)
    free, held = (table(played(noisy, "one-relay", pct=pct))["one-relay"] for pct in (0.0, 5.0))
    assert held.changes < free.changes / 3
    assert held.gain_ms > 0.8 * free.gain_ms


def test_what_was_not_measured_is_not_judged() -> None:
    matrices = world(0.0)
    gone = matrices.rtt_ms.copy()
    gone[3, 0, 1:] = np.nan
    result = played(checked(matrices.names, gone), "one-relay")
    line = table(result)["one-relay"]
    # In slice 3 everybody else's detour starts where it did, but the hub itself has no way out.
    assert 0 < line.failed < 0.15
    assert line.worse == 0.0
    assert {row.failed for row in rows(result) if row.group == "all"} == {11 + 110}


def test_rows_and_samples_agree(tmp_path: Path) -> None:
    result = played(world(0.2), "one-relay", "bandit")
    by_group = {(row.algorithm, row.group): row for row in rows(result)}
    assert set(by_group) == {("one-relay", "all"), ("one-relay", "sample"), ("bandit", "sample")}
    found = samples(result, world(0.2).names, 1, 60.0)
    mine = [one for one in found if one.algorithm == "bandit"]
    base = {one.pair_id: one.overlay_rtt_ms for one in found if one.algorithm == "direct"}
    gains = [(base[one.pair_id] or 0.0) - (one.overlay_rtt_ms or 0.0) for one in mine]
    row = by_group["bandit", "sample"]
    assert row.n_pairs == len(mine) == 7 * 30
    assert row.n_blocks == 7
    assert row.gain_ms == pytest.approx(sum(gains) / len(gains), abs=1e-3)
    assert row.gain_lo is not None
    assert row.gain_lo < row.gain_ms
    assert row.verdict == "helps"


# The command


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    app = typer.Typer()
    app.command()(replay)
    app(list(arguments), standalone_mode=False)
    said = capsys.readouterr()
    return said.out, said.err


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    matrices = world(0.2)
    file = tmp_path / "world.npz"
    np.savez(file, rtt=matrices.rtt_ms, names=np.array(matrices.names))
    return file


PLUGIN = '''"""Always over the hub."""
from routing.api import Path

PARAMS = {"hub": "n00"}


def decide(state):
    hub = state.params["hub"]
    return {
        tunnel: [
            Path((state.me, hub, leave.pop) if hub not in (state.me, leave.pop) else (state.me, leave.pop),
                 leave.connection, {"overlay": 0.0})
            for leave in exits
        ]
        for tunnel, exits in state.tunnels.items()
    }
'''


def test_where_nothing_can_be_left_nothing_is_played(
    capsys: pytest.CaptureFixture[str], matrix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("lab.replay.playing.play")
    with pytest.raises(LabError, match=r"--out: found '.*/out': Not a directory; allowed: a dir"):
        run(capsys, str(matrix), "--out", f"{matrix}/out")


def test_the_command_leaves_an_experiment(
    capsys: pytest.CaptureFixture[str], matrix: Path, tmp_path: Path
) -> None:
    (tmp_path / "hub.py").write_text(PLUGIN)
    out = tmp_path / "out"
    names = f"one-relay,{tmp_path / 'hub.py'}"
    text, _ = run(capsys, str(matrix), "--algorithms", names, "--pairs", "20", "--out", str(out))
    header, *body = text.splitlines()
    assert header.split()[0] == "ALGORITHM"
    listed = [line.split()[0] for line in body]
    assert listed[:4] == ["direct", "one-relay", "oracle-1", "oracle"]
    assert listed[4:] == ["direct", "one-relay", "hub", "oracle-1", "oracle"]
    results = read_results(out)
    assert len(results.samples) == 7 * 20 * 3
    assert {one.algorithm for one in results.samples} == {"direct", "one-relay", "hub"}
    assert results.summary["baseline"] == "direct"
    assert results.manifest["plugins"][0]["file"] == "hub.py"
    assert results.manifest["matrix"]["sha256"]
    hub = [one for one in results.samples if one.algorithm == "hub"]
    assert all(
        one.path.split(">")[1] == "n00" for one in hub if "n00" not in (one.ingress, one.egress)
    )


def test_json_and_parameters(capsys: pytest.CaptureFixture[str], matrix: Path) -> None:
    text, _ = run(
        capsys,
        *(str(matrix), "--algorithms", "hubs,bandit", "-o", "json", "--pairs", "10"),
        *("--param", "hubs.count=1", "--param", "bandit.rule=thompson"),
    )
    found = json.loads(text)
    assert found["params"]["hubs"]["count"] == 1
    assert found["params"]["bandit"]["rule"] == "thompson"
    assert {line["algorithm"] for line in found["table"]} >= {"direct", "hubs", "bandit"}
    assert found["sampled_pairs"] == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--algorithms", "fastest"), "no routing algorithm 'fastest'"),
        (("--algorithms", "absent.py"), "absent.py"),
        (("--estimator", "mean"), "--estimator: found 'mean'"),
        (("--param", "hubs.count"), "--param: found 'hubs.count'"),
        (("--param", "hubs.count=1"), "--param: found 'hubs'"),
        (("--param", "one-relay.hops=1"), "no parameter 'hops'"),
        (("--every", "0s"), "--every: found '0s'"),
    ],
)
def test_odd_options_are_one_error(
    capsys: pytest.CaptureFixture[str], matrix: Path, arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(LabError) as caught:
        run(capsys, str(matrix), *arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise KeyError('x')", "raised KeyError"),
        ("return 3", "returned a int"),
        ("return {t: [Path((state.me, t, state.me), 'c0', {})] for t in state.tunnels}", "a loop"),
        ("return {t: 'direct' for t in state.tunnels}", "no list of paths"),
        ("return {t: [t] for t in state.tunnels}", "is no Path"),
        (
            "return {t: [Path((state.me, t), 'c0', {'x': float('nan')})] for t in state.tunnels}",
            "cost",
        ),
    ],
)
def test_a_broken_plugin_is_one_error(
    capsys: pytest.CaptureFixture[str], matrix: Path, tmp_path: Path, body: str, message: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"from routing.api import Path\n\ndef decide(state):\n    {body}\n")
    with pytest.raises(LabError) as caught:
        run(capsys, str(matrix), "--algorithms", str(file))
    assert message in str(caught.value)
    assert "in slice 0" in str(caught.value)


@pytest.mark.skipif(
    not PLANETLAB, reason="POPNET_PLANETLAB does not say where planetlab_490x18_u16.npz is"
)
def test_on_planetlab_ewma_and_damping_keep_the_gain_and_the_routes() -> None:
    """EWMA 0.3 and 5 % of damping: 80 % of what one relay can give, and 2 % of routes changed a slice."""
    assert PLANETLAB is not None
    found = table(played(read(Path(PLANETLAB)), "one-relay"))["one-relay"]
    assert found.pairs == 490 * 489
    assert found.slices == 17
    assert found.of_oracle is not None
    assert found.of_oracle >= 0.80
    assert found.changes <= 0.02

"""`popnet compare` and `popnet plot` as people call them: exit codes, what is on stdout, bad input by name."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from lab.cli import main
from lab.experiment.files import read

# The shorter way leads by C.
WORLD = """
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


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["popnet", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


@pytest.fixture
def world(tmp_path: Path) -> str:
    path = tmp_path / "world.yaml"
    path.write_text(WORLD)
    return str(path)


def test_the_table_the_files_and_a_verdict_that_was_not_expected(
    world: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    short = ("--requests", "4", "--seeds", "1", "--warm-up", "2s", "--out", str(tmp_path / "out"))
    assert run(monkeypatch, "compare", world, *short, "--expect", "harms") == 1
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0].startswith("triangle  4 requests by each of direct, one-relay  seeds 1..1")
    assert lines[1].split()[:3] == ["ALGORITHM", "FROM", "PAIRS"]
    assert lines[2].split()[:3] == ["one-relay", "all", "4"]
    assert "at most 1 relay can gain 60.0 ms" in told.out
    assert "blocks of time are too few for a verdict" in told.out
    assert "one-relay: expected harms, found undecided" in told.err
    assert "no figures: " in told.err
    assert "popnet[plot]" in told.err
    results = read(tmp_path / "out")
    assert results.manifest["argv"][:2] == ["popnet", "compare"]
    assert len(results.samples) == 8
    assert run(monkeypatch, "plot", str(tmp_path / "out")) == 2
    assert "popnet[plot]" in capsys.readouterr().err


def test_an_algorithm_that_fails_is_named(
    world: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("PARAMS = {}\n\ndef decide(state):\n    raise ValueError('no idea')\n")
    short = ("--requests", "2", "--seeds", "1", "--warm-up", "2s")
    assert run(monkeypatch, "compare", world, *short, "--algorithms", f"direct,{mine}") == 0
    told = capsys.readouterr().out
    assert "mine failed" in told
    assert "raised ValueError: no idea" in told


def test_json_is_all_that_is_on_stdout(
    world: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ("--requests", "2", "--seeds", "1", "--warm-up", "2s")
    assert run(monkeypatch, "compare", world, *short, "-o", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["prediction"]["one-relay"]["gain_ms"] == 60.0
    assert {row["group"] for row in found["rows"]} == {"all", "b-city"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--algorithms", "direct"), "--algorithms: found direct, allowed: at least two"),
        (("--algorithms", "direct,one-rely"), "one-rely"),
        (("--from", "tokio"), "no visitor 'tokio'"),
        (("--every", "5"), "--every: found '5', allowed: a number with its unit"),
        (("--every", "0s"), "--every: found '0s', allowed: more than 0"),
        (("--url", "https://other.example/"), "--url: found 'https://other.example/', allowed:"),
        (("--out", __file__), f"--out: found {__file__!r}: Not a directory; allowed: a directory"),
    ],
)
def test_bad_input_is_exit_code_2_and_named(
    world: str,
    arguments: tuple[str, ...],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "compare", world, *arguments) == 2
    assert told in capsys.readouterr().err


def test_ctrl_c_is_130_and_leaves_no_files(
    world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    virtual = importlib.import_module("lab.experiment.virtual")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(virtual, "play_one", interrupted)
    assert run(monkeypatch, "compare", world, "--out", str(tmp_path / "out")) == 130
    assert not (tmp_path / "out").exists()


def test_plot_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "plot", str(tmp_path)) == 2
    assert "no samples.csv" in capsys.readouterr().err

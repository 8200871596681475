"""`popnet replay`: routing algorithms on a series of real RTT matrices."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from lab.cli.app import Code, Format, FormatOption, app, put_json, put_table, say
from lab.cli.load_files import Files
from lab.driver import LabError
from lab.quantities import duration

_QUIET_S = 2.0


@app.command()
def replay(
    matrix: Annotated[
        Path, typer.Argument(help="RTTs in time slices: .npz or .csv.", metavar="MATRIX")
    ],
    algorithms: Annotated[
        str,
        typer.Option(help="Names, or Python files with `decide`, with commas between; or all."),
    ] = "direct,one-relay",
    estimator: Annotated[
        str, typer.Option(help="last, ewma:A, min:N, median:N, quantile:Q,N, mean_deviation:K.")
    ] = "ewma:0.3",
    damping_pct: Annotated[
        float, typer.Option(min=0, max=100, help="Least gain of a new path, in % of the old one.")
    ] = 5.0,
    damping_ms: Annotated[
        float, typer.Option(min=0, help="Least gain of a new path, in ms.")
    ] = 0.0,
    pairs: Annotated[
        int,
        typer.Option(min=1, help="Pairs sampled for what is slow, and for samples.csv."),
    ] = 400,
    every: Annotated[
        str, typer.Option(help="How far apart slices are for the algorithms' own timers.")
    ] = "60s",
    rounds: Annotated[
        int,
        typer.Option(min=1, help="Decisions within a slice for what learns from outcomes."),
    ] = 4,
    hop_cost: Annotated[
        str, typer.Option(help="What each relay of a path costs when it is judged.")
    ] = "1ms",
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME.KEY=VALUE", help="A parameter of an algorithm; again for more."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the sample and of algorithms that draw lots.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Leave samples, summary and manifest there."),
    ] = None,
    output: FormatOption = Format.table,
) -> int:
    """Let algorithms decide on the slices up to t, and judge them on slice t + 1.

    Every node is a PoP that wants to reach every other one. GAIN is what the direct path takes more, in ms, over all
    pairs and slices; OF ORACLE its share of what the best single relay, chosen with knowledge of slice t + 1, would
    have gained; CHANGES the share of routes that changed per slice; WORSE the share of pairs that took over 1 ms and
    1 % longer than direct. What learns from outcomes, and every plug-in, runs on the sampled pairs only (PAIRS), and
    decides several times in a slice: TRIED is the share of those decisions, not judged, with another path.

    \b
    popnet replay rtts.npz --algorithms all --out results
    popnet replay rtts.csv --algorithms one-relay,./mine.py --estimator min:5 --damping-pct 10
    """
    from lab.replay import matrices, playing, summary
    from lab.replay.estimates import spec
    from routing.damping import Damping

    settings = playing.Settings(
        estimator=spec(estimator),
        damping=Damping(min_gain_pct=damping_pct, min_gain_s=damping_ms / 1e3),
        pairs=pairs,
        every_s=_positive("--every", every),
        rounds=rounds,
        hop_cost_s=duration("--hop-cost", hop_cost),
        seed=seed,
    )
    contenders, plugins = _contenders(algorithms, param or [])
    read = matrices.read(matrix)
    for finding in read.findings:
        say(f"{matrix}: {finding}")
    Files(out).check()
    played = playing.play(read, contenders, settings, _Progress())
    lines = summary.lines(played)
    about: dict[str, Any] = {
        "world": matrix.name,
        "driver": "replay",
        "baseline": summary.BASELINE,
        "algorithms": [one.name for one in contenders],
        "params": {one.name: dict(one.params) for one in contenders},
        "nodes": len(read.names),
        "slices": read.slices,
        "seeds": [seed],
        "estimator": settings.estimator,
        "damping": {"min_gain_pct": damping_pct, "min_gain_ms": damping_ms},
        "every_s": settings.every_s,
        "rounds": rounds,
        "hop_cost_ms": 1e3 * settings.hop_cost_s,
        "sampled_pairs": len(next(iter(played.sample.values())).pairs),
        "findings": [asdict(finding) for finding in read.findings],
        "table": [summary.to_dict(line) for line in lines],
    }
    if out is not None:
        _leave(out, matrix, plugins, about, played, read.names, settings)
    if output is Format.json:
        put_json(about)
    else:
        _show(lines)
    return Code.OK


def _leave(
    out: Path,
    matrix: Path,
    plugins: Sequence[Path],
    about: dict[str, Any],
    played: Any,
    names: Sequence[str],
    settings: Any,
) -> None:
    from lab.experiment import files, provenance
    from lab.replay import summary

    files.write(
        out,
        samples=summary.samples(played, names, settings.seed, settings.every_s),
        rows=summary.rows(played),
        extra=about,
        manifest=provenance.manifest(
            sys.argv,
            world=None,
            matrix=matrix,
            plugins=plugins,
            seeds=[settings.seed],
            driver="replay",
            fidelity_ok=None,
            event_log_sha256=None,
        ),
    )


def _contenders(algorithms: str, params: Sequence[str]) -> tuple[list[Any], list[Path]]:
    """What `--algorithms` names, the baseline always among them, and the files of plug-ins."""
    from lab.replay.playing import Contender
    from lab.replay.summary import BASELINE
    from routing import plugin
    from routing.catalogue import CATALOGUE
    from routing.errors import RoutingError

    texts: list[str] = []
    for text in (one.strip() for one in algorithms.split(",")):
        texts.extend(CATALOGUE if text == "all" else [text])
    if BASELINE not in texts:
        texts.insert(0, BASELINE)
    given = _params(params)
    found: list[Any] = []
    files: list[Path] = []
    for text in dict.fromkeys(texts):
        is_file = text.endswith(".py")
        name = Path(text).stem if is_file else text
        try:
            algorithm = plugin.load(Path(text)) if is_file else plugin.find(text)
            merged = algorithm.with_params(given.pop(name, {}))
        except RoutingError as error:
            raise LabError(f"--algorithms: {error}") from None
        if any(one.name == name for one in found):
            raise LabError(f"--algorithms: found two that are called {name}, allowed: one")
        found.append(Contender(name, algorithm, merged))
        files += [Path(text)] if is_file else []
    if given:
        raise LabError(
            f"--param: found {next(iter(given))!r}, allowed: {', '.join(one.name for one in found)}"
        )
    return found, files


def _params(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        left, equals, value = text.partition("=")
        name, dot, key = left.partition(".")
        if not (equals and dot and name and key):
            raise LabError(f"--param: found {text!r}, allowed: such as hubs.count=6")
        try:
            found.setdefault(name, {})[key] = json.loads(value)
        except ValueError:
            found.setdefault(name, {})[key] = value
    return found


def _positive(option: str, text: str) -> float:
    seconds = duration(option, text)
    if seconds <= 0:
        raise LabError(f"{option}: found {text!r}, allowed: more than 0")
    return seconds


class _Progress:
    """On stderr, once it takes longer than a moment: a line that is written over, or in a log one for every tenth."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._tenths = 0

    def __call__(self, done: int, of: int, what: str) -> None:
        if time.monotonic() - self._begun < _QUIET_S:
            return
        if sys.stderr.isatty():
            end = "\n" if done == of else ""
            sys.stderr.write(f"\r{done}/{of}  {what}\033[K{end}")
            sys.stderr.flush()
        elif 10 * done // of > self._tenths:
            self._tenths = 10 * done // of
            say(f"{done}/{of}  {what}")


def _show(lines: Sequence[Any]) -> None:
    columns = (
        "ALGORITHM",
        "PAIRS",
        "MEAN ms",
        "GAIN ms",
        "P50",
        "P95",
        "OF ORACLE %",
        "CHANGES %",
        "TRIED %",
        "WORSE %",
        "REGRET ms",
    )
    put_table(
        columns,
        [
            (
                line.algorithm,
                f"{line.pairs}{'' if line.group == 'all' else ' sampled'}",
                f"{line.mean_ms:.2f}",
                f"{line.gain_ms:.2f}",
                f"{line.gain_p50_ms:.2f}",
                f"{line.gain_p95_ms:.2f}",
                "-" if line.of_oracle is None else f"{100 * line.of_oracle:.1f}",
                f"{100 * line.changes:.2f}",
                "-" if line.tried is None else f"{100 * line.tried:.1f}",
                f"{100 * line.worse:.2f}",
                f"{line.regret_ms:.2f}",
            )
            for line in lines
        ],
        right="lrrrrrrrrrr",
    )

"""`popnet compare`: the same requests by each of several routing algorithms, and what may be concluded."""

from __future__ import annotations

import enum
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from lab.cli.app import (
    Code,
    Format,
    FormatOption,
    NameOption,
    app,
    open_lab,
    put,
    put_json,
    put_table,
    say,
)
from lab.cli.load_files import Files
from lab.cli.run import FileArgument
from lab.driver import LabError, known
from lab.launch import UpError
from lab.quantities import duration
from lab.worlds import DEFAULT_WORLD, load_world
from topology.plan import Plan


class Driver(enum.StrEnum):
    virtual = "virtual"
    local = "local"
    docker = "docker"
    lab = "lab"


class Expected(enum.StrEnum):
    helps = "helps"
    no_gain = "no-gain"
    harms = "harms"
    undecided = "undecided"


_SEEDS = {Driver.virtual: 4, Driver.local: 1, Driver.docker: 1, Driver.lab: 1}
_QUIET_S = 2.0
_EVERY = "500ms"


@app.command()
def compare(
    file: FileArgument = None,
    algorithms: Annotated[
        str,
        typer.Option(
            help="Names, or Python files with `decide`, with commas between; the first is the baseline."
        ),
    ] = "direct,one-relay",
    requests: Annotated[
        int, typer.Option(min=1, help="Requests by each algorithm, all seeds together.")
    ] = 400,
    visitors: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="VISITOR", help="Only these; again or with commas."),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="What is asked for; default: the load's, or the first host.")
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many: the world's own and those that follow. Default: 4, by real packets 1.",
        ),
    ] = None,
    every: Annotated[
        str, typer.Option(help="Time between two requests, all visitors together.")
    ] = _EVERY,
    warm_up: Annotated[
        str, typer.Option(help="Silence before, so that tables settle; longer when they do not.")
    ] = "20s",
    driver: Annotated[
        Driver,
        typer.Option(
            help="virtual: in this process. local: in a lab that is brought up for it, for each seed. docker: in "
            "one of containers. lab: in the running one; its `routing.beside` names the algorithms."
        ),
    ] = Driver.virtual,
    name: NameOption = None,
    expect: Annotated[
        Expected | None,
        typer.Option(help="Exit code 1 unless this is the verdict on every algorithm."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Leave samples, summary, manifest and figures there."
        ),
    ] = None,
    output: FormatOption = Format.table,
) -> int:
    """Send the same requests by each algorithm, and say whether it helps, does nothing, or harms.

    In virtual time each algorithm gets the same world, the same requests at the same moments, and links with the same
    luck. GAIN is what the baseline took more, in ms of the time to the first byte; LO..HI is where it lies with 95 %
    confidence. A verdict needs the whole interval on one side of the margin (1 ms, or 1 % where that is more), or
    inside it for "no gain". docs/experiments.md explains every column.

    \b
    popnet compare --algorithms direct,one-relay,lowest-rtt --requests 400 --out results
    popnet compare examples/no-tiv.yaml --expect no-gain
    """
    from lab.experiment import comparing
    from lab.experiment import wanted as wanting

    begun = time.monotonic()
    lab = open_lab(name) if driver is Driver.lab else None
    if lab is None:
        path = file or DEFAULT_WORLD
        plan = Plan.of(load_world(path))
    else:
        if file is not None or seeds not in (None, 1):
            raise LabError(
                "--driver lab: it has its world and its seed; give no FILE and no --seeds"
            )
        path, plan = lab.dir.world, lab.plan
    wanted = wanting.Wanted(
        plan=plan,
        world=path,
        algorithms=wanting.algorithms(algorithms.split(",")),
        requests=requests,
        visitors=_visitors(plan, visitors),
        urls=wanting.urls(plan, url),
        seeds=tuple(range(plan.seed, plan.seed + (seeds or _SEEDS[driver]))),
        every_s=_positive("--every", every),
        warm_up_s=_positive("--warm-up", warm_up),
    )
    if driver is Driver.docker:
        if out is not None or len(wanted.seeds) > 1:
            raise LabError("--out, --seeds: not with --driver docker; -o json has the figures")
        options = ["--every", every, "--warm-up", warm_up, "-o", output.value]
        return _in_containers(wanted, options + (["--expect", expect.value] if expect else []))
    Files(out).check()
    progress = _Progress(begun)
    try:
        if lab is not None:
            comparison = comparing.compare_in(lab, wanted, progress=progress)
        elif driver is Driver.virtual:
            comparison = comparing.compare(wanted, progress=progress)
        else:
            comparison = comparing.compare_really(wanted, progress=progress)
    except UpError as error:
        progress.end()
        return _not_up(error)
    progress.end()
    if out is not None:
        comparison.leave(out, sys.argv)
        _draw(out)
    if output is Format.json:
        put_json({**comparison.extra(), "rows": [asdict(row) for row in comparison.rows]})
    else:
        _show(comparison, time.monotonic() - begun)
    if expect is None:
        return Code.OK
    found = {row.algorithm: row.verdict for row in comparison.overall()}
    other = {name: verdict for name, verdict in found.items() if verdict != _plain(expect)}
    for name, verdict in other.items():
        say(f"popnet: {name}: expected {_plain(expect)}, found {verdict}")
    return Code.CHECK_FAILED if other else Code.OK


def _plain(expected: Expected) -> str:
    return expected.value.replace("-", " ")


def _visitors(plan: Plan, given: list[str] | None) -> tuple[str, ...]:
    if not plan.world.visitors:
        raise LabError("visitors: this world has none; somebody has to ask")
    if not given:
        return tuple(plan.world.visitors)
    names = [name for part in given for name in part.split(",")]
    return tuple(dict.fromkeys(known(name, plan.world.visitors, "visitor") for name in names))


def _positive(option: str, text: str) -> float:
    seconds = duration(option, text)
    if seconds <= 0:
        raise LabError(f"{option}: found {text!r}, allowed: more than 0")
    return seconds


def _in_containers(wanted: Any, options: list[str]) -> int:
    """Only inside a lab of containers can its visitors be reached: there, the same command goes on."""
    from lab.cli import bringing
    from lab.experiment import comparing, real

    comparing.no_files(wanted)
    arguments = ["compare", "--driver", "lab", "--algorithms", ",".join(wanted.names)]
    arguments += ["--requests", str(wanted.requests), "--from", ",".join(wanted.visitors)]
    arguments += ["--url", wanted.urls[0], *options]
    with tempfile.TemporaryDirectory(prefix="popnet-compare-") as directory:
        world = Path(directory, "world.yaml")
        real.beside_file(wanted.world, wanted.names, world)
        return bringing.in_a_lab(
            world, bringing.By.docker, lambda _: Code.ABORTED, arguments, idle=True
        )


def _not_up(error: UpError) -> int:
    from lab.cli import bringing

    say(f"popnet: {error.why}")
    bringing.tell_the_rest(error)
    return error.code


class _Progress:
    """A line on a terminal that is written over, once it takes longer than a moment."""

    def __init__(self, begun: float) -> None:
        self._begun = begun
        self._shown = False

    def __call__(self, text: str, done: float) -> None:
        elapsed = time.monotonic() - self._begun
        if elapsed < _QUIET_S or not sys.stderr.isatty():
            return
        left = f", about {elapsed / done * (1 - done):.0f} s left" if done else ""
        sys.stderr.write(f"\r{text}{left}\033[K")
        sys.stderr.flush()
        self._shown = True

    def end(self) -> None:
        if self._shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def _draw(out: Path) -> None:
    """Figures are extra: without matplotlib the figures can be drawn later, or elsewhere."""
    from lab.experiment import figures

    try:
        figures.draw(out)
    except figures.NoPlotError as error:
        say(f"popnet: no figures: {error}")


def _show(comparison: Any, took_s: float) -> None:
    wanted = comparison.wanted
    put(
        f"{wanted.plan.name}  {wanted.requests} requests by each of {', '.join(wanted.names)}"
        f"  seeds {wanted.seeds[0]}..{wanted.seeds[-1]}"
        f"  {comparison.length()}, {took_s:.1f} s in all"
    )
    rows = [row for row in comparison.rows if row.metric == "ttfb_ms"]
    alone = len(wanted.names) == 2
    put_table(
        (
            *("ALGORITHM", "FROM", "PAIRS", "BASE P50", "P50", "P95", "P99", "GAIN", "LO..HI"),
            *("WORSE", "P HOLM", "FAILED", "CHANGES", "REGRET", "VERDICT"),
        ),
        [_line(row) for row in rows if alone or row.group == "all"],
        "llrrrrrrrrrrrrl",
    )
    if not alone:
        put("")
        _show_cities(rows, wanted.names[1:])
    put("ms of the time to the first byte; gain = baseline - algorithm, with its 95 % interval")
    for line in comparison.lines():
        put(line)


def _show_cities(rows: Sequence[Any], algorithms: Sequence[str]) -> None:
    """Gain and verdict of each algorithm, a line for each city."""
    found = {(row.group, row.algorithm): row for row in rows if row.group != "all"}
    put_table(
        ("FROM", "BASE P50", *(name.upper() for name in algorithms)),
        [
            (
                city,
                _ms(found[city, algorithms[0]].base_p50),
                *(
                    f"{_ms(found[city, name].gain_ms, '+.1f')} {found[city, name].verdict}"
                    for name in algorithms
                ),
            )
            for city in dict.fromkeys(group for group, _ in found)
        ],
        "lr",
    )


def _line(row: Any) -> Sequence[str]:
    return (
        row.algorithm if row.group == "all" else "",
        row.group,
        str(row.n_pairs),
        *(_ms(value) for value in (row.base_p50, row.p50, row.p95, row.p99)),
        _ms(row.gain_ms, "+.1f"),
        f"{_ms(row.gain_lo, '+.1f')}..{_ms(row.gain_hi, '+.1f')}",
        "-" if row.worse_share is None else f"{100 * row.worse_share:.1f} %",
        "-" if row.p_holm is None else f"{row.p_holm:.4f}",
        f"{row.failed_base}/{row.failed}",
        str(row.route_changes),
        _ms(row.regret_ms),
        row.verdict,
    )


def _ms(value: float | None, form: str = ".1f") -> str:
    return "-" if value is None else format(value, form)

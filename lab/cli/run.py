"""`popnet run`, `popnet load`: a world's timeline and load, in virtual time or by real packets."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec
import typer

from lab import play
from lab.assertions import check_all, parse_all
from lab.cli import bringing
from lab.cli.app import (
    Code,
    Format,
    FormatOption,
    NameOption,
    app,
    open_lab,
    put,
    put_json,
    say,
)
from lab.cli.bringing import By
from lab.cli.load_files import Files, rows
from lab.cli.load_tables import show, show_verdicts
from lab.driver import Lab, LabError
from lab.load import Sample
from lab.load_summary import Summary
from lab.quantities import duration
from lab.worlds import DEFAULT_WORLD, load_world
from topology.plan import Plan

FileArgument = Annotated[
    Path | None,
    typer.Argument(help="World file; without one, the default world.", metavar="[FILE]"),
]
AlgorithmOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Instead of the file's own: a name, or a Python file (docs/routing/plug-in.md).",
    ),
]
SeedOption = Annotated[int | None, typer.Option(help="Instead of the world's own.")]
JunitOption = Annotated[
    Path | None, typer.Option("--junit", help="Write the assertions as JUnit XML.")
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Directory for events.jsonl, samples.csv, summary.json."),
]


@app.command()
def run(
    file: FileArgument = None,
    until: Annotated[
        str | None,
        typer.Option(help="Time to run for, once all is ready; default: the timeline and 60s."),
    ] = None,
    driver: Annotated[
        By,
        typer.Option(
            help="virtual: in this process, in virtual time. local, docker: a lab of real packets "
            "that is brought up for it and ended after it."
        ),
    ] = By.virtual,
    algorithm: AlgorithmOption = None,
    seed: SeedOption = None,
    tls: Annotated[
        str | None,
        typer.Option(
            help="In virtual time. flights, the default: TLS that only costs its flights. real: with cryptography."
        ),
    ] = None,
    out: OutOption = None,
    junit_file: JunitOption = None,
    output: FormatOption = Format.table,
) -> int:
    """Play a world: its timeline and its load, then check what it asserts.

    In virtual time: the same programs, in one process, as fast as they can; no rights, no Docker, any operating
    system. The same seed gives the same run, byte for byte. By real packets a run takes as long as it says: give
    --until for a file that plays an hour. Ctrl-C sums up what there is by then.

    What a world asks and what it asserts is described in docs/load.md. Such as

        popnet run examples/short-outage.yaml

        popnet run examples/failover.yaml --until 100s --out /tmp/failover --junit /tmp/failover.xml

    Exit code 1 when an assertion of the world does not hold, 130 when it was interrupted.
    """
    if tls not in (None, "flights", "real"):
        raise LabError(f"--tls: found {tls!r}, allowed: flights, real")
    if tls is not None and driver is not By.virtual:
        raise LabError(f"--tls: not with --driver {driver}; real packets always carry real TLS")
    if driver is By.docker and (out or junit_file):
        raise LabError("--out, --junit: not with --driver docker; -o json has the figures")
    plan = play.seeded(Plan.of(load_world(file or DEFAULT_WORLD, algorithm)), seed)
    until_s = play.length(plan) if until is None else duration("--until", until)
    files = Files(out, junit_file)
    files.check()
    _say_without_load(plan)
    if driver is By.virtual:
        return _run_virtually(plan, until_s, tls or "flights", files, output)
    arguments = ["load", "--timeline", "--for", f"{until_s}s", "--seed", str(plan.seed)]
    return bringing.in_a_lab(
        file or DEFAULT_WORLD,
        driver,
        lambda lab: _load(lab, plan, until_s, True, files, output),
        [*arguments, "-o", output.value],
        idle=True,
        algorithm=algorithm,
    )


def _run_virtually(plan: Plan, until_s: float, tls: str, files: Files, output: Format) -> int:
    from lab.cli.load_watch import Watch
    from lab.drivers import virtual_run

    begun = time.perf_counter()
    with Watch() as watch:
        result = virtual_run.play(
            plan, until_s, tls="real" if tls == "real" else "flights", watch=watch.begin
        )
    took_s = time.perf_counter() - begun
    _say_failures(result.events)
    ran_s = until_s if result.interrupted_s is None else result.interrupted_s
    return _told(
        plan,
        {
            "world": plan.name,
            "seed": plan.seed,
            "driver": "virtual",
            "tls": tls,
            "until_s": until_s,
            "interrupted_s": result.interrupted_s,
            **result.summary.to_dict(),
            "event_log_sha256": result.event_log_sha256,
        },
        {"took_s": round(took_s, 3)},
        f"{plan.name}  seed {plan.seed}  {ran_s:g} s of virtual time in {took_s:.1f} s"
        f"  events {result.event_log_sha256[:16]}",
        result,
        files,
        output,
    )


class _Result(Protocol):
    """A run by any driver."""

    @property
    def summary(self) -> Summary: ...
    @property
    def samples(self) -> tuple[Sample, ...]: ...
    @property
    def events(self) -> bytes: ...
    @property
    def interrupted_s(self) -> float | None: ...


def _told(
    plan: Plan,
    figures: dict[str, Any],
    passing: dict[str, Any],
    headline: str,
    result: _Result,
    files: Files,
    output: Format,
) -> int:
    """Write and show what a run came to; its exit code. `passing` figures differ from run to run: no file has them."""
    verdicts = check_all(parse_all(plan.world.assert_), result.summary)
    at_s = result.interrupted_s
    interrupted = "" if at_s is None else f"interrupted at {at_s:.1f} s"
    if output is Format.json:
        put_json({**figures, **passing, "assertions": rows(verdicts)})
    else:
        if headline or interrupted:
            put("  ".join(filter(None, (headline, interrupted))))
        show(result.summary)
        show_verdicts(verdicts)
    files.write(plan.name, figures, result.samples, result.events, verdicts, interrupted)
    broken = sum(not verdict.held for verdict in verdicts)
    if interrupted:
        say(f"popnet: {interrupted}: the figures are of what was asked until then")
        return Code.INTERRUPTED
    if broken:
        say(f"popnet: {broken} of {len(verdicts)} assertions did not hold")
    return Code.CHECK_FAILED if broken else Code.OK


def _say_without_load(plan: Plan) -> None:
    if plan.world.load is None:
        say(
            "popnet: this world has no `load`: nobody asks anything. Give its file one, such as"
            " `load: {rate_per_s: 10, url: https://app.example.com/}` (docs/load.md)"
        )


def _say_failures(events: bytes) -> None:
    """An algorithm that failed is no reason to end a run, but one to look at its figures with care."""
    by_problem: dict[str, list[str]] = {}
    for line in events.splitlines():
        if b'"algorithm_failed"' in line:
            fact = msgspec.json.decode(line)
            by_problem.setdefault(fact["problem"], []).append(fact["node"])
    for problem, nodes in list(by_problem.items())[:3]:
        at = ", ".join(sorted(set(nodes)))
        say(f"popnet: {problem}; at {at}, which went on with the last good routes, else direct")


@app.command("load")
def load_command(
    file: FileArgument = None,
    for_: Annotated[
        str | None,
        typer.Option(
            "--for", help="How long to ask; default: 30s, with --timeline until it is over."
        ),
    ] = None,
    timeline: Annotated[
        bool,
        typer.Option("--timeline", help="Play the timeline too, from the start of the load."),
    ] = False,
    seed: SeedOption = None,
    name: NameOption = None,
    out: OutOption = None,
    junit_file: JunitOption = None,
    output: FormatOption = Format.table,
) -> int:
    """Send the world's load through a running lab, and sum up as `popnet run` does.

    FILE may be another world file than the lab's: its `load`, `timeline` and `assert` count. Exit code 1 when an
    assertion of it does not hold. `popnet run FILE --driver local` brings up a lab for it.
    """
    from lab.cli.load_watch import terminated

    # A timeline changes the lab: none but the default one then, unless named.
    lab = Lab.open(name) if timeline else open_lab(name)
    plan = play.seeded(lab.plan if file is None else Plan.of(load_world(file)), seed)
    if for_ is not None:
        seconds = duration("--for", for_)
    else:
        seconds = play.length(plan) if timeline else 30.0
    files = Files(out, junit_file)
    files.check()
    _say_without_load(plan)
    with terminated():
        return _load(lab, plan, seconds, timeline, files, output)


def _load(
    lab: Lab, plan: Plan, seconds: float, timeline: bool, files: Files, output: Format
) -> int:
    from lab import play_real

    say(f"{plan.name}: {seconds:g} s of load through the lab {lab.name} ...")
    played = play_real.play(lab, plan, seconds, timeline=timeline)
    figures = {
        "world": plan.name,
        "seed": plan.seed,
        "driver": "docker" if lab.in_containers else "local",
        "until_s": seconds,
        "interrupted_s": played.interrupted_s,
        **played.summary.to_dict(),
    }
    return _told(plan, figures, {}, "", played, files, output)

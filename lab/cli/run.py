"""`popnet run`, `popnet load`: a world's timeline and load, in virtual time or by real packets."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from lab import play
from lab.assertions import AssertionSyntaxError, Verdict, check_all, junit, parse_all
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
    put_table,
    say,
)
from lab.cli.bringing import By
from lab.driver import Lab, LabError
from lab.load import Sample
from lab.load_summary import Group, Summary, quantile
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
        str,
        typer.Option(
            help="In virtual time. flights: TLS that only costs its flights. real: with cryptography."
        ),
    ] = "flights",
    out: OutOption = None,
    junit_file: JunitOption = None,
    output: FormatOption = Format.table,
) -> int:
    """Play a world: its timeline and its load, then check what it asserts.

    In virtual time: the same programs, in one process, as fast as they can; no rights, no Docker, any operating
    system. The same seed gives the same run, byte for byte. By real packets a run takes as long as it says: give
    --until for a file that plays an hour. Exit code 1 when an assertion of the world does not hold.
    """
    if tls not in ("flights", "real"):
        raise LabError(f"--tls: found {tls!r}, allowed: flights, real")
    plan = play.seeded(Plan.of(load_world(file or DEFAULT_WORLD, algorithm)), seed)
    assertions = _assertions(plan)
    until_s = play.length(plan) if until is None else duration("--until", until)
    if driver is By.virtual:
        return _run_virtually(plan, assertions, until_s, tls, out, junit_file, output)
    if driver is By.docker and (out or junit_file):
        raise LabError("--out, --junit: not with --driver docker; -o json has the figures")
    arguments = ["load", "--timeline", "--for", f"{until_s}s", "--seed", str(plan.seed)]
    return bringing.in_a_lab(
        file or DEFAULT_WORLD,
        driver,
        lambda lab: _load(lab, plan, assertions, until_s, True, out, junit_file, output),
        [*arguments, "-o", output.value],
        idle=True,
        algorithm=algorithm,
    )


def _run_virtually(
    plan: Plan,
    assertions: list[Any],
    until_s: float,
    tls: str,
    out: Path | None,
    junit_file: Path | None,
    output: Format,
) -> int:
    from lab.drivers import virtual_run

    begun = time.perf_counter()
    result = virtual_run.play(plan, until_s, tls="real" if tls == "real" else "flights")
    took_s = time.perf_counter() - begun
    _say_failures(result.events)
    verdicts = check_all(assertions, result.summary)
    figures = {
        "world": plan.name,
        "seed": plan.seed,
        "driver": "virtual",
        "tls": tls,
        "until_s": until_s,
        **result.summary.to_dict(),
        "event_log_sha256": result.event_log_sha256,
    }
    _leave(out, figures, result.samples, result.events, verdicts)
    if output is Format.json:
        put_json({**figures, "took_s": round(took_s, 3), "assertions": _rows(verdicts)})
    else:
        put(
            f"{plan.name}  seed {plan.seed}  {until_s:g} s of virtual time in {took_s:.1f} s"
            f"  events {result.event_log_sha256[:16]}"
        )
        show(result.summary)
    return _verdict(verdicts, plan.name, junit_file, output)


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
    lab = open_lab(name)
    plan = play.seeded(lab.plan if file is None else Plan.of(load_world(file)), seed)
    if for_ is not None:
        seconds = duration("--for", for_)
    else:
        seconds = play.length(plan) if timeline else 30.0
    return _load(lab, plan, _assertions(plan), seconds, timeline, out, junit_file, output)


def _load(
    lab: Lab,
    plan: Plan,
    assertions: list[Any],
    seconds: float,
    timeline: bool,
    out: Path | None,
    junit_file: Path | None,
    output: Format,
) -> int:
    from lab import play_real

    say(f"{plan.name}: {seconds:g} s of load through the lab {lab.name} ...")
    played = play_real.play(lab, plan, seconds, timeline=timeline)
    verdicts = check_all(assertions, played.summary)
    figures = {
        "world": plan.name,
        "seed": plan.seed,
        "driver": "docker" if lab.in_containers else "local",
        "until_s": seconds,
        **played.summary.to_dict(),
    }
    _leave(out, figures, played.samples, played.events, verdicts)
    if output is Format.json:
        put_json({**figures, "assertions": _rows(verdicts)})
    else:
        show(played.summary)
    return _verdict(verdicts, plan.name, junit_file, output)


def _assertions(plan: Plan) -> list[Any]:
    try:
        return parse_all(plan.world.assert_)
    except AssertionSyntaxError as error:
        raise LabError(f"assert: {error}") from None


def _rows(verdicts: list[Verdict]) -> list[dict[str, Any]]:
    return [{"assertion": one.text, "measured": one.measured, "held": one.held} for one in verdicts]


def _leave(
    out: Path | None,
    figures: dict[str, Any],
    samples: tuple[Sample, ...] | list[Sample],
    events: bytes | None,
    verdicts: list[Verdict],
) -> None:
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    if events is not None:
        (out / "events.jsonl").write_bytes(events)
    whole = {**figures, "assertions": _rows(verdicts)}
    (out / "summary.json").write_bytes(msgspec.json.format(msgspec.json.encode(whole)) + b"\n")
    fields = Sample.__dataclass_fields__
    lines = [",".join(fields)]
    lines += [",".join(_cell(getattr(one, name)) for name in fields) for one in samples]
    (out / "samples.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cell(value: object) -> str:
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n') else text


def _verdict(verdicts: list[Verdict], name: str, file: Path | None, output: Format) -> int:
    if file is not None:
        file.write_bytes(junit(name, verdicts))
    if verdicts and output is not Format.json:
        put("")
        rows = [("ok" if one.held else "FAILED", one.text, one.measured) for one in verdicts]
        put_table(("", "ASSERTION", "MEASURED"), rows)
    broken = sum(not one.held for one in verdicts)
    if broken:
        say(f"popnet: {broken} of {len(verdicts)} assertions did not hold")
    return Code.CHECK_FAILED if broken else Code.OK


def show(summary: Summary) -> None:
    """The figures as tables."""
    groups = [("all", summary.everything), *summary.visitors.items()]
    if len(summary.hosts) > 1:
        groups += list(summary.hosts.items())
    columns = ("FROM", "REQUESTS", "FAILED", "P50", "P95", "P99", "MAX", "TTFB P50", "ms")
    put_table(columns, [_line(name, group) for name, group in groups], "lrrrrrrr")
    if summary.paths:
        put("")
        shares = [(f"{100 * share:.1f} %", path) for path, share in summary.paths.items()]
        put_table(("SHARE", "PATH"), shares[:10], "r")
    if summary.causes:
        put("")
        causes = [(str(count), cause) for cause, count in summary.causes.items()]
        put_table(("FAILED", "CAUSE"), causes, "r")
    if summary.recoveries:
        put("")
        put_table(
            ("AT", "WHAT", "RECOVERED", "CONVERGED", "CUT OFF"),
            [
                (
                    f"{one.disturbance.at_s:g} s",
                    one.disturbance.what,
                    _time(one.recovery_s),
                    "-" if one.convergence_s is None else _time(one.convergence_s),
                    " ".join(one.cut_off) or "nobody",
                )
                for one in summary.recoveries
            ],
            "rlrr",
        )


def _line(name: str, group: Group) -> tuple[str, ...]:
    times = [quantile(group.total_s, percent) for percent in (50, 95, 99, 100)]
    times.append(quantile(group.first_byte_s, 50))
    texts = ["-" if value != value else f"{value * 1e3:.1f}" for value in times]
    return name, str(group.requests), str(group.failed), *texts, ""


def _time(seconds: float) -> str:
    return "never" if seconds == float("inf") else f"{seconds:.2f} s"

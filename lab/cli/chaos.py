"""`popnet chaos`: break a world at random while requests run, and see whether it keeps its promises."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lab.chaos.outcome import Outcome
from lab.chaos.promises import Promise
from lab.chaos.storm import CALM_S
from lab.cli import bringing
from lab.cli.app import Code, Format, FormatOption, NameOption, app, put, put_json, put_table, say
from lab.cli.bringing import By
from lab.cli.run import FileArgument
from lab.driver import Lab, LabError
from lab.quantities import duration
from lab.worlds import DEFAULT_WORLD, load_world
from topology.plan import Plan


@app.command()
def chaos(
    file: FileArgument = None,
    for_: Annotated[
        str, typer.Option("--for", help="How long, the calm at its end included.")
    ] = "10m",
    seed: Annotated[int, typer.Option(help="Which storm.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="So many storms, from --seed on.")] = 1,
    driver: Annotated[
        By | None,
        typer.Option(
            help="virtual: in this process, in virtual time. local: a lab that is brought up for it. "
            "Left out: the lab that runs (see -n)."
        ),
    ] = None,
    output: FormatOption = Format.table,
    name: NameOption = None,
) -> int:
    """Kill, silence, pause, cut and restore at random while requests run; then check what must hold.

    Every answer right, nothing sent twice that must not be, every process alive, all PoPs of one mind, memory back.
    The same seed is the same storm. Exit code 1 when a promise was broken.
    """
    for_s = duration("--for", for_)
    if for_s <= CALM_S:
        raise LabError(
            f"--for: found {for_!r}, allowed: more than {CALM_S:g}s, for so long is the calm at the end"
        )
    if driver is By.virtual:
        from lab.chaos import virtual

        plan = Plan.of(load_world(file or DEFAULT_WORLD))
        found = []
        for one in range(seed, seed + seeds):
            found.append(virtual.play(plan, one, for_s))
            if seeds > 1:
                say(_line(found[-1]))
        return _tell(found, output)
    if driver is None:
        if file is not None:
            raise LabError("FILE: the running lab has a world; allowed with --driver")
        return _real(Lab.open(name), for_s, seed, seeds, output)
    arguments = ["chaos", "--for", for_, "--seed", str(seed), "--seeds", str(seeds)]
    return bringing.in_a_lab(
        Path(file or DEFAULT_WORLD),
        driver,
        lambda lab: _real(lab, for_s, seed, seeds, output),
        [*arguments, "-o", output.value],
        idle=True,
    )


def _real(lab: Lab, for_s: float, seed: int, seeds: int, output: Format) -> int:
    from lab.chaos import real

    return _tell(
        [real.play(lab, one, for_s, say) for one in range(seed, seed + seeds)],
        output,
    )


def _line(told: Outcome) -> str:
    broken = ", ".join(promise.name for promise in told.promises if not promise.kept)
    failed = f"{told.failed} of {told.requests} requests failed"
    unchecked = ", ".join(p.name for p in told.promises if p.kept and not p.checked)
    kept = f"BROKEN: {broken}" if broken else "all promises kept"
    return f"seed {told.seed}: {failed}; {kept}{f'; not checked: {unchecked}' if unchecked else ''}"


def _kept(promise: Promise) -> str:
    if not promise.kept:
        return "NO"
    return "yes" if promise.checked else "-"


def _tell(found: list[Outcome], output: Format) -> int:
    code = Code.OK if all(one.kept for one in found) else Code.CHECK_FAILED
    if output is Format.json:
        told: Any = [one.to_dict() for one in found]
        put_json(told[0] if len(told) == 1 else told)
        return code
    for one in found:
        put(_line(one) + f"; {one.happenings} happenings in {one.for_s:g} s")
        if len(found) > 1 and one.kept:
            continue
        put_table(
            ("PROMISE", "CHECKED", "KEPT", "ABOUT"),
            [(p.name, str(p.checked), _kept(p), p.about) for p in one.promises],
            "lrll",
        )
        for promise in one.promises:
            for example in promise.broken:
                put(f"  {promise.name}: {example}")
        for cause, count in one.causes.items():
            put(f"  {count} requests failed: {cause}")
    return code

"""`popnet validate` and `popnet doctor`: is the world file right, and can this machine run it?"""

from __future__ import annotations

from collections.abc import Sized
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from lab.cli.app import Code, Format, FormatOption, app, put, put_json, put_table, say
from lab.doctor import examine
from lab.worlds import load_world
from topology.plan import Plan
from topology.problems import WorldError


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(help="A world file.", metavar="FILE")],
    output: FormatOption = Format.table,
) -> None:
    """Check a world file. Every error names line, column, key, what was found, what is allowed.

    Exit code 2 when something is wrong with it.
    """
    try:
        plan = Plan.of(load_world(file))
    except WorldError as error:
        if output is Format.json:
            put_json([msgspec.to_builtins(problem) for problem in error.problems])
        else:
            for problem in error.problems:
                put(str(problem))
        raise typer.Exit(Code.BAD_INPUT) from None
    if output is Format.json:
        put_json([])
        return
    world = plan.world
    put(
        f"{file}: fine. {_count(world.pops, 'PoP')}, {_count(world.visitors, 'visitor')}, "
        f"{_count(world.sites, 'site')}, {_count(world.tunnels, 'tunnel')}, {_count(world.dns, 'host name')}"
    )


def _count(things: Sized, name: str) -> str:
    return f"{len(things)} {name}" + ("s" if len(things) != 1 else "")


@app.command()
def doctor(output: FormatOption = Format.table) -> None:
    """Say what this machine can run, why not the rest, and how to mend it.

    Exit code 5 when not even a local lab can run.
    """
    findings = examine()
    if output is Format.json:
        put_json([msgspec.to_builtins(finding) for finding in findings])
    else:
        rows = [
            (finding.what, "ok" if finding.ok else ("NO" if finding.needed else "-"), finding.found)
            for finding in findings
        ]
        put_table(("CHECK", "", "FOUND"), rows)
        for finding in findings:
            if not finding.ok and finding.mend:
                say(f"{finding.what}: {finding.mend}")
    if any(finding.needed and not finding.ok for finding in findings):
        raise typer.Exit(Code.MACHINE_CANNOT)

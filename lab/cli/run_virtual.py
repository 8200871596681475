"""`popnet get`, `popnet parity`: single requests by any driver, and the two drivers against each other."""

from __future__ import annotations

import enum
import sys
from typing import Annotated

import typer

from lab import parity as comparing
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
from lab.cli.run import DEFAULT_WORLD, FileArgument
from lab.driver import Lab
from lab.worlds import load_world
from topology.plan import Plan


class By(enum.StrEnum):
    lab = "lab"
    virtual = "virtual"


@app.command()
def get(
    url: Annotated[str, typer.Argument(help="Such as https://app.example.com/", metavar="URL")],
    file: FileArgument = None,
    visitor: Annotated[str | None, typer.Option("--from", metavar="VISITOR")] = None,
    driver: Annotated[
        By, typer.Option(help="lab: the running one. virtual: none, the request is played here.")
    ] = By.lab,
    name: NameOption = None,
) -> int:
    """Ask for a URL as a visitor would, and print the answer's head; FILE is the world of the virtual driver."""
    from lab.drivers import virtual_trace

    if driver is By.lab:
        from lab.cli import tracing

        lab = open_lab(name)
        asking = visitor or next(iter(lab.plan.world.visitors))
        told = tracing.send(lab, lab.visitor(asking), url)
        if isinstance(told, str):
            say(f"popnet: no response: {told}")
            return Code.CHECK_FAILED
        put(f"HTTP/1.1 {told.status}")
        for key, value in told.headers.items():
            put(f"{key}: {value}")
        return Code.OK
    plan = Plan.of(load_world(file or DEFAULT_WORLD))
    visit = virtual_trace.once(plan, visitor or next(iter(plan.world.visitors)), url)
    if visit.error:
        say(f"popnet: no response: {visit.error}")
        return Code.CHECK_FAILED
    put(f"HTTP/1.1 {visit.status}")
    for key, value in visit.headers:
        put(f"{key}: {value}")
    return Code.OK


@app.command()
def parity(
    url: Annotated[str, typer.Argument(metavar="[URL]")] = "https://app.example.com/",
    name: NameOption = None,
    output: FormatOption = Format.table,
) -> int:
    """Compare virtual time with the running lab: the same world, a trace from every visitor.

    Paths must be equal, and what the links declare must agree within 1 ms or 2 %. Exit code 1 when they do not.
    """
    from lab.drivers.virtual import VirtualWorld
    from lab.drivers.virtual_trace import send as send_virtually

    lab: Lab = open_lab(name)
    from lab.cli import tracing

    with VirtualWorld(lab.plan) as world:
        world.start()
        rows = comparing.compare(
            lab.plan.world.visitors,
            lambda visitor: send_virtually(world, visitor, url),
            lambda visitor: tracing.send(lab, visitor, url),
        )
    if output is Format.json:
        put_json(
            [
                {
                    "visitor": row.visitor,
                    "virtual_ms": None if row.virtual_s is None else round(row.virtual_s * 1e3, 3),
                    "real_ms": None if row.real_s is None else round(row.real_s * 1e3, 3),
                    "virtual_path": row.virtual_path,
                    "real_path": row.real_path,
                    "agree": row.agree,
                }
                for row in rows
            ]
        )
    else:
        put_table(
            ("VISITOR", "VIRTUAL", "REAL", "ms", "VIRTUAL PATH", "REAL PATH"),
            [
                (
                    row.visitor,
                    _ms(row.virtual_s),
                    _ms(row.real_s),
                    "" if row.agree else "DIFFER",
                    row.virtual_path,
                    row.real_path,
                )
                for row in rows
            ],
            "lrr",
        )
    sys.stdout.flush()
    return Code.OK if all(row.agree for row in rows) else Code.CHECK_FAILED


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.2f}"

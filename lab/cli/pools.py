"""`popnet pools`: load balancers, their members, and how each of them is."""

from __future__ import annotations

from typing import Annotated

import typer

from lab.cli.app import Format, FormatOption, NameOption, app, open_lab, put, put_json, put_table
from lab.everywhere import serving


@app.command()
def pools(
    pop: Annotated[str | None, typer.Option("--at", help="As this PoP sees them.")] = None,
    output: FormatOption = Format.table,
    name: NameOption = None,
) -> None:
    """Load balancers: their members, whether they are up, what reaching them costs, and how often they were chosen."""
    lab = open_lab(name)
    at = lab.pop(pop) if pop else serving(lab)[0]
    found = lab.admin(at, "GET", "/pools").json()
    if output is Format.json:
        put_json(found)
        return
    if not found:
        put("no load balancers in this world")
        return
    rows = []
    for pool, state in found.items():
        for one in state["members"]:
            health = "up" if one["up"] else "down"
            rows.append(
                (
                    pool,
                    state["steering"],
                    one["tunnel"],
                    "draining" if one["draining"] else health,
                    "-" if one["cost_ms"] is None else f"{one['cost_ms']:.1f}",
                    f"{one['check_ms']:.1f}" if one["check_ms"] else "-",
                    str(one["outstanding"]),
                    str(one["chosen"]),
                )
            )
    put_table(
        ("POOL", "STEERING", "MEMBER", "STATE", "PATH ms", "CHECK ms", "UNDER WAY", "CHOSEN"),
        rows,
        "llllrrrr",
    )

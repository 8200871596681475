"""`popnet pools`: load balancers, their members, and how each of them is.

A PoP knows of a member what requests need: whether it is up, and the way to it. Why a service is down, and what it
needs to be up again, is known where its connections end: all PoPs are asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from lab import everywhere
from lab.cli.app import (
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
from lab.driver import LabError

# As the PoPs say it, and for people.
_CAUSES = {"checks": "health checks", "requests": "own requests"}


@app.command()
def pools(
    pop: Annotated[
        str | None,
        typer.Option("--at", help="As this PoP sees them; without: the first that is in reach."),
    ] = None,
    output: FormatOption = Format.table,
    name: NameOption = None,
) -> None:
    """Load balancers: their members, how each is and why: popnet pools --at IAD.

    The path's cost, requests under way and how often a member was chosen are those of one PoP, named above its column.
    What health checks say is the same everywhere; `left alone` is that PoP's own view, for its own requests failed.
    """
    lab = open_lab(name)
    told = everywhere.ask(lab, everywhere.serving(lab), "GET", "/pools")
    checks = everywhere.ask(lab, told.answers, "GET", "/checks").answers
    if told.silent:
        say(
            f"popnet: no answer from {', '.join(told.silent)} within {everywhere.ANSWER_S:g} s: "
            "what they check is not shown"
        )
    cut_off = everywhere.vanished(lab)
    # Who vanished answers us, and knows nothing of the others any more.
    first = next(iter(sorted(told.answers, key=lambda one: one in cut_off)), None)
    at = lab.pop(pop) if pop else first
    if at is None or at not in told.answers:
        raise LabError(f"no answer from {at or 'any PoP'}")
    every_check = [
        {"pop": one, **check} for one, answer in checks.items() for check in answer.json()
    ]
    rows = pool_rows(at, told.answers[at].json(), every_check)
    if output is Format.json:
        put_json(rows)
    elif not rows:
        put("no load balancers in this world")
    else:
        path = f"PATH ms FROM {at}"
        counts = ("CHECK ms", "UNDER WAY", "CHOSEN")
        columns = ("POOL", "STEERING", "MEMBER", "STATE", path, *counts, "WHY")
        put_table(columns, [_cells(one) for one in rows], "llllrrrrl")


def pool_rows(
    at: str, pools: dict[str, Any], checks: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """One for each member: as the PoP `at` sees it, with the checks that any PoP makes of it."""
    rows = [
        {
            "pool": name,
            "steering": pool["steering"],
            "at": at,
            **member,
            "flapping": any(one["flapping"] for one in own),
            "checks": own,
        }
        for name, pool in pools.items()
        for member in pool["members"]
        for own in [[one for one in checks if member["tunnel"] in _covering(one)]]
    ]
    return [{**row, "why": list(_why(row))} for row in rows]


def _covering(check: dict[str, Any]) -> tuple[str, str]:
    """The members that a checked connector belongs to: its tunnel, and its tunnel at its site."""
    return check["tunnel"], f"{check['tunnel']}@{check['site']}"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["pool"],
        row["steering"],
        row["tunnel"],
        f"{row['state']}, flapping" if row["flapping"] else row["state"],
        "-" if row["cost_ms"] is None else f"{row['cost_ms']:.1f}",
        f"{row['check_ms']:.1f}" if row["check_ms"] else "-",
        str(row["outstanding"]),
        str(row["chosen"]),
        "; ".join(row["why"]),
    )


def _why(row: dict[str, Any]) -> Iterable[str]:
    if row["cause"] == "requests":
        yield f"{_CAUSES['requests']}: {row['reason']}"
        yield f"left alone for {row['left_alone_s']:.1f} s more"
    elif row["reason"]:
        yield row["reason"]
    failing = [one for one in row["checks"] if one["state"] == "down"]
    places: dict[tuple[str, str], int] = {}
    for one in failing:
        # A connector is checked by each PoP that holds a connection of it: what they all say is said once.
        said = (one["site"] or one["connector"], one["reason"] or "no reason")
        places[said] = max(places.get(said, 0), one["successes_missing"])
    for (place, reason), missing in places.items():
        needs = f"{missing} more success{'es' if missing > 1 else ''} in a row needed"
        yield f"{_CAUSES['checks']} at {place}: {reason}, {needs}"
    if row["cause"] == "checks" and not failing:
        yield _CAUSES["checks"]

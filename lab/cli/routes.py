"""`popnet routes`, `popnet graph`, `popnet lsdb`: what PoPs know of the overlay, and the routes that follow."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from lab import explained, seen
from lab.cli.app import Code, Format, FormatOption, NameOption, app, put, put_json, put_table, say
from lab.cli.played import By, DriverOption, WorldOption, looking
from lab.driver import LabError, known
from routing import drawing

# News needs a moment to reach every PoP: until when two databases may differ.
_CHECK_EVERY_S = 0.5
_CHECKS = 10

PopArgument = Annotated[str | None, typer.Argument(help="One PoP; without: all.", metavar="[POP]")]


def _views(lab: seen.Seen, pop: str | None, what: str) -> list[Any]:
    pops = lab.pops() if pop is None else [known(pop, lab.plan.pops, "PoP")]
    return [lab.ask(one, what) for one in pops]


@app.command()
def routes(
    pop: PopArgument = None,
    diff: Annotated[
        bool, typer.Option("--diff", help="Each route beside the best direct path: what it gains.")
    ] = False,
    name: NameOption = None,
    output: FormatOption = Format.table,
    driver: DriverOption = By.lab,
    world: WorldOption = None,
) -> None:
    """Show the route of each PoP to each tunnel: path, measured cost, since when, and what it was before.

    WAS names the path before the last change and why it was left: better (another one was), lost (a link or a
    connection died), settling (the route was new). With --diff what the overlay gains over the Internet's own way.
    """
    with looking(driver, name, world) as lab:
        views = _views(lab, pop, "routes")
    if diff:
        found = explained.gains(views)
        if output is Format.json:
            put_json(found)
            return
        table, summary = explained.diff(found)
        put_table(table.columns, table.rows, table.right)
        put(summary)
        return
    if output is Format.json:
        put_json(views)
        return
    table = explained.routes(views)
    put_table(table.columns, table.rows, table.right)
    for view in views:
        if view["error"]:
            say(f"{view['me']}: {view['error']}; its last good table is in force")


class GraphFormat(enum.StrEnum):
    dot = "dot"
    graphml = "graphml"
    json = "json"


@app.command()
def graph(
    output: Annotated[
        GraphFormat, typer.Option("-o", "--output", help="For graphviz, for Gephi and R, or plain.")
    ] = GraphFormat.dot,
    pop: Annotated[
        str | None, typer.Option("--pop", help="As this PoP has it; without: the first.")
    ] = None,
    name: NameOption = None,
    driver: DriverOption = By.lab,
    world: WorldOption = None,
) -> None:
    """Print the latency graph of the overlay as a PoP has it: links with measured RTT, jitter, loss and age.

    popnet graph | neato -n -Tsvg > overlay.svg     draws it with every PoP in its place on the map.
    """
    with looking(driver, name, world) as lab:
        asked = lab.pops()[:1] if pop is None else [known(pop, lab.plan.pops, "PoP")]
        if not asked:
            raise LabError("no PoP serves")
        view = lab.ask(asked[0], "graph")
        places = {one: (lab.plan.nodes[one].lat, lab.plan.nodes[one].lon) for one in lab.plan.pops}
    if output is GraphFormat.json:
        put_json(view)
        return
    drawn = drawing.graph_of(view, places)
    put(drawing.dot(drawn) if output is GraphFormat.dot else drawing.graphml(drawn))


@app.command()
def lsdb(
    pop: Annotated[
        str | None,
        typer.Argument(
            help="As this PoP has it; without: as the first one has it.", metavar="[POP]"
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Ask all PoPs, and only say whether they know the same.")
    ] = False,
    name: NameOption = None,
    output: FormatOption = Format.table,
    driver: DriverOption = By.lab,
    world: WorldOption = None,
) -> int:
    """Show the link-state database: the newest advertisement of every PoP, with its links and tunnel connections.

    What PoPs have should not differ by more than the news of the last second: --check asks all, and all again a
    moment later; what anyone knew, everyone must know then. Exit code 1 if not.
    """
    with looking(driver, name, world) as lab:
        if check:
            return _check(lab, output)
        asked = lab.pops()[:1] if pop is None else [known(pop, lab.plan.pops, "PoP")]
        if not asked:
            raise LabError("no PoP serves")
        view = lab.ask(asked[0], "lsdb")
    if output is Format.json:
        put_json(view)
        return Code.OK
    table = explained.lsas(view)
    put_table(table.columns, table.rows, table.right)
    return Code.OK


def _check(lab: seen.Seen, output: Format) -> int:
    before = _views(lab, None, "lsdb")
    found: Sequence[str] = ["nobody was asked"]
    for _ in range(_CHECKS):
        lab.wait(_CHECK_EVERY_S)
        found = explained.disagreements(before, _views(lab, None, "lsdb"))
        if not found:
            break
    origins = len({one["origin"] for view in before for one in view["lsas"]})
    if output is Format.json:
        put_json({"agree": not found, "pops": len(before), "origins": origins, "differ": found})
    elif found:
        for difference in found:
            put(difference)
    else:
        put(f"{len(before)} PoPs agree on {origins} origins")
    return Code.CHECK_FAILED if found else Code.OK

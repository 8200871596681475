"""`popnet why`: the route of a visitor's requests, every other path with its cost, and what would change it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lab import reasons, seen, whatif
from lab.cli.app import Code, Format, FormatOption, NameOption, app, put, put_json, put_table
from lab.cli.played import By, DriverOption, WorldOption, looking
from lab.driver import LabError, known
from lab.named import Named, named, request
from lab.reasons import Oracle


@app.command()
def why(
    host: Annotated[
        str,
        typer.Argument(
            help="A host name or URL that leads somewhere now, or a tunnel.", metavar="HOST"
        ),
    ],
    visitor: Annotated[
        str, typer.Option("--from", help="The city that asks, or a PoP.", metavar="VISITOR")
    ],
    oracle: Annotated[
        bool, typer.Option("--oracle", help="Add what no PoP knows: declared RTTs, and regret.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Every path on every connection, not only the best few.")
    ] = False,
    algorithm: Annotated[
        str,
        typer.Option(
            help="Ask one that PoPs work out beside the one in force (routing.beside).",
            metavar="NAME",
        ),
    ] = "",
    name: NameOption = None,
    output: FormatOption = Format.table,
    driver: DriverOption = By.lab,
    world: WorldOption = None,
) -> int:
    """Say why requests take the route they take, and what would change that.

    First the security rule that a plain GET would meet, and, for a host of a load balancer, which member it goes to.
    The PoP where the visitor lands ranks every path it knows by what was measured, term by term; damping keeps the
    route in force until another one is better by enough. "Flips to 2 if A-B rises 17.2 ms" has been tried: the PoP
    ran its algorithm on links changed by that much. Exit code 1 when there is no route.
    """
    with looking(driver, name, world) as lab:
        who = known(visitor, [*lab.plan.world.visitors, *lab.plan.pops], "visitor or PoP")
        ingress = _ingress(lab, who)
        asked = named(host, lab.ask(ingress, "records"), lab.plan.world.tunnels)
        before = _before(lab, ingress, asked, who)
        tunnel = before["balancer"]["chosen"] if before["balancer"] else asked.tunnel
        told = _route(lab, ingress, tunnel, algorithm) if tunnel else None
        truth = _oracle(lab, ingress, tunnel, told) if oracle and told is not None else None
    if output is Format.json:
        put_json({**before, **_as_json(told or {"me": ingress, "tunnel": None}, truth)})
    else:
        _show(before, told, truth, everything=everything)
    return Code.OK if told is not None and told.get("path") else Code.CHECK_FAILED


def _before(lab: seen.Seen, ingress: str, asked: Named, who: str) -> dict[str, Any]:
    """What happens to a request before it has a tunnel. None: nothing, for only a visitor's request to a host does."""
    told: dict[str, Any] = {"host": asked.host or None, "security": None, "balancer": None}
    if asked.host and who in lab.plan.world.visitors:
        told["security"] = lab.judge(ingress, request(asked, lab.plan.nodes[who]))
    if asked.balancer:
        pool = lab.ask(ingress, "pools")[asked.balancer]
        chosen = next(iter(pool["order"]), None)
        told["balancer"] = {"name": asked.balancer, "chosen": chosen, **pool}
    return told


def _route(lab: seen.Seen, ingress: str, tunnel: str, algorithm: str) -> dict[str, Any]:
    told: dict[str, Any] = lab.ask(ingress, "why", tunnel, algorithm)
    source = lab.plan.world.routing.source
    if source is None or not told["in_force"] or not told.get("problem"):
        return told
    known_here = lab.ask(ingress, "routes")
    name_of_it = lab.plan.world.routing.algorithm
    exits = known_here["exits"].get(tunnel, [])
    return whatif.completed(told, name_of_it, source, lab.ask(ingress, "graph"), exits)


def _as_json(told: dict[str, Any], truth: Oracle | None) -> dict[str, Any]:
    if truth is None:
        return told
    return {**told, "oracle": truth.to_dict(tuple(told["path"]) if told.get("path") else None)}


def _show(
    before: dict[str, Any],
    told: dict[str, Any] | None,
    truth: Oracle | None,
    *,
    everything: bool,
) -> None:
    if before["security"] is not None:
        put(reasons.security(before["security"]))
    if before["balancer"] is not None:
        head, members = reasons.balancer(before["balancer"])
        put(head)
        put_table(members.columns, members.rows, members.right)
    if told is None:
        return
    shown = reasons.why(told, truth, everything=everything)
    put(shown.head)
    if shown.table.rows:
        put_table(shown.table.columns, shown.table.rows, shown.table.right)
    for sentence in shown.sentences:
        put(sentence)


def _ingress(lab: seen.Seen, who: str) -> str:
    """Where this visitor's requests enter; a PoP stands for itself."""
    if who in lab.plan.pops:
        return who
    lands = lab.lands(who)
    if lands is None:
        raise LabError(f"{who} lands nowhere: no PoP announces the anycast address")
    return lands


def _oracle(lab: seen.Seen, ingress: str, tunnel: str, told: dict[str, Any]) -> Oracle:
    sites = lab.plan.world.tunnels[tunnel].sites
    if len(sites) > 1:
        raise LabError(f"--oracle is for a tunnel at one site; {tunnel} is at {', '.join(sites)}")
    site = sites[0]
    truth = seen.truth_of(lab)
    paths = dict.fromkeys(tuple(row["path"]) for row in told["candidates"])
    exits = dict.fromkeys(path[-1] for path in paths)
    best_s, best = truth.best(ingress, exits, site)
    by_path = {path: truth.way_s(path, site) * 1e3 for path in paths}
    return Oracle(by_path, best, best_s * 1e3)

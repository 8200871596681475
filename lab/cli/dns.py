"""`popnet dns list|add|remove` and `popnet pools`: what public names lead to, while the lab runs."""

from __future__ import annotations

import json
import os
import time
from typing import Annotated, Any

import typer

from lab import configs
from lab.cli.app import Format, FormatOption, NameOption, app, put, put_json, put_table, say
from lab.driver import Lab, LabError

dns_app = typer.Typer(
    help="""The edge's DNS records: public names, each leading to a tunnel or a load balancer, the same at every PoP.

    A change is made at one PoP, passed on to all, and kept for those that start later.
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(dns_app, name="dns")

# Flooding takes a fraction of a second; who has not heard by then is told about.
_PATIENCE_S = 5.0
_LOOK_S = 0.02


def _running(lab: Lab) -> list[str]:
    ready = {one["name"] for one in lab.status()["nodes"] if one["ready"]}
    pops = [pop for pop in lab.plan.pops if pop in ready]
    if not pops:
        raise LabError("no PoP is running")
    return pops


def _records(lab: Lab, pop: str) -> list[dict[str, Any]]:
    """As the PoP keeps them; what is not said is empty."""
    plain = {"tunnel": "", "load_balancer": "", "ttl": 60}
    return [plain | one for one in lab.admin(pop, "GET", "/records").json()]


@dns_app.command("list")
def list_records(output: FormatOption = Format.table, name: NameOption = None) -> None:
    """All names, where they lead, their TTL, and whether all PoPs agree."""
    lab = Lab.open(name)
    told = {pop: _records(lab, pop) for pop in _running(lab)}
    first, *others = told.values()
    rows = []
    for one in first:
        if not (one["tunnel"] or one["load_balancer"]):
            continue  # removed, and remembered as that
        target = f"load balancer {one['load_balancer']}"
        content = "-"
        if one["tunnel"]:
            target = f"tunnel {one['tunnel']}"
            content = f"{configs.tunnel_identity(lab.plan, one['tunnel']).id}.cfargotunnel.com"
        agreed = all(one in other for other in others)
        rows.append(
            {
                "name": one["name"],
                "target": target,
                "cname": content,
                "ttl": one["ttl"],
                "version": one["version"],
                "from": one["origin"] or "world file",
                "agreed": agreed,
            }
        )
    if output is Format.json:
        put_json(rows)
        return
    put_table(
        ("NAME", "LEADS TO", "CNAME", "TTL", "CHANGED AT", "AGREED"),
        [
            (
                one["name"],
                one["target"],
                one["cname"],
                str(one["ttl"]),
                one["from"],
                _yes(one["agreed"]),
            )
            for one in rows
        ],
        "lllrll",
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


HostArgument = Annotated[str, typer.Argument(metavar="NAME", help="shop.example.com")]


@dns_app.command()
def add(
    host: HostArgument,
    tunnel: Annotated[
        str | None, typer.Option(help="A tunnel of this world, or its ID.cfargotunnel.com.")
    ] = None,
    load_balancer: Annotated[
        str | None, typer.Option(help="A load balancer of this world.")
    ] = None,
    ttl: Annotated[int, typer.Option(help="Seconds that resolvers may remember it.")] = 60,
    name: NameOption = None,
) -> None:
    """Point a name at a tunnel or a load balancer: popnet dns add shop.example.com --tunnel app."""
    lab = Lab.open(name)
    if (tunnel is None) == (load_balancer is None):
        raise LabError("one of --tunnel and --load-balancer is needed")
    wanted = {"name": host, "ttl": ttl}
    wanted |= {"tunnel": tunnel} if tunnel else {"load_balancer": load_balancer}
    covered = {"*." + one.partition(".")[2] for one in lab.plan.world.dns}
    if host not in lab.plan.world.dns and "*." + host.partition(".")[2] not in covered:
        say(
            f"popnet: the lab's certificate is for {', '.join(sorted(covered))}: https will not be trusted"
        )
    took = _change(lab, wanted)
    put(f"{host.lower()} leads to {tunnel or load_balancer} at every PoP after {took * 1e3:.0f} ms")


@dns_app.command()
def remove(host: HostArgument, name: NameOption = None) -> None:
    """Remove a name. What runs goes on; new requests find nothing."""
    took = _change(Lab.open(name), {"name": host})
    put(f"{host.lower()} is gone from every PoP after {took * 1e3:.0f} ms")


def _change(lab: Lab, wanted: dict[str, Any]) -> float:
    """Seconds until every PoP had it."""
    pops = _running(lab)
    started = time.monotonic()
    answer = lab.admin(pops[0], "PUT", "/records", json.dumps(wanted).encode())
    if answer.status >= 300:
        raise LabError(answer.body.decode(errors="replace").strip())
    changed = answer.json()
    waiting = set(pops[1:])
    while waiting:
        waiting = {pop for pop in waiting if not _knows(lab, pop, changed)}
        if waiting and time.monotonic() - started > _PATIENCE_S:
            raise LabError(f"{', '.join(sorted(waiting))} have not heard of it")
        if waiting:
            time.sleep(_LOOK_S)
    took = time.monotonic() - started
    _keep(lab, [one for one in _records(lab, pops[0]) if one["version"]])
    return took


def _knows(lab: Lab, pop: str, changed: dict[str, Any]) -> bool:
    return any(
        (one["name"], one["version"]) == (changed["name"], changed["version"])
        for one in _records(lab, pop)
    )


def _keep(lab: Lab, records: list[dict[str, Any]]) -> None:
    """For PoPs that start when nobody is there to ask. Whole or not at all."""
    beside = lab.dir.records.with_suffix(".new")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(records, file)
    beside.replace(lab.dir.records)


@app.command()
def pools(
    pop: Annotated[str | None, typer.Option("--at", help="As this PoP sees them.")] = None,
    output: FormatOption = Format.table,
    name: NameOption = None,
) -> None:
    """Load balancers: their members, whether they are up, what reaching them costs, and how often they were chosen."""
    lab = Lab.open(name)
    at = lab.pop(pop) if pop else _running(lab)[0]
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

"""`popnet dns list|add|remove`: what public names lead to, while the lab runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lab import configs, everywhere, records
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
from lab.driver import Lab, LabError
from pops.core.records import Record

dns_app = typer.Typer(
    help="""The edge's DNS records: public names, each leading to a tunnel or a load balancer, the same at every PoP.

    A change is made at one PoP, passed on to all, and kept for those that start later. Exit code 1: it is made, and
    some PoP does not have it yet; that one hears of it when it can be reached again.
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(dns_app, name="dns")


def target_of(record: Record | None) -> str:
    if record is None or record.removed:
        return "nothing"
    if record.tunnel:
        return f"tunnel {record.tunnel}"
    return f"load balancer {record.load_balancer}"


@dns_app.command("list")
def list_records(output: FormatOption = Format.table, name: NameOption = None) -> None:
    """All names, where they lead, their TTL, and whether all PoPs agree: popnet dns list -o json."""
    lab = open_lab(name)
    books = records.books(lab, everywhere.serving(lab))
    rows: list[dict[str, Any]] = []
    for one in books.newest().everything():
        differ = [pop for pop, book in books.held.items() if book.get(one.name) != one]
        if one.removed and not differ:
            continue
        tunnel = one.tunnel and configs.tunnel_identity(lab.plan, one.tunnel).id
        rows.append(
            {
                "name": one.name,
                "target": target_of(one),
                "cname": f"{tunnel}.cfargotunnel.com" if tunnel else "-",
                "ttl": one.ttl,
                "version": one.version,
                "from": one.origin or "world file",
                "agreed": not differ,
                "differ": differ,
                "no_answer": books.silent,
            }
        )
    if books.silent:
        say(f"popnet: no answer from {', '.join(books.silent)} within {everywhere.ANSWER_S:g} s")
    if output is Format.json:
        put_json(rows)
        return
    put_table(
        ("NAME", "LEADS TO", "CNAME", "TTL", "VERSION", "CHANGED AT", "AGREED"),
        [
            (
                one["name"],
                one["target"],
                one["cname"],
                str(one["ttl"]),
                str(one["version"]),
                one["from"],
                _agreed(one),
            )
            for one in rows
        ],
        "lllrrll",
    )


def _agreed(row: dict[str, Any]) -> str:
    words = [f"not yet at {', '.join(row['differ'])}" if row["differ"] else "yes"]
    words += [f"{', '.join(row['no_answer'])}: no answer"] if row["no_answer"] else []
    return "; ".join(words)


HostArgument = Annotated[str, typer.Argument(metavar="NAME", help="shop.example.com")]


@dns_app.command()
def add(
    host: HostArgument,
    tunnel: Annotated[
        str | None,
        typer.Option(help="A tunnel of this world: its name, its ID, or ID.cfargotunnel.com."),
    ] = None,
    load_balancer: Annotated[
        str | None, typer.Option(help="A load balancer of this world.")
    ] = None,
    ttl: Annotated[int, typer.Option(help="Seconds that resolvers may remember it.")] = 60,
    output: FormatOption = Format.table,
    name: NameOption = None,
) -> None:
    """Point a name at a tunnel or a load balancer: popnet dns add shop.example.com --tunnel app.

    A name that is there already is replaced, and what it led to is told.
    """
    lab = Lab.open(name)
    if (tunnel is None) == (load_balancer is None):
        raise LabError("one of --tunnel and --load-balancer is needed")
    wanted: dict[str, Any] = {"name": host, "ttl": ttl}
    wanted |= {"tunnel": tunnel} if tunnel else {"load_balancer": load_balancer}
    changed = records.change(lab, wanted)
    made = changed.record
    covered = {"*." + one.partition(".")[2] for one in lab.plan.world.dns}
    if made.name not in lab.plan.world.dns and "*." + made.name.partition(".")[2] not in covered:
        say(
            f"popnet: the lab's certificate is for {', '.join(sorted(covered))}: https will not be trusted"
        )
    _tell(changed, f"{made.name} leads to {made.tunnel or made.load_balancer}", "at", output)


@dns_app.command()
def remove(
    host: HostArgument, output: FormatOption = Format.table, name: NameOption = None
) -> None:
    """Remove a name: popnet dns remove shop.example.com. What runs goes on; new requests find nothing."""
    changed = records.change(Lab.open(name), {"name": host})
    _tell(changed, f"{changed.record.name} is gone", "from", output)


def _tell(changed: records.Change, what: str, where: str, output: Format) -> None:
    made, before = changed.record, changed.before
    replaced = "" if made.removed else _replaced(made, before)
    if output is Format.json:
        put_json(
            {
                "name": made.name,
                "target": target_of(made),
                "ttl": made.ttl,
                "version": made.version,
                "before": target_of(before),
                "reached": changed.reached,
                "missing": changed.missing,
                "took_ms": round(changed.took_s * 1e3, 1),
            }
        )
    else:
        end = f"; replaces: {replaced}" if replaced else ""
        if changed.missing:
            late = ", ".join(f"{pop} ({why})" for pop, why in changed.missing.items())
            put(f"{what}; not yet {where} {late}{end}")
        else:
            put(f"{what} {where} every PoP after {changed.took_s * 1e3:.0f} ms{end}")
    if changed.missing:
        raise typer.Exit(Code.CHECK_FAILED)


def _replaced(made: Record, before: Record | None) -> str:
    """What a change of an existing name has replaced."""
    if before is None:
        return ""
    if target_of(before) != target_of(made):
        return target_of(before)
    return f"TTL {before.ttl}" if before.ttl != made.ttl else ""

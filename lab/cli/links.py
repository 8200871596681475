"""`popnet link set|show|reset` and `popnet catchment`: the Internet between the nodes, while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Annotated, Any

import typer

from lab import quantities
from lab.cli.app import Format, FormatOption, NameOption, app, open_lab, put, put_json, put_table
from lab.cli.help import Whole
from lab.driver import Lab, LabError

link_app = typer.Typer(
    cls=Whole,
    help="Change and show links while the lab runs. Changes are atomic and disturb no other link.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(link_app, name="link")

EndsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="A B | A:B | NODE", help="Both ways, only from A to B, or a node's access."
    ),
]


def _ends(lab: Lab, words: list[str]) -> dict[str, Any]:
    """How the wan process names what is meant: {"from", "to", "both"} or {"access"}."""
    match [part for word in words for part in word.split(":")], len(words):
        case [source, destination], how_many:
            if (a := lab.node(source)) == (b := lab.node(destination)):
                raise LabError(f"{a} {b} is no link; allowed: two different nodes")
            return {"from": a, "to": b, "both": how_many == 2}
        case [node], 1:
            return {"access": lab.node(node)}
    raise LabError(
        f"{' '.join(words)!r} is no link; allowed: A B, A:B for one way, NODE for its access"
    )


def _pairs(ends: Mapping[str, Any]) -> list[list[str]]:
    if "access" in ends:
        return [[ends["access"], ""], ["", ends["access"]]]
    forth = [ends["from"], ends["to"]]
    return [forth, forth[::-1]] if ends["both"] else [forth]


@link_app.command("set")
def set_link(
    ends: EndsArgument,
    rtt: Annotated[str | None, typer.Option(help="There and back, half each way: 400ms.")] = None,
    one_way: Annotated[
        str | None, typer.Option(help="Delay of each direction named: 200ms.")
    ] = None,
    jitter: Annotated[str | None, typer.Option(help="Deviation of the delay: 5ms.")] = None,
    loss: Annotated[str | None, typer.Option(help="Random loss: 2%.")] = None,
    rate: Annotated[str | None, typer.Option(help="Capacity: 10mbit, 1gbit, unlimited.")] = None,
    queue: Annotated[
        str | None, typer.Option(help="Drop-tail queue as time at the rate: 50ms.")
    ] = None,
    reorder: Annotated[str | None, typer.Option(help="Packets that overtake: 1%.")] = None,
    duplicate: Annotated[str | None, typer.Option(help="Packets that come twice: 1%.")] = None,
    mtu: Annotated[
        int | None, typer.Option(min=68, max=65535, help="Largest packet in bytes.")
    ] = None,
    down: Annotated[
        bool | None, typer.Option("--down/--up", help="Nothing passes; or passes again.")
    ] = None,
    name: NameOption = None,
) -> None:
    """Change a link: popnet link set LHR NRT --rtt 400ms --loss 2%.

    `A B` means both directions, `A:B` only from A to B, one name alone the node's own line to the Internet.
    What is not named stays as it is. Delays say which they are: --rtt is there and back, --one-way is not.
    """
    lab = Lab.open(name)
    where = _ends(lab, ends)
    fields: dict[str, Any] = {}
    if rtt is not None:
        if not where.get("both"):
            raise LabError("--rtt needs both directions (A B); for one way say --one-way")
        if one_way is not None:
            raise LabError("--rtt and --one-way both say the delay; allowed: one of them")
        fields["rtt_s"] = quantities.duration("--rtt", rtt)
    if one_way is not None:
        fields["one_way_s"] = quantities.duration("--one-way", one_way)
    if jitter is not None:
        fields["jitter_s"] = quantities.duration("--jitter", jitter)
    if rate is not None:
        fields["rate_bps"] = _rate(rate)
    if queue is not None:
        fields["queue_s"] = quantities.duration("--queue", queue)
    for option, text in (("loss", loss), ("reorder", reorder), ("duplicate", duplicate)):
        if text is not None:
            fields[option] = quantities.share(f"--{option}", text)
    if mtu is not None:
        fields["mtu"] = mtu
    if down is not None:
        fields["down"] = down
    if not fields:
        raise LabError("nothing to set; see `popnet link set --help` for what a link has")
    lab.wan("set", changes=[{**where, "set": fields}])
    _show(lab, _pairs(where), Format.table)


def _rate(text: str) -> float | None:
    if text == "unlimited":
        return None
    rate = quantities.rate("--rate", text)
    if not rate:
        raise LabError(f"--rate: found {text!r}, allowed: more than 0; --down lets nothing pass")
    return rate


@link_app.command()
def show(
    ends: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[A B | A:B | NODE]",
            help="NODE: its access, and its links in use or changed. Without: all links in use or changed.",
        ),
    ] = None,
    name: NameOption = None,
    output: FormatOption = Format.table,
) -> None:
    """Show links: declared and current values, and what they carried and dropped."""
    lab = open_lab(name)
    chosen = _ends(lab, ends) if ends else None
    pairs = None if chosen is None else _pairs(chosen)
    if chosen is not None and pairs is not None and "access" in chosen:
        # Most of its links nobody uses; those would only hide the others.
        used = [(link["from"], link["to"]) for link in lab.wan("links")["links"]]
        pairs += [[a, b] for a, b in used if a and b and chosen["access"] in (a, b)]
    _show(lab, pairs, output)


@link_app.command()
def reset(
    ends: Annotated[
        list[str] | None,
        typer.Argument(metavar="[A B | A:B | NODE]", help="Without: all links."),
    ] = None,
    name: NameOption = None,
) -> None:
    """Make links as the world file has them."""
    lab = Lab.open(name)
    changed = lab.wan("reset", pairs=_pairs(_ends(lab, ends)) if ends else None)["changed"]
    put(f"{changed} direction{'s' if changed != 1 else ''} reset")


def _show(lab: Lab, pairs: list[list[str]] | None, output: Format) -> None:
    found = lab.wan("links", pairs=pairs)["links"]
    if output is Format.json:
        put_json(found)
        return
    columns = (
        "FROM",
        "TO",
        "ONE-WAY ms",
        "JITTER ms",
        "LOSS %",
        "RATE Mbit/s",
        "QUEUE ms",
        "MTU",
        "",
    )
    rows = [
        (
            link["from"] or "(Internet)",
            link["to"] or "(Internet)",
            *_cells(link["current"]),
            _remark(link),
        )
        for link in found
    ]
    put_table(
        (*columns, "PACKETS", "DROPS"),
        [_with_counters(*x) for x in zip(rows, found, strict=True)],
        "llrrrrrrlrr",
    )


def _with_counters(row: tuple[str, ...], link: dict[str, Any]) -> tuple[str, ...]:
    counters = link["counters"]
    drops = ", ".join(f"{reason} {count}" for reason, count in counters["drops"].items() if count)
    return *row, str(counters["packets"]), drops or "0"


def _cells(spec: dict[str, Any]) -> tuple[str, ...]:
    rate = spec["rate_bps"]
    return (
        f"{spec['one_way_s'] * 1e3:.1f}",
        f"{spec['jitter_s'] * 1e3:.1f}",
        f"{spec['loss'] * 100:.2f}",
        "-" if rate is None else f"{rate / 1e6:g}",
        f"{spec['queue_s'] * 1e3:.0f}",
        str(spec["mtu"]),
    )


def _remark(link: dict[str, Any]) -> str:
    if link["current"]["down"]:
        return "down"
    return "changed" if link["current"] != link["declared"] else ""


@app.command()
def catchment(
    name: NameOption = None,
    output: FormatOption = Format.table,
    address: Annotated[
        str | None, typer.Option(help="An anycast address; without: that of the visitors.")
    ] = None,
) -> None:
    """Show at which PoP each visitor lands, and what a nearer one would save. RTTs in ms, there and back."""
    lab = open_lab(name)
    if address is not None and address not in [one.address for one in lab.plan.anycast]:
        raise LabError(f"--address: found {address!r}, allowed: {_addresses(lab)}")
    rows = lab.wan("catchment", address=address)["rows"]
    if output is Format.json:
        put_json(rows)
        return
    cells = []
    for row in rows:
        lands, rtt, nearest_rtt = row["lands"], row["rtt_s"], row["nearest_rtt_s"]
        extra = "-"
        if rtt is not None and nearest_rtt is not None:
            more = (rtt - nearest_rtt) * 1e3
            extra = f"{more:+.0f}" if round(more) else "0"
        cells.append(
            (
                row["visitor"],
                lands or "-",
                "-" if rtt is None else f"{rtt * 1e3:.0f}",
                row["nearest"] or "-",
                extra,
            )
        )
    put_table(("VISITOR", "LANDS", "RTT", "NEAREST", "EXTRA"), cells, "llrlr")


def _addresses(lab: Lab) -> str:
    visitors, names, *rest = lab.plan.anycast
    # The addresses of a region have its PoPs as members.
    regions = [
        [one.address for one in group] for _, group in groupby(rest, lambda one: one.members)
    ]
    ranges = [f"{region[0]} to {region[-1]}" for region in regions]
    return f"{visitors.address} (visitors), {names.address} (DNS), {' or '.join(ranges)} (tunnels)"

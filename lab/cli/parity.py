"""`popnet parity`: does virtual time tell what the running lab tells?"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Annotated, Any

import typer

from lab.cli import tracing
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
from lab.driver import Lab
from lab.drivers.virtual import VirtualWorld
from lab.parity import recoveries, traces, transfers
from lab.parity.band import Pair
from lab.parity.traces import Row


class Part(enum.StrEnum):
    traces = "traces"
    transfers = "transfers"
    recoveries = "recoveries"


@app.command()
def parity(
    url: Annotated[str, typer.Argument(metavar="[URL]")] = "https://app.example.com/",
    only: Annotated[
        list[Part] | None, typer.Option(help="Some of it; may be given more than once.")
    ] = None,
    count: Annotated[
        int, typer.Option(min=1, help="How many transfers; 100 for a figure that counts.")
    ] = 100,
    kills: Annotated[
        int, typer.Option(min=1, help="How many recoveries; 20 for a figure that counts.")
    ] = 20,
    name: NameOption = None,
    output: FormatOption = Format.table,
) -> int:
    """Compare virtual time with the running lab: the same world by two drivers.

    traces: for every visitor equal paths, and what the links declare within 1 ms or 2 %. transfers: 1 MB over plain TCP
    between two nodes, 60 ms RTT, 1 % loss, reno; medians within 25 %. recoveries: PoPs are killed and come back;
    medians of what visitors notice within 20 %, or within the spacing of their requests. Exit code 1 when any is not.

    The lab is used: links between two visitors change for a while, PoPs are killed. Twenty recoveries take minutes.
    """
    lab = open_lab(name)
    parts = only or list(Part)
    rows: list[Row] = []
    pairs: list[Pair] = []
    if Part.traces in parts:
        rows = _traces(lab, url)
    if Part.transfers in parts:
        pairs.append(_transfers(lab, count))
    if Part.recoveries in parts:
        pairs += _recoveries(lab, url, kills)
    agree = all(row.agree for row in rows) and all(pair.agree for pair in pairs)
    if output is Format.json:
        put_json(
            {
                "agree": agree,
                "traces": [row.to_dict() for row in rows],
                "medians": [pair.to_dict() for pair in pairs],
            }
        )
    else:
        _show(rows, pairs)
    return Code.OK if agree else Code.CHECK_FAILED


def _in_virtual(lab: Lab, work: Callable[[VirtualWorld], Any]) -> Any:
    from lab.drivers.virtual_run import calm

    with VirtualWorld(lab.plan) as world:
        world.start()
        with calm():
            return work(world)


def _traces(lab: Lab, url: str) -> list[Row]:
    from lab.drivers.virtual_trace import send as send_virtually

    visitors = lab.plan.world.visitors
    say(f"traces of {len(visitors)} visitors ...")

    def both(world: VirtualWorld) -> list[Row]:
        return traces.compare(
            visitors,
            lambda visitor: send_virtually(world, visitor, url),
            lambda visitor: tracing.send(lab, visitor, url),
        )

    found: list[Row] = _in_virtual(lab, both)
    return found


def _transfers(lab: Lab, count: int) -> Pair:
    receiver, sender = transfers.ends(lab.plan)
    settings = transfers.Settings(receiver, sender, count, at_once=min(count, 20))
    say(f"{count} transfers {sender} > {receiver} ...")
    real = transfers.really(lab, settings)
    virtual = _in_virtual(lab, lambda world: transfers.virtually(world, settings))
    return transfers.compare(virtual, real, settings)


def _recoveries(lab: Lab, url: str, kills: int) -> list[Pair]:
    from lab.recovery.real import RealGround
    from lab.recovery.virtual import SETTLE_S, VirtualGround

    settings = recoveries.settings(lab.plan, url)
    say(f"{kills} recoveries ...")
    with RealGround(lab) as ground:
        real = recoveries.events(ground, lab.plan, settings, kills)

    def play(world: VirtualWorld) -> Any:
        world.run_for(SETTLE_S)
        return recoveries.events(VirtualGround(world), world.plan, settings, kills)

    return recoveries.compare(_in_virtual(lab, play), real, settings)


def _show(rows: list[Row], pairs: list[Pair]) -> None:
    if rows:
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
    if rows and pairs:
        put("")
    if pairs:
        put_table(
            ("MEDIAN OF", "VIRTUAL", "REAL", "s", "APART", "ALLOWED", "OF", ""),
            [
                (
                    pair.what,
                    f"{pair.virtual_s:.3f}",
                    f"{pair.real_s:.3f}",
                    "",
                    f"{100 * pair.apart:+.1f} %",
                    f"{100 * pair.share:g} %" + (f", {pair.least_s:g} s" if pair.least_s else ""),
                    f"{pair.counts[0]}/{pair.counts[1]}",
                    "" if pair.agree else "DIFFER",
                )
                for pair in pairs
            ],
            "lrrlrrr",
        )


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.2f}"

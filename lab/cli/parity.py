"""`popnet parity`: does virtual time tell what real packets tell?"""

from __future__ import annotations

import enum
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from lab.cli import bringing, tracing
from lab.cli.app import (
    Code,
    Format,
    FormatOption,
    OwnNameOption,
    app,
    put,
    put_json,
    put_table,
    say,
)
from lab.cli.bringing import By
from lab.cli.recovery import seconds
from lab.driver import Lab, LabError
from lab.drivers.virtual import VirtualWorld
from lab.parity import recoveries, traces, transfers
from lab.parity.band import Pair
from lab.parity.traces import Row
from lab.recovery.experiment import Event
from lab.worlds import DEFAULT_WORLD
from topology.plan import Plan

T = TypeVar("T")

_AFTER_HOLD_S = 5.0


class Part(enum.StrEnum):
    traces = "traces"
    transfers = "transfers"
    recoveries = "recoveries"


class Where(enum.StrEnum):
    local = "local"
    docker = "docker"
    lab = "lab"


@app.command()
def parity(
    file: Annotated[
        Path | None,
        typer.Argument(help="World file; without one, the default world.", metavar="[FILE]"),
    ] = None,
    only: Annotated[
        list[Part] | None, typer.Option(help="Some of it; may be given more than once.")
    ] = None,
    count: Annotated[
        int, typer.Option(min=1, help="How many transfers; 100 at least for a figure that counts.")
    ] = 200,
    kills: Annotated[
        int, typer.Option(min=1, help="How many recoveries; 20 for a figure that counts.")
    ] = 20,
    url: Annotated[
        str | None, typer.Option(help="What visitors ask for; default: the world's first name.")
    ] = None,
    driver: Annotated[
        Where,
        typer.Option(
            help="local, docker: real packets in a lab that is brought up for it. lab: in the running "
            "one, which -n means too."
        ),
    ] = Where.local,
    name: OwnNameOption = None,
    output: FormatOption = Format.table,
) -> int:
    """Compare virtual time with real packets: the same world by two drivers.

    traces: for every visitor equal paths, and what the links declare within 1 ms or 2 %. transfers: 1 MB over plain TCP
    between two visitors, 60 ms RTT, 1 % loss, reno; medians within 25 %. recoveries: a PoP is killed and comes back;
    medians of what visitors notice within 20 %, or within the spacing of their requests. Exit code 1 when any is not.

    Takes about eight minutes: real packets take as long as they take. A lab that runs already (-n) is used: the link
    between two visitors changes for a while, a PoP is killed again and again.
    """
    wanted = _Wanted(url, only or list(Part), count, kills, output)
    if name is not None or driver is Where.lab:
        if file is not None:
            raise LabError("a running lab has its world: no FILE with -n or --driver lab")
        return wanted.of(Lab.open(name))
    arguments = ["parity", "--driver", "lab", "--count", str(count), "--kills", str(kills)]
    arguments += [word for part in only or () for word in ("--only", part.value)]
    arguments += [] if url is None else ["--url", url]
    return bringing.in_a_lab(
        file or DEFAULT_WORLD,
        By(driver.value),
        wanted.fresh,
        [*arguments, "-o", output.value],
        idle=True,
    )


@dataclass(slots=True)
class _Wanted:
    """What the command line asked for, and what was found."""

    url: str | None
    parts: list[Part]
    count: int
    kills: int
    output: Format
    rows: list[Row] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    # Which nodes were taken for it, and why.
    choices: dict[str, str] = field(default_factory=dict)

    def fresh(self, lab: Lab) -> int:
        """In a lab that has only just come up."""
        settle_s = _settle_s(lab.plan)
        say(f"{settle_s:g} s until routes are those of a world that has been up for a while ...")
        time.sleep(settle_s)
        return self.of(lab)

    def of(self, lab: Lab) -> int:
        url = self.url or f"https://{next(iter(lab.plan.world.dns))}/"
        if Part.traces in self.parts:
            self._traces(lab, url)
        if Part.transfers in self.parts:
            self._transfers(lab)
        if Part.recoveries in self.parts:
            self._recoveries(lab, url)
        agree = all(row.agree for row in self.rows) and all(pair.agree for pair in self.pairs)
        if self.output is Format.json:
            put_json(
                {
                    "agree": agree,
                    "world": lab.plan.name,
                    "driver": "docker" if lab.in_containers else "local",
                    "choices": self.choices,
                    "traces": [row.to_dict() for row in self.rows],
                    "medians": [pair.to_dict() for pair in self.pairs],
                }
            )
        else:
            for part, choice in self.choices.items():
                put(f"{part}: {choice}")
            if self.choices:
                put("")
            _show(self.rows, self.pairs)
        return Code.OK if agree else Code.CHECK_FAILED

    def _traces(self, lab: Lab, url: str) -> None:
        from lab.drivers.virtual_trace import send as send_virtually

        visitors = lab.plan.world.visitors
        say(f"traces of {len(visitors)} visitors ...")

        def both(world: VirtualWorld) -> list[Row]:
            world.run_for(_settle_s(world.plan))
            return traces.compare(
                visitors,
                lambda visitor: send_virtually(world, visitor, url),
                lambda visitor: tracing.send(lab, visitor, url),
            )

        self.rows = _in_virtual(lab, both)

    def _transfers(self, lab: Lab) -> None:
        receiver, sender = transfers.ends(lab.plan)
        settings = transfers.Settings(receiver, sender, self.count, at_once=min(self.count, 20))
        self.choices["transfers"] = (
            f"{settings.text}: nothing else goes between these two, and their link is made so for it"
        )
        say(f"{self.count} transfers by real packets: {settings.text} ...")
        real = transfers.really(lab, settings)
        say("the same in virtual time ...")
        virtual = _in_virtual(lab, lambda world: transfers.virtually(world, settings))
        self.pairs.append(transfers.compare(virtual, real, settings))

    def _recoveries(self, lab: Lab, url: str) -> None:
        from lab.recovery.real import RealGround
        from lab.recovery.virtual import SETTLE_S, VirtualGround

        with RealGround(lab) as ground:
            chosen = recoveries.choose(ground, lab.plan, url)
            self.choices["recoveries"] = str(chosen)
            say(f"{self.kills} recoveries by real packets: {chosen} ...")
            kills = recoveries.events(ground, lab.plan, chosen, self.kills)
            real = _heard(kills, self.kills)

        def play(world: VirtualWorld) -> list[Event]:
            world.run_for(SETTLE_S)
            ground = VirtualGround(world)
            return list(recoveries.events(ground, world.plan, chosen, self.kills))

        say("the same in virtual time ...")
        self.pairs += recoveries.compare(_in_virtual(lab, play), real, chosen)


def _settle_s(plan: Plan) -> float:
    """A young routing table takes every gain, then damping holds what it has: compared is what it has then."""
    return plan.world.routing.damping.hold + _AFTER_HOLD_S


def _heard(events: Iterable[Event], count: int) -> list[Event]:
    """Each takes a quarter of a minute: say that it goes on."""
    found = []
    for event in events:
        found.append(event)
        if sys.stderr.isatty() or len(found) == count or not len(found) % 5:
            say(
                f"{len(found)}/{count}  without an answer {event.without_s:.2f} s, "
                f"{event.failed} of {event.requests} failed, tunnels {seconds(event.tunnels_s)} s"
            )
    return found


def _in_virtual(lab: Lab, work: Callable[[VirtualWorld], T]) -> T:
    from lab.drivers.virtual_run import calm

    with VirtualWorld(lab.plan) as world:
        world.start()
        with calm():
            return work(world)


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

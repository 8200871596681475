"""`popnet recovery`: something breaks, again and again; how long until requests find a way around?"""

from __future__ import annotations

import enum
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Any

import typer

from lab import play
from lab.cli import bringing
from lab.cli.app import (
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
from lab.cli.run import SeedOption
from lab.driver import Lab, LabError, known
from lab.load import stream
from lab.quantities import duration
from lab.recovery import experiment
from lab.recovery.experiment import (
    QUANTILES,
    Distribution,
    Event,
    Ground,
    Settings,
    Strike,
    distributions,
    run,
    usual,
)
from lab.worlds import DEFAULT_WORLD, load_world
from topology.plan import Plan

_URL = "https://app.example.com/"
_NAMES = {
    "without_s": "without an answer",
    "first_s": "until the first answer",
    "settled_s": "until nothing failed",
    "tunnels_s": "until all tunnels were back",
}


class Where(enum.StrEnum):
    virtual = "virtual"
    local = "local"
    docker = "docker"
    lab = "lab"


class Kind(enum.StrEnum):
    kill = "kill"
    vanish = "vanish"
    cut = "cut"


@app.command()
def recovery(
    kind: Annotated[
        Kind,
        typer.Argument(
            help="kill: programs die, the kernel answers RST. vanish: silence. cut: one link is down.",
            metavar="[kill|vanish|cut]",
        ),
    ] = Kind.kill,
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            help="PoPs, in turn; for `cut` the two ends of a link. Without any: the PoPs that hold "
            "tunnel connections; for `cut` the overlay links that requests take.",
            metavar="[TARGET...]",
        ),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-c", min=1, help="How often it breaks.")] = 20,
    driver: Annotated[
        Where,
        typer.Option(
            help="virtual: in virtual time. local, docker: in a lab that is brought up for it. "
            "lab: in the running one, which -n means too."
        ),
    ] = Where.virtual,
    world: Annotated[
        Path | None, typer.Option(help="World file; without one, the default world.")
    ] = None,
    name: OwnNameOption = None,
    visitors: Annotated[
        list[str] | None, typer.Option("--from", metavar="VISITOR", help="Who asks; default: all.")
    ] = None,
    url: Annotated[str, typer.Option(help="What they ask for.")] = _URL,
    rate: Annotated[
        float, typer.Option(min=0.5, help="Requests per second of each visitor.")
    ] = 10.0,
    timeout: Annotated[str, typer.Option(help="When a visitor gives up on a request.")] = "5s",
    window: Annotated[str, typer.Option(help="How long one event is watched at most.")] = "30s",
    seed: SeedOption = None,
    output: FormatOption = Format.table,
) -> int:
    """Break something N times and measure how long it takes until requests are routed around it.

    Visitors ask steadily, each request on a new connection. Something breaks at a moment that the seed draws; they
    ask on until everybody is answered again and every tunnel connection is back. Then it is mended, connectors
    start anew, and the next event follows. Each figure is the worst visitor's, in seconds since the break:

    without an answer: the longest time in which that visitor had none. until the first answer: to something asked
    after the break. until nothing failed: 0 if nothing did. A figure is no finer than 1/rate.
    """
    wanted = _Wanted(kind, targets or [], count, visitors, url, rate, timeout, window, output)
    if name is not None or driver is Where.lab:
        return wanted.in_lab(Lab.open(name), seed)
    file = world or DEFAULT_WORLD
    if driver is Where.virtual:
        return wanted.virtually(play.seeded(Plan.of(load_world(file)), seed))
    arguments = ["recovery", kind.value, *(targets or []), "--driver", "lab"]
    arguments += ["--count", str(count), "--url", url, "--rate", str(rate), "-o", output.value]
    arguments += ["--timeout", timeout, "--window", window]
    arguments += [word for visitor in visitors or () for word in ("--from", visitor)]
    arguments += [] if seed is None else ["--seed", str(seed)]
    return bringing.in_a_lab(
        file, By(driver.value), lambda lab: wanted.in_lab(lab, seed), arguments, idle=True
    )


class _Wanted:
    """What the command line asked for."""

    def __init__(
        self,
        kind: Kind,
        targets: Sequence[str],
        count: int,
        visitors: Sequence[str] | None,
        url: str,
        rate: float,
        timeout: str,
        window: str,
        output: Format,
    ) -> None:
        self.kind: experiment.Kind = kind.value
        self.targets = targets
        self.count = count
        self.visitors = visitors
        self.url = url
        self.rate = rate
        self.timeout_s = duration("--timeout", timeout)
        self.window_s = duration("--window", window)
        self.output = output

    def virtually(self, plan: Plan) -> int:
        from lab.drivers.virtual import VirtualWorld
        from lab.drivers.virtual_run import calm
        from lab.recovery.virtual import SETTLE_S, VirtualGround

        with VirtualWorld(plan) as world:
            world.start()
            world.run_for(SETTLE_S)
            with calm():
                return self._play(VirtualGround(world), plan, "virtual")

    def in_lab(self, lab: Lab, seed: int | None) -> int:
        from lab.recovery.real import RealGround

        plan = play.seeded(lab.plan, seed)
        with RealGround(lab) as ground:
            return self._play(ground, plan, "docker" if lab.in_containers else "local")

    def _play(self, ground: Ground, plan: Plan, driver: str) -> int:
        settings = Settings(
            visitors=tuple(
                known(one, plan.world.visitors, "visitor")
                for one in self.visitors or plan.world.visitors
            ),
            url=self.url,
            rate_per_s=self.rate,
            timeout_s=self.timeout_s,
            window_s=self.window_s,
            least_s=max(4.0, plan.convergence_s + 1.0),
        )
        strikes = self._strikes(plan) or usual(ground, self.kind, settings)
        if not strikes:
            raise LabError(f"nothing to {self.kind}: name a target")
        events = []
        rng: Random = stream(plan.seed, "recovery")
        repeated = [strikes[number % len(strikes)] for number in range(self.count)]
        for event in run(ground, repeated, settings, rng):
            events.append(event)
            _progress(event, repeated)
        self._show(plan, driver, strikes, repeated, events, settings)
        return 0

    def _strikes(self, plan: Plan) -> list[Strike]:
        if self.kind == "cut":
            if len(self.targets) not in (0, 2):
                raise LabError(
                    f"cut: found {len(self.targets)} names, allowed: the two ends of a link"
                )
            ends = tuple(known(one, plan.nodes, "node") for one in self.targets)
            return [Strike(self.kind, ends)] if ends else []
        pops = [known(one, plan.pops, "PoP") for one in self.targets]
        return [Strike(self.kind, (pop,)) for pop in pops]

    def _show(
        self,
        plan: Plan,
        driver: str,
        strikes: Sequence[Strike],
        repeated: Sequence[Strike],
        events: Sequence[Event],
        settings: Settings,
    ) -> None:
        figures = distributions(events)
        if self.output is Format.json:
            put_json(
                {
                    "world": plan.name,
                    "driver": driver,
                    "seed": plan.seed,
                    "strikes": [str(strike) for strike in strikes],
                    "visitors": list(settings.visitors),
                    "rate_per_s": settings.rate_per_s,
                    "timeout_s": settings.timeout_s,
                    "window_s": settings.window_s,
                    **{one.name: one.to_dict() for one in figures},
                    "events": [
                        {"strike": str(strike), **event.to_dict()}
                        for strike, event in zip(repeated, events, strict=True)
                    ],
                }
            )
            return
        put(
            f"{plan.name}  {driver}  seed {plan.seed}  {len(events)} times: "
            f"{', '.join(map(str, strikes))}"
        )
        put_table(
            ("", "EVENTS", "NEVER", *(f"P{n}" if n < 100 else "MAX" for n in QUANTILES), "s"),
            [tuple(_row(one)) for one in figures if one.values],
            "lrr" + "r" * len(QUANTILES),
        )


def _row(one: Distribution) -> Iterator[str]:
    yield _NAMES[one.name]
    yield str(len(one.values))
    yield str(one.never)
    for percent in QUANTILES:
        yield seconds(one.at(percent))
    yield ""


def seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return "never" if math.isinf(value) else f"{value:.2f}"


def _progress(event: Event, strikes: Sequence[Strike]) -> None:
    if sys.stderr.isatty() or event.number + 1 == len(strikes) or not (event.number + 1) % 5:
        say(
            f"{event.number + 1}/{len(strikes)}  {strikes[event.number]}: {event.failed} of "
            f"{event.requests} failed, without an answer {seconds(event.without_s)} s, "
            f"tunnels {seconds(event.tunnels_s)} s"
        )


__all__: list[Any] = ["recovery"]

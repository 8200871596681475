"""What visitors notice when a relay and the egress PoP die in the middle of their requests.

    python -m benchmarks.failover [--how kill|vanish] [--driver virtual|local] [--requests 2000] [--rate 50]

The default world, 95 % GET and 5 % POST. A third of the way the busiest relay dies, two thirds of the way the egress
PoP. Asked by the visitors that land at neither of the two: whoever lands at a dead PoP waits for anycast, and nothing
at a PoP can change that; `--all` asks by all and counts those apart.

A request is repeatable when it may be sent again after a PoP has perhaps passed it on (docs/decisions/failover.md):
here the GETs. Time without service of a request is what it took longer than its visitor's median from before the
deaths, or until its end when it failed; quantiles are over the requests begun within some seconds of a death.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.report import Row, show
from lab.driver import Lab
from lab.load import Arrival, Sample, arrivals
from lab.load_real import Asking
from lab.load_summary import quantile
from topology.load import load_world
from topology.model_load import Load
from topology.plan import Plan
from wan.timeline import NodeAction, Step, Vanishing

ROOT = Path(__file__).parents[1]
URL = "https://app.example.com/"
RELAY, EGRESS = "IAD", "LHR"
# Those whose requests go by the relay or the egress PoP, and enter elsewhere.
VISITORS = ("tokyo", "sao-paulo", "san-francisco", "singapore", "sydney")
# Requests begun so long after a death count as touched by it; in the same time all must be well again.
WINDOW_S = 8.0
WITHOUT_SERVICE_AT_MOST_S = 1.0
NOTICED_S = 0.2


@dataclass(frozen=True)
class Options:
    how: str = "kill"
    driver: str = "virtual"
    requests: int = 2000
    rate: float = 50.0
    all: bool = False
    lab: str = "failover"

    @property
    def seconds(self) -> float:
        return self.requests / self.rate

    @property
    def deaths(self) -> tuple[tuple[float, str], ...]:
        return (self.seconds / 3, RELAY), (self.seconds * 2 / 3, EGRESS)


def planned(options: Options) -> tuple[Plan, list[Arrival]]:
    plan = Plan.of(load_world(ROOT / "topology.yaml"))
    load = Load(
        rate_per_s=options.rate,
        url=URL,
        methods={"GET": 95.0, "POST": 5.0},
        arrivals="constant",
        visitors=tuple(plan.world.visitors) if options.all else VISITORS,
        keep_alive=True,
    )
    world = msgspec.structs.replace(plan.world, load=load)
    return Plan.of(world), list(arrivals(load, plan, options.seconds))


@dataclass(frozen=True)
class Outcome:
    samples: Sequence[Sample]
    retries: dict[str, int]
    retries_refused: int


def play_virtual(options: Options) -> Outcome:
    # Not at the top: this brings numpy and its threads, and a process with threads cannot enter a lab's nodes.
    from lab.drivers.virtual import VirtualWorld
    from lab.drivers.virtual_run import calm

    plan, requests = planned(options)
    samples: list[Sample] = []
    with VirtualWorld(plan, keep_alive=True) as world:
        world.start()
        pops = {name: node.pop for name, node in world.nodes.items() if node.pop is not None}

        async def one(arrival: Arrival) -> None:
            begun = world.loop.now
            visit = await world.asking(arrival.visitor, arrival.url, method=arrival.method)
            samples.append(Sample.of(arrival, visit, begun - begin))

        async def main() -> None:
            todo: list[tuple[float, Arrival | Step]] = [(one.at_s, one) for one in requests]
            for at_s, name in options.deaths:
                dies = NodeAction(name, "kill") if options.how == "kill" else Vanishing(name, True)
                todo.append((at_s, dies))
            async with asyncio.TaskGroup() as tasks:
                for at_s, what in sorted(todo, key=lambda item: item[0]):
                    await asyncio.sleep(max(0.0, begin + at_s - world.loop.now))
                    if isinstance(what, Arrival):
                        tasks.create_task(one(what))
                    else:
                        world.apply(what)

        with calm():
            # Connections of visitors are opened before anything is measured.
            for visitor in {arrival.visitor for arrival in requests}:
                world.get(visitor, URL)
            begin = world.loop.now
            world.run(main())
        stats = [pop.proxy.stats for pop in pops.values()]
        retries: Counter[str] = Counter()
        for one_pop in stats:
            retries.update(one_pop.retries)
        return Outcome(samples, dict(retries), sum(one.retries_refused for one in stats))


def play_local(options: Options) -> Outcome:
    """In a lab of its own: real programs, real packets, SIGKILL."""
    plan, requests = planned(options)

    def popnet(*words: str) -> None:
        command = [sys.executable, "-m", "lab", *words, "-n", options.lab]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)

    popnet("up", "-d", "--web-port", "off", "--socks-port", "off")
    try:
        lab = Lab.open(options.lab)
        samples: list[Sample] = []
        with Asking(lab, requests, timeout_s=20.0, keep_alive=True) as asking:
            asking.go()
            for at_s, name in options.deaths:
                samples += asking.collect(at_s)
                time.sleep(max(0.0, at_s - asking.now_s))
                if options.how == "kill":
                    lab.supervisor("node", node=name, do="kill", program=None)
                else:
                    lab.wan("vanish", node=name, on=True)
            samples += asking.rest()
        dead = {name for _, name in options.deaths}
        retries: Counter[str] = Counter()
        for pop in plan.pops:
            if pop not in dead:
                retries.update(retries_told(lab.admin(pop, "GET", "/metrics").body.decode()))
        refused = retries.pop("", 0)
        return Outcome(samples, dict(retries), refused)
    finally:
        popnet("down")


def retries_told(metrics: str) -> Counter[str]:
    """Retries by reason, and under "" those that were refused."""
    told: Counter[str] = Counter()
    for line in metrics.splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith("popnet_pop_retries_total{"):
            told[name.split('"')[1]] += int(float(value))
        elif name == "popnet_pop_retries_refused_total":
            told[""] += int(float(value))
    return told


def extra_s(samples: Sequence[Sample], usual: dict[str, float]) -> list[float]:
    """How much longer than usual each of them took, sorted."""
    return sorted(max(0.0, one.total_s - usual[one.visitor]) for one in samples)


def rows(options: Options, outcome: Outcome) -> list[Row]:
    first = options.deaths[0][0]
    usual = {
        visitor: statistics.median(
            one.total_s for one in outcome.samples if one.visitor == visitor and one.t_s < first - 1
        )
        for visitor in {one.visitor for one in outcome.samples}
    }
    dead = {name for _, name in options.deaths}
    # The first PoP of the way is where a visitor lands.
    landed = {one.visitor: one.path.partition(">")[0] for one in outcome.samples if one.t_s < first}
    apart = [one for one in outcome.samples if landed[one.visitor] in dead]
    counted = [one for one in outcome.samples if landed[one.visitor] not in dead]
    repeatable = [one for one in counted if one.method != "POST"]
    rest = [one for one in counted if one.method == "POST"]
    title = f"{options.driver}, {options.how}"
    found = [
        Row(f"{title}: requests", len(counted), "", None, f"{len(repeatable)} repeatable"),
        Row(f"{title}: repeatable that failed", failed(repeatable), "", 0.0, causes(repeatable)),
        Row(f"{title}: others that failed", failed(rest), "", None, causes(rest)),
    ]
    if outcome.retries:
        why = ", ".join(f"{name} {count}" for name, count in sorted(outcome.retries.items()))
        note = f"{why}; {outcome.retries_refused} refused by the budget"
        found.append(Row(f"{title}: sent again", sum(outcome.retries.values()), "", None, note))
    bound = WITHOUT_SERVICE_AT_MOST_S if options.how == "kill" else None
    for at_s, name in options.deaths:
        new = [one for one in repeatable if at_s <= one.t_s < at_s + WINDOW_S]
        old = [one for one in repeatable if one.t_s < at_s < one.t_s + one.total_s]
        longer = extra_s(new, usual)
        before = [one for one in counted if at_s - WINDOW_S <= one.t_s < at_s]
        by = sum(name in one.path.split(">") for one in before) / max(1, len(before))
        hit = [one.t_s - at_s for one in new if one.total_s - usual[one.visitor] > NOTICED_S]
        note = f"of {len(new)} begun within {WINDOW_S:g} s; {len(hit)} took {NOTICED_S:g} s more"
        if hit:
            note += f", the last of them begun {max(hit):.2f} s after"
        what = f"{title} {name}"
        found += [
            Row(f"{what}: time without service p50", quantile(longer, 50), "s"),
            Row(f"{what}: time without service p99", quantile(longer, 99), "s", bound, note),
            Row(f"{what}: time without service max", max(longer), "s"),
            Row(
                f"{what}: of those under way, max",
                max(extra_s(old, usual), default=0.0),
                "s",
                None,
                f"{len(old)} under way; {by:.0%} of those before went by {name}",
            ),
        ]
    if apart:
        note = f"of {len(apart)} whose visitors land at a PoP that died; {causes(apart)}"
        found.append(Row(f"{title}: failed at the way in", failed(apart), "", None, note))
    return found


def failed(samples: Sequence[Sample]) -> float:
    return float(sum(not one.ok for one in samples))


def causes(samples: Sequence[Sample]) -> str:
    counted = Counter(one.cause for one in samples if one.cause)
    return ", ".join(f"{cause} x{count}" for cause, count in counted.most_common())


def run() -> list[Row]:
    found = []
    for how in ("kill", "vanish"):
        options = Options(how=how)
        found += rows(options, play_virtual(options))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--how", choices=["kill", "vanish"], default=Options.how)
    parser.add_argument("--driver", choices=["virtual", "local"], default=Options.driver)
    parser.add_argument("--requests", type=int, default=Options.requests)
    parser.add_argument("--rate", type=float, default=Options.rate)
    parser.add_argument("--all", action="store_true", help="ask by all visitors")
    parser.add_argument("--lab", default=Options.lab, help="name of the lab that is brought up")
    options = Options(**vars(parser.parse_args()))
    play = play_virtual if options.driver == "virtual" else play_local
    show(rows(options, play(options)))


if __name__ == "__main__":
    main()

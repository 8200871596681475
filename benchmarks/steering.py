"""What each steering of a load balancer makes of requests, and what becomes of them when one of two sites is gone.

    python -m benchmarks steering

Two sites, one in Europe and one in America, visitors on both sides of the Atlantic, in virtual time. A row says how far
the share of the European site is from what the steering's name says, in percentage points. What it says:

    proximity          everyone is served by the nearer site
    dynamic            the service of the nearer one is slow here, by 300 ms: everyone is served by the other
    least_outstanding  as many requests are under way at either; so a slow site gets fewer, as 1 / time of a request
    random             a half each
    weighted           by weight: three to one
    failover           all to the first of the pool

Then the first site vanishes in the middle of the requests, and comes back: how many repeatable requests were lost, and
who serves before, meanwhile and afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.report import Row, show
from topology.load import parse_world
from topology.plan import Plan
from wan.timeline import NodeAction, Step, Vanishing

REQUESTS = 2000
RATE_PER_S = 40.0
OFF_BY_AT_MOST = 5.0
# From a site's vanishing until all know; from its return until it is trusted again.
NOTICED_S, HEALED_S = 3.0, 20.0
EUROPE, AMERICA = "dublin", "boston"
NEARER = {"london": EUROPE, "berlin": EUROPE, "new-york": AMERICA, "san-francisco": AMERICA}
SLOW = f"/slow?s=0.3&at={EUROPE}"
WORLD = """
popnet: 1
name: steering
pops: {{LHR: {{region: 1}}, FRA: {{region: 2}}, IAD: {{region: 1}}, SJC: {{region: 2}}}}
visitors: [london, berlin, new-york, san-francisco]
sites: {{dublin: {{service: hello}}, boston: {{service: hello}}}}
tunnels: {{europe: {{site: dublin}}, america: {{site: boston}}}}
dns: {{www.example.com: {{load_balancer: www}}}}
load_balancers:
  www:
    pool: {{europe: {{weight: {weight}}}, america: {{weight: 1}}}}
    steering: {steering}
    health: {{path: "{check}", every: 2s, timeout: 1s}}
"""


@dataclass(frozen=True)
class Case:
    """How a steering is tried. `wanted`: from what was served to the share of Europe that its name promises."""

    steering: str
    wanted: Callable[[Sequence[Served]], float]
    weight: int = 1
    path: str = "/"
    check: str = "/"
    visitors: tuple[str, ...] = tuple(NEARER)


@dataclass(frozen=True)
class Served:
    """One request: when it began, who asked, which site answered; empty when none did."""

    at_s: float
    visitor: str
    site: str
    total_s: float


def share(served: Sequence[Served], site: str = EUROPE) -> float:
    return sum(one.site == site for one in served) / max(1, len(served))


def _as_near(served: Sequence[Served]) -> float:
    return sum(NEARER[one.visitor] == EUROPE for one in served) / len(served)


def _as_quick(served: Sequence[Served]) -> float:
    """Little's law: what is under way is rate times duration, and that is to be equal."""
    rates = {
        site: 1 / fmean(one.total_s for one in served if one.site == site)
        for site in (EUROPE, AMERICA)
    }
    return rates[EUROPE] / sum(rates.values())


CASES = (
    Case("proximity", _as_near),
    Case("dynamic", lambda _: 0.0, check=SLOW),
    # All by one PoP: each counts its own requests.
    Case("least_outstanding", _as_quick, path=SLOW, visitors=("london",)),
    Case("random", lambda _: 0.5),
    Case("weighted", lambda _: 0.75, weight=3),
    Case("failover", lambda _: 1.0),
)


def play(
    case: Case,
    requests: int,
    *,
    steps: Sequence[tuple[float, Step]] = (),
    rate_per_s: float = RATE_PER_S,
) -> list[Served]:
    """Ask at a steady rate, the visitors in turn, while `steps` happen."""
    # Not at the top: this brings numpy and its threads.
    from lab.drivers.virtual import VirtualWorld
    from lab.drivers.virtual_run import calm

    text = WORLD.format(steering=case.steering, weight=case.weight, check=case.check)
    served: list[Served] = []
    with VirtualWorld(Plan.of(parse_world(text)), keep_alive=True) as world:
        world.start()
        # Until the first checks have told everybody.
        world.run_for(5.0)
        begin = world.loop.now

        async def one(at_s: float, visitor: str) -> None:
            visit = await world.asking(visitor, f"https://www.example.com{case.path}")
            site = visit.header("popnet-site") if visit.ok else ""
            served.append(Served(at_s, visitor, site, visit.total_s))

        async def main() -> None:
            visitors = case.visitors
            asked = [(n / rate_per_s, visitors[n % len(visitors)]) for n in range(requests)]
            todo: list[tuple[float, str | Step]] = [*asked, *steps]
            async with asyncio.TaskGroup() as tasks:
                for at_s, what in sorted(todo, key=lambda item: item[0]):
                    await asyncio.sleep(max(0.0, begin + at_s - world.loop.now))
                    if isinstance(what, str):
                        tasks.create_task(one(at_s, what))
                    else:
                        world.apply(what)

        with calm():
            world.run(main())
    return served


@dataclass(frozen=True)
class Loss:
    """One site gone and back. Its shares: before, once the loss was noticed, and some time after its return."""

    lost: int
    before: float
    meanwhile: float
    after: float
    slowest_s: float


def lose(how: str, *, requests: int = REQUESTS, rate_per_s: float = RATE_PER_S) -> Loss:
    """With `failover`: Europe is gone from a fifth of the requests to two fifths."""
    seconds = requests / rate_per_s
    gone, back = seconds * 0.2, seconds * 0.4
    steps: list[tuple[float, Step]]
    if how == "kill":
        steps = [(gone, NodeAction(EUROPE, "kill")), (back, NodeAction(EUROPE, "start"))]
    else:
        steps = [(gone, Vanishing(EUROPE, on=True)), (back, Vanishing(EUROPE, on=False))]
    served = play(Case("failover", lambda _: 1.0), requests, steps=steps, rate_per_s=rate_per_s)
    during = [one for one in served if gone <= one.at_s < back]
    return Loss(
        lost=sum(not one.site for one in served),
        before=share([one for one in served if one.at_s < gone]),
        meanwhile=share([one for one in during if one.at_s >= gone + NOTICED_S]),
        after=share([one for one in served if one.at_s >= back + HEALED_S]),
        slowest_s=max(one.total_s for one in during),
    )


def run() -> list[Row]:
    rows = []
    for case in CASES:
        served = play(case, REQUESTS)
        got, wanted = share(served), case.wanted(served)
        rows.append(
            Row(
                f"{case.steering}: off what it promises",
                abs(got - wanted) * 100,
                "points",
                OFF_BY_AT_MOST,
                f"{EUROPE} {got:.1%}, wanted {wanted:.1%}; {len(served)} requests",
            )
        )
    for how in ("kill", "vanish"):
        loss = lose(how)
        shares = f"{loss.before:.0%} before, {loss.meanwhile:.0%} meanwhile, {loss.after:.0%} after"
        rows += [
            Row(f"{how} a site: repeatable requests lost", loss.lost, "", 0, f"{EUROPE} {shares}"),
            Row(f"{how} a site: back at the first when it heals", 1 - loss.after, "missing", 0.05),
            Row(f"{how} a site: slowest request meanwhile", loss.slowest_s, "s"),
        ]
    return rows


if __name__ == "__main__":
    show(run())

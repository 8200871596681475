"""The same PoP killed again and again: medians of what visitors and connectors notice within 20 %.

Or within the spacing of one visitor's requests, for no figure is finer than that. Figures are those of lab/recovery.

Killed is, of the PoPs that hold tunnel connections, the one where most visitors enter: its death concerns everybody.
Always the same one, for a median of events of two kinds is that of neither. Who enters there waits for anycast, who
enters elsewhere for the overlay to find another egress: these are told apart for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lab.driver import LabError
from lab.load import stream
from lab.parity.band import Pair
from lab.recovery.experiment import Event, Figures, Ground, Settings, Strike, run
from topology.plan import Plan

SHARE = 0.2
_ELSEWHERE = 2
_RATE_PER_S = 5.0
_FIGURES: tuple[tuple[str, Callable[[Figures], float]], ...] = (
    ("without an answer", lambda figures: figures.without_s),
    ("first answer", lambda figures: figures.first_s),
    ("nothing failed", lambda figures: figures.settled_s),
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Who is killed, and who asks: a few visitors, gently, for this machine's own hurry is not what is compared."""

    strike: Strike
    there: tuple[str, ...]
    elsewhere: tuple[str, ...]
    settings: Settings

    def __str__(self) -> str:
        asking = [f"{' '.join(self.there)} (enters there)"] if self.there else []
        asking += [f"{' '.join(self.elsewhere)} (elsewhere)"] if self.elsewhere else []
        return (
            f"{self.strike}: of the PoPs that hold tunnel connections the one where most visitors enter; "
            f"asking: {', '.join(asking)}"
        )


def choose(ground: Ground, plan: Plan, url: str) -> Chosen:
    held, _ = ground.connections()
    if not held:
        raise LabError("no PoP holds a tunnel connection: nothing to kill")
    lands = {visitor: plan.landing(visitor) for visitor in plan.world.visitors}
    victim = min(set(held), key=lambda pop: (-list(lands.values()).count(pop), pop))
    # One visitor of each PoP: those of one PoP see the same.
    by_pop: dict[str, str] = {}
    for visitor, pop in lands.items():
        by_pop.setdefault(pop, visitor)
    there = (by_pop.pop(victim),) if victim in by_pop else ()
    elsewhere = tuple(by_pop.values())[:_ELSEWHERE]
    least_s = max(4.0, plan.convergence_s + 1.0)
    settings = Settings((*there, *elsewhere), url, rate_per_s=_RATE_PER_S, least_s=least_s)
    return Chosen(Strike("kill", (victim,)), there, elsewhere, settings)


def events(ground: Ground, plan: Plan, chosen: Chosen, count: int) -> Iterator[Event]:
    """`count` kills, at moments drawn by the world's seed."""
    return run(ground, [chosen.strike] * count, chosen.settings, stream(plan.seed, "parity"))


def compare(virtual: Sequence[Event], real: Sequence[Event], chosen: Chosen) -> list[Pair]:
    least_s = 1 / chosen.settings.rate_per_s
    pairs = []
    for where, visitors in (("there", chosen.there), ("elsewhere", chosen.elsewhere)):
        if not visitors:
            continue
        ours, theirs = _worst(virtual, visitors), _worst(real, visitors)
        for name, figure in _FIGURES:
            what = f"{chosen.strike}: {name}, who enters {where}"
            pairs.append(
                Pair.of(what, [*map(figure, ours)], [*map(figure, theirs)], SHARE, least_s)
            )
    tunnels = [
        [event.tunnels_s for event in all_ if event.tunnels_s is not None]
        for all_ in (virtual, real)
    ]
    pairs.append(Pair.of(f"{chosen.strike}: tunnels back", tunnels[0], tunnels[1], SHARE, least_s))
    return pairs


def _worst(events: Sequence[Event], visitors: Sequence[str]) -> list[Figures]:
    return [
        Figures.worst(event.visitors[visitor] for visitor in visitors if visitor in event.visitors)
        for event in events
    ]

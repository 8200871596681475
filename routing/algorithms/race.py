"""Race a few candidates with real requests, then use the winner until the next race (Akamai's SureRoute).

What a probe measures is not what a visitor waits for. So every `race_every_s` seconds the cheapest `entrants` paths by
measured RTT, the direct one always among them, run a race: each is put first in turn until a request has gone over
it, or for `heat_s` seconds. The lowest smoothed time to first byte wins; a failed request counts as `failed_s`. Until
an entrant has an outcome, measured RTTs rank it.

After Bornstein, Canfield, Miller, Rao, Sundaram, Optimal Route Selection in a Content Delivery Network (US 7274658,
2007), and Nygren, Sitaraman, Sun, The Akamai Network, OSR 2010. A race sends requests over paths that lose it, and a
few requests are a small sample; damping holds heats back as it does every change of route, so a hold time should be
shorter than `heat_s`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from routing.api import Outcome, Path, Routes, RoutingState
from routing.candidates import LEAD, Candidates, Way, put_first, rtt_price

PARAMS = {
    "entrants": 3,
    "race_every_s": 60.0,
    "heat_s": 15.0,
    "smoothing": 0.3,
    "failed_s": 1.0,
    "hop_cost_s": 0.001,
}


@dataclass(slots=True)
class Race:
    """One tunnel's race: who runs, whose heat it is, and what all its requests have taken so far."""

    started: float
    heat_started: float
    entrants: list[Way]
    heat: int = 0
    finished: set[Way] = field(default_factory=set)
    times: dict[Way, float] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return self.heat >= len(self.entrants)


def decide(state: RoutingState) -> Routes:
    candidates = Candidates(state, rtt_price(state.params["hop_cost_s"]))
    races: dict[str, Race] = state.memory.setdefault("races", {})
    routes: dict[str, list[Path]] = {}
    for tunnel in state.tunnels:
        ranking = candidates.paths(tunnel)
        routes[tunnel] = ranking
        if not ranking:
            continue
        race = races.get(tunnel)
        if race is None:
            race = Race(state.now, state.now, _entrants(state, ranking))
        elif race.over and state.now - race.started >= state.params["race_every_s"]:
            entrants = _entrants(state, ranking)
            # Old times of those who run again still count, smoothed.
            times = {way: race.times[way] for way in entrants if way in race.times}
            race = Race(state.now, state.now, entrants, times=times)
        races[tunnel] = race
        _note(race, [one for one in state.outcomes if one.tunnel == tunnel], state)
        here = {path.way: path for path in ranking}
        _next_heat(race, here, state)
        if not race.over:
            front = here[race.entrants[race.heat]]
        else:
            timed = [here[way] for way in race.entrants if way in here and way in race.times]
            front = min(timed, key=lambda path: race.times[path.way], default=ranking[0])
        routes[tunnel] = put_first(ranking, front, "turn", LEAD)
    return routes


def _entrants(state: RoutingState, ranking: list[Path]) -> list[Way]:
    ways = [path.way for path in ranking[: int(state.params["entrants"])]]
    direct = next((path.way for path in ranking if len(path.pops) <= 2), None)
    if direct is not None and direct not in ways:
        ways[-1] = direct
    return ways


def _note(race: Race, outcomes: list[Outcome], state: RoutingState) -> None:
    smoothing = state.params["smoothing"]
    for outcome in outcomes:
        way = (outcome.pops, outcome.connection)
        if way in race.entrants:
            took = outcome.ttfb_s if outcome.ok else max(outcome.ttfb_s, state.params["failed_s"])
            before = race.times.get(way, took)
            race.times[way] = before + smoothing * (took - before)
            race.finished.add(way)


def _next_heat(race: Race, here: Collection[Way], state: RoutingState) -> None:
    while not race.over:
        way = race.entrants[race.heat]
        tired = state.now - race.heat_started >= state.params["heat_s"]
        if way in here and way not in race.finished and not tired:
            return
        race.heat += 1
        race.heat_started = state.now

"""What one event is, how it is measured, and what many of them come to.

Times are seconds since the thing broke. A visitor that asks every 100 ms tells times no finer than that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from random import Random
from typing import Any, Literal, Protocol

from lab.load import Arrival, Sample
from lab.load_summary import quantile

Kind = Literal["kill", "vanish", "cut"]

# Asked before anything breaks, and how far the moment of it is spread: over a period of probes and heartbeats.
_LEAD_S, _SPREAD_S = 1.0, 1.0
_LOOK_S = 0.05
# All is well when every request asked in this time has been answered; the youngest are given time to be.
_WELL_S, _YOUNG_S = 2.0, 1.0
_LEAST_S = 4.0
QUANTILES = (50, 90, 95, 100)


@dataclass(frozen=True, slots=True)
class Strike:
    """What breaks: one node, or for `cut` the link between two."""

    kind: Kind
    targets: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind} {'-'.join(self.targets)}"


@dataclass(frozen=True, slots=True)
class Figures:
    """without_s: the longest time without an answer. first_s: until the first answer to what was asked after the break.
    settled_s: until the first answer after which nothing failed any more; 0 if nothing did. Infinite: not within the
    window.
    """

    without_s: float
    first_s: float
    settled_s: float

    @classmethod
    def worst(cls, several: Iterable[Figures]) -> Figures:
        """Each figure by itself."""
        all_ = list(several)
        if not all_:
            return cls(math.inf, math.inf, math.inf)
        return cls(
            max(one.without_s for one in all_),
            max(one.first_s for one in all_),
            max(one.settled_s for one in all_),
        )


@dataclass(frozen=True, slots=True)
class Event:
    """The figures of the worst visitor, and of each.

    tunnels_s: until every tunnel connection was back; None if none was lost. Infinite: not within the window.
    """

    number: int
    without_s: float
    first_s: float
    settled_s: float
    tunnels_s: float | None
    requests: int
    failed: int
    cut_off: tuple[str, ...]
    visitors: Mapping[str, Figures]

    def to_dict(self) -> dict[str, Any]:
        return _finite(asdict(self))


def _finite(told: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no infinity."""
    return {
        name: _finite(value)
        if isinstance(value, dict)
        else None
        if isinstance(value, float) and math.isinf(value)
        else value
        for name, value in told.items()
    }


class Ground(Protocol):
    """A world to break things in, by one driver. Times count from `begin`."""

    @property
    def now_s(self) -> float: ...

    def begin(self, requests: Sequence[Arrival], timeout_s: float) -> None:
        """Ask these from now on."""

    def wait(self, until_s: float) -> list[Sample]:
        """Requests that ended meanwhile."""

    def end(self) -> list[Sample]:
        """Ask no more; what was under way, ended."""

    def strike(self, strike: Strike) -> None: ...

    def mend(self, strike: Strike) -> None:
        """As before the strike: everything up, every connector started anew, and time to settle."""

    def connections(self) -> tuple[list[str], int]:
        """The PoP of every tunnel connection that is up, and how many there should be."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`rate_per_s` is of each visitor; `window_s` how long an event is watched at most."""

    visitors: tuple[str, ...]
    url: str
    rate_per_s: float = 10.0
    timeout_s: float = 5.0
    window_s: float = 30.0
    least_s: float = _LEAST_S


def run(
    ground: Ground, strikes: Iterable[Strike], settings: Settings, rng: Random
) -> Iterator[Event]:
    """An event for every strike."""
    for number, strike in enumerate(strikes):
        at_s = _LEAD_S + _SPREAD_S * rng.random()
        ground.begin(requests(settings, at_s + settings.window_s, rng), settings.timeout_s)
        before, _ = ground.connections()
        held = sum(pop in strike.targets for pop in before) if strike.kind != "cut" else 0
        samples = ground.wait(at_s)
        # A real machine is a little late.
        struck_s = ground.now_s
        ground.strike(strike)
        tunnels_s: float | None = math.inf if held else None
        while ground.now_s < struck_s + settings.window_s:
            samples += ground.wait(ground.now_s + _LOOK_S)
            if tunnels_s == math.inf and _whole(ground, strike):
                tunnels_s = round(ground.now_s - struck_s, 6)
            if tunnels_s != math.inf and _well(samples, struck_s, ground.now_s, settings):
                break
        samples += ground.end()
        ground.mend(strike)
        yield measure(number, samples, struck_s, tunnels_s)


def usual(ground: Ground, kind: Kind, settings: Settings) -> list[Strike]:
    """What is worth breaking: the PoPs that hold tunnel connections, or the overlay links that requests take."""
    if kind != "cut":
        pops, _ = ground.connections()
        return [Strike(kind, (pop,)) for pop in dict.fromkeys(sorted(pops))]
    once = [Arrival(0.1, visitor, settings.url) for visitor in settings.visitors]
    ground.begin(once, settings.timeout_s)
    samples = ground.wait(settings.timeout_s + 0.2) + ground.end()
    paths = [sample.path.split(">") for sample in sorted(samples, key=lambda one: one.visitor)]
    links = {tuple(sorted(ends)) for path in paths for ends in pairwise(path)}
    return [Strike(kind, ends) for ends in sorted(links)]


def requests(settings: Settings, until_s: float, rng: Random) -> list[Arrival]:
    """One request of each visitor in each interval, anywhere in it: nothing keeps step with probes."""
    found = [
        Arrival((turn + rng.random()) / settings.rate_per_s, visitor, settings.url)
        for visitor in settings.visitors
        for turn in range(math.ceil(until_s * settings.rate_per_s))
    ]
    return sorted(found, key=lambda arrival: (arrival.at_s, arrival.visitor))


def _whole(ground: Ground, strike: Strike) -> bool:
    # A connection to a PoP that is gone is up only until its connector finds out.
    pops, wanted = ground.connections()
    return sum(pop not in strike.targets for pop in pops) >= wanted


def _well(samples: Sequence[Sample], struck_s: float, now_s: float, settings: Settings) -> bool:
    """Whether everybody has been answered for a while."""
    end_s = now_s - _YOUNG_S
    begin_s = end_s - _WELL_S
    if now_s < struck_s + settings.least_s or begin_s < struck_s:
        return False
    asked = [sample for sample in samples if begin_s <= sample.t_s < end_s]
    wanted = int(_WELL_S * settings.rate_per_s) - 1
    return all(sample.ok for sample in asked) and all(
        sum(sample.visitor == visitor for sample in asked) >= wanted
        for visitor in settings.visitors
    )


def measure(number: int, samples: Iterable[Sample], at_s: float, tunnels_s: float | None) -> Event:
    """The figures of one event that happened at `at_s` on the samples' clock."""
    by_visitor: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda sample: sample.t_s):
        by_visitor.setdefault(sample.visitor, []).append(sample)
    # What was over before it broke is not of this event.
    concerned = {
        visitor: [one for one in all_ if one.t_s + one.total_s > at_s]
        for visitor, all_ in by_visitor.items()
    }
    failed = {v: [one for one in all_ if not one.ok] for v, all_ in concerned.items()}
    visitors = {
        visitor: Figures(
            round(_without(all_, at_s), 6),
            round(_first(all_, at_s), 6),
            round(_settled(all_, at_s), 6),
        )
        for visitor, all_ in sorted(concerned.items())
    }
    worst = Figures.worst(visitors.values())
    return Event(
        number,
        without_s=worst.without_s,
        first_s=worst.first_s,
        settled_s=worst.settled_s,
        tunnels_s=tunnels_s,
        requests=sum(map(len, concerned.values())),
        failed=sum(map(len, failed.values())),
        cut_off=tuple(sorted(visitor for visitor, all_ in failed.items() if all_)),
        visitors=visitors,
    )


def _answers(samples: Sequence[Sample]) -> list[float]:
    return sorted(one.t_s + one.total_s for one in samples if one.ok)


def _without(samples: Sequence[Sample], at_s: float) -> float:
    answers = _answers(samples)
    if not answers:
        return math.inf
    return max(after - before for before, after in pairwise([at_s, *answers]))


def _first(samples: Sequence[Sample], at_s: float) -> float:
    return min(_answers([one for one in samples if one.t_s >= at_s]), default=math.inf) - at_s


def _settled(samples: Sequence[Sample], at_s: float) -> float:
    last = max((one.t_s for one in samples if not one.ok), default=None)
    if last is None:
        return 0.0
    return min(_answers([one for one in samples if one.t_s > last]), default=math.inf) - at_s


@dataclass(frozen=True, slots=True)
class Distribution:
    """One figure of all events, sorted. `never` of them did not happen within the window."""

    name: str
    values: tuple[float, ...]

    @property
    def never(self) -> int:
        return sum(map(math.isinf, self.values))

    def at(self, percent: float) -> float:
        return quantile(self.values, percent)

    def to_dict(self) -> dict[str, Any]:
        figures: dict[str, Any] = {"events": len(self.values), "never": self.never}
        for percent in QUANTILES:
            value = self.at(percent)
            figures[f"p{percent}_s"] = round(value, 4) if math.isfinite(value) else None
        return figures


FIGURES = ("without_s", "first_s", "settled_s", "tunnels_s")


def distributions(events: Sequence[Event]) -> list[Distribution]:
    """Of every figure; what did not concern an event (no tunnel connection lost) is not in it."""
    found = []
    for name in FIGURES:
        values = [getattr(event, name) for event in events]
        found.append(Distribution(name, tuple(sorted(v for v in values if v is not None))))
    return found

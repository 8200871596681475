"""What a run came to: quantiles by city and host, shares of paths, failures by cause, how long who was cut off.

An outage of a visitor goes from the start of its first request that failed to the end of the next one that did
not; how finely it is seen is a matter of the rate. After each disturbance of the timeline: recovery is the time
until the last outage that it caused was over, convergence the time until no PoP's table and no catchment changed.
Pure: samples and times in, figures out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lab.load import Sample

N = TypeVar("N", int, float)
QUANTILES = (50, 90, 95, 99)


@dataclass(frozen=True, slots=True)
class Outage:
    visitor: str
    begin_s: float
    end_s: float  # infinite when it lasted to the end of the run

    @property
    def length_s(self) -> float:
        return self.end_s - self.begin_s


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Something that the timeline did, and when everybody had found around it."""

    at_s: float
    what: str
    converged_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Recovery:
    disturbance: Disturbance
    recovery_s: float
    cut_off: tuple[str, ...]

    @property
    def convergence_s(self) -> float | None:
        at = self.disturbance.converged_at_s
        return None if at is None else max(0.0, at - self.disturbance.at_s)


def quantile(values: Sequence[float], percent: float) -> float:
    """Of sorted values, by the nearest rank; not a number when there are none."""
    if not values:
        return math.nan
    return values[max(0, math.ceil(percent / 100 * len(values)) - 1)]


@dataclass(frozen=True, slots=True)
class Group:
    """Requests that have something in common."""

    requests: int
    failed: int
    total_s: tuple[float, ...]
    first_byte_s: tuple[float, ...]

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Group:
        all_ = list(samples)
        good = [sample for sample in all_ if sample.ok]
        return cls(
            len(all_),
            len(all_) - len(good),
            tuple(sorted(sample.total_s for sample in good)),
            tuple(sorted(sample.first_byte_s for sample in good)),
        )

    @property
    def availability(self) -> float:
        """0 to 1; not a number when nothing was asked."""
        return 1 - self.failed / self.requests if self.requests else math.nan

    @property
    def mean_s(self) -> float:
        return math.fsum(self.total_s) / len(self.total_s) if self.total_s else math.nan

    def to_dict(self) -> dict[str, Any]:
        figures: dict[str, Any] = {"requests": self.requests, "failed": self.failed}
        figures["availability_pct"] = _rounded(100 * self.availability)
        figures["mean_ms"] = _ms(self.mean_s)
        for percent in QUANTILES:
            figures[f"p{percent}_ms"] = _ms(quantile(self.total_s, percent))
        figures["max_ms"] = _ms(quantile(self.total_s, 100))
        for percent in QUANTILES:
            figures[f"ttfb_p{percent}_ms"] = _ms(quantile(self.first_byte_s, percent))
        return figures


@dataclass(frozen=True, slots=True)
class Summary:
    everything: Group
    visitors: Mapping[str, Group]
    hosts: Mapping[str, Group]
    paths: Mapping[str, float]
    causes: Mapping[str, int]
    statuses: Mapping[int, int]
    outages: tuple[Outage, ...]
    recoveries: tuple[Recovery, ...]
    facts: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.everything.to_dict(),
            "visitors": {name: group.to_dict() for name, group in self.visitors.items()},
            "hosts": {name: group.to_dict() for name, group in self.hosts.items()},
            "path_shares_pct": {name: _rounded(100 * share) for name, share in self.paths.items()},
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "failures": dict(self.causes),
            "outages": [
                {"visitor": one.visitor, "at_s": one.begin_s, "length_s": _seconds(one.length_s)}
                for one in self.outages
            ],
            "recoveries": [
                {
                    "at_s": one.disturbance.at_s,
                    "what": one.disturbance.what,
                    "recovery_s": _seconds(one.recovery_s),
                    "convergence_s": None
                    if one.convergence_s is None
                    else _seconds(one.convergence_s),
                    "cut_off": list(one.cut_off),
                }
                for one in self.recoveries
            ],
            **self.facts,
        }


def summarise(
    samples: Iterable[Sample],
    disturbances: Sequence[Disturbance] = (),
    facts: Mapping[str, float] | None = None,
) -> Summary:
    """`samples` in any order."""
    ordered = sorted(samples, key=lambda sample: (sample.t_s, sample.visitor, sample.url))
    good = [sample for sample in ordered if sample.ok]
    shares: dict[str, int] = {}
    for sample in good:
        shares[sample.path or "-"] = shares.get(sample.path or "-", 0) + 1
    causes: dict[str, int] = {}
    for sample in ordered:
        if sample.cause:
            causes[sample.cause] = causes.get(sample.cause, 0) + 1
    statuses: dict[int, int] = {}
    for sample in ordered:
        if sample.status:
            statuses[sample.status] = statuses.get(sample.status, 0) + 1
    outages = tuple(find_outages(ordered))
    return Summary(
        everything=Group.of(ordered),
        visitors=_groups(ordered, "visitor"),
        hosts=_groups(ordered, "host"),
        paths=_most_first({name: count / len(good) for name, count in shares.items()}),
        causes=_most_first(causes),
        statuses=dict(sorted(statuses.items())),
        outages=outages,
        recoveries=tuple(_recoveries(disturbances, outages)),
        facts=dict(facts or {}),
    )


def _groups(samples: Sequence[Sample], by: str) -> dict[str, Group]:
    names = sorted({str(getattr(sample, by)) for sample in samples})
    return {name: Group.of(s for s in samples if getattr(s, by) == name) for name in names}


def _most_first(counts: dict[str, N]) -> dict[str, N]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def find_outages(ordered: Sequence[Sample]) -> list[Outage]:
    """Of every visitor, in the order in which they begin."""
    begun: dict[str, float] = {}
    found: list[Outage] = []
    for sample in ordered:
        if not sample.ok:
            begun.setdefault(sample.visitor, sample.t_s)
        elif sample.visitor in begun:
            end = sample.t_s + sample.total_s
            found.append(Outage(sample.visitor, begun.pop(sample.visitor), round(end, 6)))
    found += [Outage(visitor, at, math.inf) for visitor, at in begun.items()]
    return sorted(found, key=lambda outage: (outage.begin_s, outage.visitor))


def _recoveries(
    disturbances: Sequence[Disturbance], outages: Sequence[Outage]
) -> Iterable[Recovery]:
    """An outage belongs to every disturbance that it was not over at, and began before the next one of."""
    ends = [each.at_s for each in disturbances[1:]] + [math.inf]
    for disturbance, end in zip(disturbances, ends, strict=False):
        at = disturbance.at_s
        # A request that was under way at the time of the disturbance may fail by it: it began a little before.
        mine = [one for one in outages if one.end_s > at and one.begin_s < end]
        lasted = max((one.end_s - at for one in mine), default=0.0)
        yield Recovery(disturbance, lasted, tuple(sorted({one.visitor for one in mine})))


def _ms(seconds: float) -> float | None:
    return None if math.isnan(seconds) else round(seconds * 1e3, 3)


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def _seconds(value: float) -> float | None:
    """JSON knows no infinity: None means that it never ended."""
    return None if math.isinf(value) else round(value, 6)

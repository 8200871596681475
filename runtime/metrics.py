"""Numbers for Prometheus, gathered when it asks.

Programs count in plain integers, because a metric object's lock and label look-up cost as much as parsing a request's
head; at a scrape they say what they counted. One registry per process object, never the library's global one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Counter:
    """`name` without `_total`; one value per set of labels, all with the same label names."""

    name: str
    help: str
    values: Sequence[tuple[Labels, float]]


@dataclass(frozen=True, slots=True)
class Gauge:
    name: str
    help: str
    values: Sequence[tuple[Labels, float]]


@dataclass(frozen=True, slots=True)
class Histogram:
    """`counts` has one more entry than `bounds`: what was above the last bound. Not cumulative."""

    name: str
    help: str
    bounds: Sequence[float]
    values: Sequence[tuple[Labels, Sequence[int], float]]
    """(labels, counts, sum)"""


Family = Counter | Gauge | Histogram


def registry(collect: Callable[[], Iterable[Family]], *, process: bool = True) -> CollectorRegistry:
    """A registry that asks `collect` at each scrape; with `process`, CPU, memory and descriptors too."""
    made = CollectorRegistry()
    made.register(_OnDemand(collect))
    if process:
        ProcessCollector(registry=made)
    return made


class _OnDemand(Collector):
    def __init__(self, collect: Callable[[], Iterable[Family]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        for family in self._collect():
            yield _metric(family)

    def describe(self) -> list[Metric]:
        """Nothing to check names against before the first scrape."""
        return []


def _metric(family: Family) -> Metric:
    names = sorted(family.values[0][0]) if family.values else []
    if isinstance(family, Histogram):
        histogram = HistogramMetricFamily(family.name, family.help, labels=names)
        edges = [*(f"{bound:g}" for bound in family.bounds), "+Inf"]
        for labels, counts, total in family.values:
            buckets = [
                (edge, float(count)) for edge, count in zip(edges, accumulate(counts), strict=True)
            ]
            histogram.add_metric([labels[name] for name in names], buckets, sum_value=total)
        return histogram
    kind = CounterMetricFamily if isinstance(family, Counter) else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=names)
    for labels, value in family.values:
        metric.add_metric([labels[name] for name in names], value)
    return metric

"""What must have held when a run ends: `p95(tokyo) < 250ms`, `availability >= 99.9%`, `recovered within 3s`.

    pN, mean, max        total time of requests that succeeded; ttfb_pN: to the first byte
    availability         share of requests that succeeded
    failed, requests     how many
    share(NRT>IAD>LHR)   share of the succeeded requests that took this path
    recovered            the longest time from a disturbance until nobody was cut off any more
    cut_off              the longest outage of any visitor, or of one: cut_off(tokyo)
    converged            the longest time from a disturbance until nothing changed any more

In brackets: a visitor or a host, else everything. Units: us, ms, s, m for times, % for shares, none for counts.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from lab.load_summary import Group, Summary, quantile

_TEXT = re.compile(
    r"\s*([a-z_]+?)([0-9]+(?:\.[0-9]+)?)?\s*(?:\(([^)]*)\))?\s*"
    r"(<=|>=|<|>|==|within)\s*([0-9]*\.?[0-9]+)\s*([a-z%]*)\s*"
)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "within": operator.le,
}
_TIMES = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_SHARES = {"%": 0.01}
_COUNTS = {"": 1.0}


class AssertionSyntaxError(Exception):
    """A line that cannot be understood; the text says what is allowed."""


@dataclass(frozen=True, slots=True)
class _Metric:
    units: dict[str, float]
    value: Callable[[Summary, float, str], float]
    ranked: bool = False


def _group(summary: Summary, name: str) -> Group:
    if not name:
        return summary.everything
    return summary.visitors.get(name) or summary.hosts.get(name) or Group(0, 0, (), ())


def _recovered(summary: Summary, _: float, name: str) -> float:
    return max((one.recovery_s for one in summary.recoveries), default=0.0)


def _converged(summary: Summary, _: float, name: str) -> float:
    known = [one.convergence_s for one in summary.recoveries]
    return max((math.nan if one is None else one for one in known), default=0.0)


def _cut_off(summary: Summary, _: float, name: str) -> float:
    return max((o.length_s for o in summary.outages if name in ("", o.visitor)), default=0.0)


_METRICS = {
    "p": _Metric(_TIMES, lambda s, n, name: quantile(_group(s, name).total_s, n), ranked=True),
    "ttfb_p": _Metric(
        _TIMES, lambda s, n, name: quantile(_group(s, name).first_byte_s, n), ranked=True
    ),
    "mean": _Metric(_TIMES, lambda s, n, name: _group(s, name).mean_s),
    "max": _Metric(_TIMES, lambda s, n, name: quantile(_group(s, name).total_s, 100)),
    "availability": _Metric(_SHARES, lambda s, n, name: _group(s, name).availability),
    "failed": _Metric(_COUNTS, lambda s, n, name: _group(s, name).failed),
    "requests": _Metric(_COUNTS, lambda s, n, name: _group(s, name).requests),
    "share": _Metric(_SHARES, lambda s, n, name: s.paths.get(name, 0.0)),
    "recovered": _Metric(_TIMES, _recovered),
    "cut_off": _Metric(_TIMES, _cut_off),
    "converged": _Metric(_TIMES, _converged),
}
ALLOWED = "p50 p95 p99 ... ttfb_p95 ... " + " ".join(
    name for name, metric in _METRICS.items() if not metric.ranked
)


@dataclass(frozen=True, slots=True)
class Verdict:
    text: str
    measured: str
    held: bool


@dataclass(frozen=True, slots=True)
class Assertion:
    """One line, understood. `bound` in the unit of the code."""

    text: str
    metric: str
    rank: float
    name: str
    comparison: str
    bound: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> Assertion:
        match = _TEXT.fullmatch(text)
        if match is None:
            raise AssertionSyntaxError(f"{text!r}: no comparison such as 'p95(tokyo) < 250ms'")
        metric, rank, name, comparison, number, unit = match.groups()
        known = _METRICS.get(metric)
        if known is None or known.ranked != (rank is not None):
            raise AssertionSyntaxError(f"{text!r}: found {metric}{rank or ''}, allowed: {ALLOWED}")
        factor = known.units.get(unit)
        if factor is None:
            allowed = ", ".join(known.units) or "no unit"
            raise AssertionSyntaxError(f"{text!r}: found unit {unit!r}, allowed: {allowed}")
        bound = float(number) * factor
        return cls(
            text.strip(), metric, float(rank or 0), (name or "").strip(), comparison, bound, unit
        )

    def check(self, summary: Summary) -> Verdict:
        """What was not measured does not hold."""
        known = _METRICS[self.metric]
        value = known.value(summary, self.rank, self.name)
        if math.isnan(value):
            return Verdict(self.text, "not measured", held=False)
        held = _COMPARE[self.comparison](value, self.bound)
        return Verdict(self.text, self._shown(value), held)

    def _shown(self, value: float) -> str:
        if math.isinf(value):
            return "never"
        factor = _METRICS[self.metric].units[self.unit]
        return f"{value / factor:.6g}{self.unit}"


def parse_all(texts: Iterable[str]) -> list[Assertion]:
    return [Assertion.parse(text) for text in texts]


def check_all(assertions: Iterable[Assertion], summary: Summary) -> list[Verdict]:
    return [assertion.check(summary) for assertion in assertions]


def junit(name: str, verdicts: Sequence[Verdict]) -> bytes:
    """The table as JUnit XML, for continuous integration."""
    failed = sum(not verdict.held for verdict in verdicts)
    suite = ElementTree.Element(
        "testsuite", name=name, tests=str(len(verdicts)), failures=str(failed)
    )
    for verdict in verdicts:
        case = ElementTree.SubElement(suite, "testcase", classname=name, name=verdict.text)
        if not verdict.held:
            ElementTree.SubElement(case, "failure", message=f"measured {verdict.measured}")
    text = ElementTree.tostring(suite, encoding="unicode", xml_declaration=False)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()

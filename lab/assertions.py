"""What must have held when a run ends: `p95(tokyo) < 250ms`, `availability >= 99.9%`, `recovered within 3s`.

The language is topology/assertions.py, what its words mean is docs/load.md; here they are measured. What was not
measured does not hold, whatever was claimed of it: a run in which nobody asked shows nothing.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from lab.load_summary import Group, Summary, quantile
from topology.assertions import METRICS, Assertion, AssertionSyntaxError

__all__ = ["Assertion", "AssertionSyntaxError", "Verdict", "check_all", "junit", "parse_all"]

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "within": operator.le,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    text: str
    measured: str
    held: bool


def _value(summary: Summary, metric: str, rank: float, name: str) -> float:
    """Not a number when it was not measured."""
    group = _group(summary, name)
    match metric:
        case "p":
            return quantile(group.total_s, rank)
        case "ttfb_p":
            return quantile(group.first_byte_s, rank)
        case "mean":
            return group.mean_s
        case "max":
            return quantile(group.total_s, 100)
        case "availability":
            return group.availability
        case "failed":
            return group.failed if group.requests else math.nan
        case "requests":
            return group.requests if summary.everything.requests else math.nan
        case "share":
            return summary.paths.get(name, 0.0) if summary.paths else math.nan
        case "cut_off":
            lengths = [one.length_s for one in summary.outages if name in ("", one.visitor)]
            return max(lengths, default=0.0) if group.requests else math.nan
        case "recovered":
            known = [one.recovery_s for one in summary.recoveries]
            return max(known, default=math.nan) if group.requests else math.nan
        case "converged":
            each = [one.convergence_s for one in summary.recoveries]
            found = [one for one in each if one is not None]
            return max(found) if found and len(found) == len(each) else math.nan
    raise AssertionError(metric)


def _group(summary: Summary, name: str) -> Group:
    if not name:
        return summary.everything
    found = summary.visitors.get(name) or summary.hosts.get(name.lower())
    return found or Group(0, 0, (), ())


def _check(one: Assertion, summary: Summary) -> Verdict:
    value = _value(summary, one.metric, one.rank, one.name)
    if math.isnan(value):
        return Verdict(one.text, "not measured", held=False)
    held = _COMPARE[one.comparison](round(value, 12), one.bound)
    if math.isinf(value):
        return Verdict(one.text, "never", held)
    factor = METRICS[one.metric].units[one.unit]
    return Verdict(one.text, f"{value / factor:.6g}{one.unit}", held)


def parse_all(texts: Iterable[str]) -> list[Assertion]:
    return [Assertion.parse(text) for text in texts]


def check_all(assertions: Iterable[Assertion], summary: Summary) -> list[Verdict]:
    return [_check(assertion, summary) for assertion in assertions]


def junit(name: str, verdicts: Sequence[Verdict], interrupted: str = "") -> bytes:
    """The table as JUnit XML, for continuous integration. A run that was `interrupted` has failed."""
    if interrupted:
        verdicts = [*verdicts, Verdict("the run came to its end", interrupted, held=False)]
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

"""The language of `assert`: `p95(tokyo) < 250ms`, `availability >= 99.9%`, `recovered within 3s`.

Here is what may be said and how it reads; what the words measure is in lab/assertions.py, and both are described in
docs/load.md. A line is a metric, perhaps a bracket, a comparison, a number with its unit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from topology.model_types import DURATION_UNITS
from topology.names import Names
from topology.problems import either, near_miss, shown

_TEXT = re.compile(
    r"\s*([a-z_]+?)([0-9]+(?:\.[0-9]+)?)?\s*(\([^()]*\))?\s*"
    r"(<=|>=|<|>|==|within)\s*([0-9]*\.?[0-9]+)\s*([a-z%]*)\s*"
)
_ALLOWED = "one comparison a line, such as p95(tokyo) < 250ms or availability >= 99.9%"
SHARES = {"%": 0.01}
COUNTS = {"": 1.0}


class Bracket(Enum):
    """What a metric may have, or must have, in brackets."""

    GROUP = "a visitor or a name in dns"
    VISITOR = "a visitor"
    PATH = "a path of PoPs"
    NONE = "nothing"


@dataclass(frozen=True, slots=True)
class Metric:
    units: Mapping[str, float]
    bracket: Bracket
    ranked: bool = False


METRICS = {
    "p": Metric(DURATION_UNITS, Bracket.GROUP, ranked=True),
    "ttfb_p": Metric(DURATION_UNITS, Bracket.GROUP, ranked=True),
    "mean": Metric(DURATION_UNITS, Bracket.GROUP),
    "max": Metric(DURATION_UNITS, Bracket.GROUP),
    "availability": Metric(SHARES, Bracket.GROUP),
    "failed": Metric(COUNTS, Bracket.GROUP),
    "requests": Metric(COUNTS, Bracket.GROUP),
    "share": Metric(SHARES, Bracket.PATH),
    "recovered": Metric(DURATION_UNITS, Bracket.NONE),
    "converged": Metric(DURATION_UNITS, Bracket.NONE),
    "cut_off": Metric(DURATION_UNITS, Bracket.VISITOR),
}
_NAMES = [f"{name}N" if metric.ranked else name for name, metric in METRICS.items()]


@dataclass(frozen=True, slots=True)
class Flaw:
    found: str
    allowed: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"found {self.found}; allowed: {self.allowed}{hint}"


class AssertionSyntaxError(Exception):
    """A line that cannot be understood: everything that is wrong with it."""

    def __init__(self, flaws: Iterable[Flaw]) -> None:
        self.flaws = tuple(flaws)
        super().__init__("\n".join(map(str, self.flaws)))


@dataclass(frozen=True, slots=True)
class Assertion:
    """One line, understood. `name` is what stood in brackets, "" for everything; `bound` in the unit of the code."""

    text: str
    metric: str
    rank: float
    name: str
    comparison: str
    bound: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> Assertion:
        """Raises AssertionSyntaxError."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise AssertionSyntaxError([Flaw(shown(text), _ALLOWED)])
        metric, rank, bracket, comparison, number, unit = match.groups()
        known = METRICS.get(metric)
        if known is None or known.ranked != (rank is not None):
            found = f"{shown(metric + (rank or ''))}, which is no metric"
            hint = "" if known else near_miss(metric, METRICS)
            raise AssertionSyntaxError([Flaw(found, either(_NAMES), hint)])
        name = _path(bracket) if known.bracket is Bracket.PATH else (bracket or "")[1:-1].strip()
        flaws = list(_flaws(known, metric, rank, bracket, name))
        if unit not in known.units:
            found = f"the unit {shown(unit)}" if unit else f"{number} without a unit"
            flaws.append(Flaw(found, either(known.units) if all(known.units) else "no unit"))
        elif known.units is SHARES and float(number) > 100:
            flaws.append(Flaw(f"{number}%", "0% to 100%"))
        elif comparison == "within" and known.units is not DURATION_UNITS:
            flaws.append(Flaw(f"{metric} within", "<, <=, >, >= or ==: only a time is within"))
        if flaws:
            raise AssertionSyntaxError(flaws)
        # 99.9% as it is written: 99.9 * 0.01 is a little more than 0.999.
        bound = round(float(number) * known.units[unit], 12)
        return cls(text.strip(), metric, float(rank or 0), name, comparison, bound, unit)

    def unknown(self, names: Names) -> Iterable[Flaw]:
        """What is in brackets and is nothing of this world."""
        kind = METRICS[self.metric].bracket
        if not self.name or kind is Bracket.NONE:
            return
        among, what, asked = [*names.visitors], "visitor", [self.name]
        if kind is Bracket.PATH:
            among, what, asked = [*names.pops], "PoP", self.name.split(">")
        elif kind is Bracket.GROUP:
            among, what = [*among, *names.hostnames], "visitor and no name in dns"
            if self.name.lower() in {host.lower() for host in names.hostnames}:
                return
        for name in asked:
            if name not in among:
                yield Flaw(
                    f"{shown(name)}, which is no {what}", either(among), near_miss(name, among)
                )


def _path(bracket: str | None) -> str:
    """`( NRT > LHR )` as the PoPs themselves write it."""
    return ">".join(part.strip() for part in (bracket or "")[1:-1].split(">"))


def _flaws(
    known: Metric, metric: str, rank: str | None, bracket: str | None, name: str
) -> Iterable[Flaw]:
    if rank is not None and not 0 < float(rank) <= 100:
        yield Flaw(f"{metric}{rank}", f"{metric}N with N above 0 and up to 100")
    match known.bracket:
        case Bracket.PATH if not name:
            yield Flaw(f"{metric} of no path", f"{metric}(LHR), {metric}(NRT>IAD>LHR): a path")
        case Bracket.NONE if bracket is not None:
            yield Flaw(f"{metric}{bracket}", f"{metric} without a bracket: it is of all visitors")
        case Bracket.GROUP | Bracket.VISITOR if bracket is not None and not name:
            yield Flaw(f"{metric}()", f"{known.bracket.value} in the bracket, or no bracket")

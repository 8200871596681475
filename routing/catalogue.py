"""The algorithms that have a name. Listed by hand: importing a module never registers anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from routing.algorithms import (
    bandit,
    direct,
    hubs,
    k_disjoint,
    load_aware,
    loss_aware,
    lowest_rtt,
    one_relay,
    race,
    sla,
    static,
    ttfb,
)
from routing.api import Decide
from routing.errors import UnknownAlgorithmError, UnknownParameterError


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A decision function, its name, its parameters with their defaults, and whether it learns from outcomes."""

    name: str
    decide: Decide
    params: Mapping[str, Any]
    learns: bool = False

    def with_params(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Merge `given` over the defaults.

        Raises UnknownParameterError for a name it does not have, or a value of another kind than the default.
        """
        for name, value in given.items():
            if name not in self.params:
                known = ", ".join(self.params) or "none"
                raise UnknownParameterError(
                    f"algorithm {self.name!r} has no parameter {name!r}; it has {known}"
                )
            kind = _kind(self.params[name])
            if _kind(value) != kind:
                raise UnknownParameterError(
                    f"algorithm {self.name!r}: parameter {name!r} is {value!r}; {kind} is needed"
                )
        return {**self.params, **given}


def _kind(value: object) -> str:
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a word"
        case list() | tuple():
            return "a list of words" if all(isinstance(item, str) for item in value) else "a list"
        case _:
            return "another kind of value"


CATALOGUE: Mapping[str, Algorithm] = {
    name: Algorithm(name, module.decide, module.PARAMS, learns=module in (race, bandit))
    for name, module in (
        ("direct", direct),
        ("static", static),
        ("lowest-rtt", lowest_rtt),
        ("one-relay", one_relay),
        ("ttfb", ttfb),
        ("loss-aware", loss_aware),
        ("k-disjoint", k_disjoint),
        ("sla", sla),
        ("race", race),
        ("load-aware", load_aware),
        ("bandit", bandit),
        ("hubs", hubs),
    )
}


def algorithm(name: str) -> Algorithm:
    """Look `name` up. Raises UnknownAlgorithmError, which lists what there is."""
    try:
        return CATALOGUE[name]
    except KeyError:
        raise UnknownAlgorithmError(name, tuple(CATALOGUE)) from None

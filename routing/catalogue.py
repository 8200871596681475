"""The algorithms that have a name. Listed by hand: importing a module never registers anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from routing.algorithms import direct, lowest_rtt, one_relay
from routing.api import Decide
from routing.errors import UnknownAlgorithmError, UnknownParameterError


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A decision function, its name, and its parameters with their defaults."""

    name: str
    decide: Decide
    params: Mapping[str, Any]

    def with_params(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Merge `given` over the defaults.

        Raises UnknownParameterError for a name it does not have or a value that is not a number where one stands.
        """
        for name, value in given.items():
            if name not in self.params:
                known = ", ".join(self.params) or "none"
                raise UnknownParameterError(
                    f"algorithm {self.name!r} has no parameter {name!r}; it has {known}"
                )
            if isinstance(self.params[name], float) and not isinstance(value, (int, float)):
                raise UnknownParameterError(
                    f"algorithm {self.name!r}: parameter {name!r} is {value!r}; a number is needed"
                )
        return {**self.params, **given}


CATALOGUE: Mapping[str, Algorithm] = {
    "direct": Algorithm("direct", direct.decide, direct.PARAMS),
    "lowest-rtt": Algorithm("lowest-rtt", lowest_rtt.decide, lowest_rtt.PARAMS),
    "one-relay": Algorithm("one-relay", one_relay.decide, one_relay.PARAMS),
}


def algorithm(name: str) -> Algorithm:
    """Look `name` up. Raises UnknownAlgorithmError, which lists what there is."""
    try:
        return CATALOGUE[name]
    except KeyError:
        raise UnknownAlgorithmError(name, tuple(CATALOGUE)) from None

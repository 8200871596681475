"""Which PoP is in which region: near PoPs alternate, so that both regions are near everyone.

A walk from the first PoP to the nearest one not yet seen gives each PoP the region that the last one
has not; a PoP whose region the file declares keeps it. Ties go by the order of the file.
"""

from __future__ import annotations

from collections.abc import Mapping

from topology.geo import great_circle_m

REGIONS = (1, 2)


def assign(
    places: Mapping[str, tuple[float, float]], declared: Mapping[str, int | None]
) -> dict[str, int]:
    """Region of every PoP. `places` are (latitude, longitude) in file order."""
    left = list(places)
    regions: dict[str, int] = {}
    last: str | None = None
    while left:
        here = left[0] if last is None else _closest(last, left, places)
        left.remove(here)
        fixed = declared.get(here)
        if fixed is not None:
            regions[here] = fixed
        elif last is not None:
            regions[here] = 3 - regions[last]
        else:
            # The first one takes the region that the fewest PoPs have been given by hand.
            given = [region for region in declared.values() if region is not None]
            regions[here] = min(REGIONS, key=given.count)
        last = here
    return {name: regions[name] for name in places}


def _closest(here: str, names: list[str], places: Mapping[str, tuple[float, float]]) -> str:
    return min(names, key=lambda name: great_circle_m(*places[here], *places[name]))

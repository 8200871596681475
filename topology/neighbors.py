"""Which PoPs are neighbours in the overlay when the file does not say.

A full mesh of n PoPs is n * (n - 1) pairs of TLS connections: fine for 32, far too much for 300. Above,
each PoP keeps its k nearest by RTT, and a few central hubs that are everyone's neighbours and so
make the overlay connected and two hops wide. Neighbourhood is always mutual.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

Rtt = Callable[[str, str], float]


def full_mesh(pops: Sequence[str]) -> dict[str, set[str]]:
    """Everyone with everyone."""
    return {pop: set(pops) - {pop} for pop in pops}


def nearest_and_hubs(pops: Sequence[str], rtt: Rtt, nearest: int, hubs: int) -> dict[str, set[str]]:
    """Ties go by the order of the file."""
    adjacent: dict[str, set[str]] = {pop: set() for pop in pops}
    central = pick_hubs(pops, rtt, hubs)
    for pop in pops:
        others = [other for other in pops if other != pop]
        near = sorted(others, key=partial(rtt, pop))[:nearest]
        for other in [*near, *central]:
            if other != pop:
                adjacent[pop].add(other)
                adjacent[other].add(pop)
    return adjacent


def pick_hubs(pops: Sequence[str], rtt: Rtt, count: int) -> list[str]:
    """Greedy k-median: each next hub is the PoP that most shortens everyone's way to a hub."""
    distance = {pop: float("inf") for pop in pops}
    chosen: list[str] = []
    for _ in range(min(count, len(pops))):
        best, best_sum = "", float("inf")
        for candidate in pops:
            if candidate in chosen:
                continue
            # A pair that is down counts as a way round the world and back, not as infinitely far:
            # one dead link must not disqualify a candidate for all others.
            total = sum(min(distance[pop], rtt(candidate, pop), 1.0) for pop in pops)
            if total < best_sum:
                best, best_sum = candidate, total
        chosen.append(best)
        for pop in pops:
            distance[pop] = min(distance[pop], rtt(best, pop))
    return chosen


def with_declared(
    adjacent: Mapping[str, set[str]], declared: Mapping[str, Sequence[str] | None]
) -> dict[str, set[str]]:
    """Declared neighbours replace those worked out, for the PoPs that declare any."""
    by_hand = {pop for pop, names in declared.items() if names is not None}
    kept = {pop: set() if pop in by_hand else others - by_hand for pop, others in adjacent.items()}
    for pop, names in declared.items():
        for other in names or ():
            kept[pop].add(other)
            kept[other].add(pop)
    return kept

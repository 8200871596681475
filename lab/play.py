"""What is the same for every way of playing a world: its length, what its timeline does when, who converged when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from lab.load_summary import Disturbance
from topology.happenings import Happening
from topology.plan import Plan

# After all that the timeline does, the world is watched for so long.
_AFTER_S = 60.0
# What changes how packets or requests go: nothing of it happening means that all have found their ways.
MOVES = frozenset(
    {
        "announced",
        "catchment_changed",
        "overlay_down",
        "overlay_up",
        "links_changed",
        "tunnel_connected",
        "tunnel_lost",
        "withdrawn",
    }
)


def length(plan: Plan) -> float:
    """Until everything the timeline does is over, and a minute more."""
    ends = [each.at_s + (each.for_s or 0.0) for each in plan.happenings()]
    return max(ends, default=0.0) + _AFTER_S


def seeded(plan: Plan, seed: int | None) -> Plan:
    """The same world with other luck."""
    if seed is None:
        return plan
    return Plan.of(msgspec.structs.replace(plan.world, seed=seed))


def what(happening: Happening) -> str:
    """One line for people, e.g. `kill LHR`."""
    kind = type(happening.what).__name__.lower()
    match msgspec.to_builtins(happening.what):
        case {"nodes": nodes}:
            return f"{kind} {' '.join(nodes)}"
        case {"links": links}:
            return f"{kind} {'-'.join(links[0])}"
        case {"changes": changes}:
            return f"set {changes[0]['source']}-{changes[0]['destination']}"
        case {"slopes": slopes}:
            return f"ramp {slopes[0]['source']}-{slopes[0]['destination']}"
        case {"groups": groups}:
            return "partition " + " | ".join(" ".join(group) for group in groups)
        case _:
            return kind


def disturbances(timeline: Iterable[Happening], until_s: float) -> list[tuple[float, str]]:
    """When the timeline does something, and when it takes it back."""
    found = []
    for happening in timeline:
        label = what(happening)
        found.append((happening.at_s, label))
        if happening.for_s is not None:
            found.append((happening.at_s + happening.for_s, f"end of {label}"))
    return sorted((at, label) for at, label in found if at < until_s)


def converged(found: Sequence[tuple[float, str]], moves: Sequence[float]) -> list[Disturbance]:
    """Each with the last move before the next one: after it, nothing looked for another way."""
    ends = [at for at, _ in found[1:]] + [float("inf")]
    result = []
    for (at, label), end in zip(found, ends, strict=False):
        mine = [move for move in moves if at <= move < end]
        result.append(Disturbance(at, label, round(max(mine, default=at), 6)))
    return result

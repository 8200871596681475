"""A random timeline: kills, silences, pauses, cuts and bad links, each undone after a while.

Some service is left at any time: at most a third of the PoPs is broken at once and never all of a region, and every
storm ends with calm in which all can heal. Follows from the seed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from lab.load import stream
from topology.happenings import (
    Change,
    Cut,
    Happening,
    Kill,
    Partition,
    Pause,
    SetLinks,
    Vanish,
    What,
)
from topology.plan import Plan

# The end of every storm is calm: withdrawn announcements, lost connections and damped routes have to come back.
CALM_S = 30.0
_EVERY_S = (2.0, 8.0)
_LASTS_S = (1.0, 12.0)


def storm(plan: Plan, seed: int, for_s: float) -> tuple[Happening, ...]:
    """What happens in `for_s` seconds, in order. Nothing begins or lasts in the calm at the end."""
    rng = stream(seed, plan.name, "storm")
    end_s = max(0.0, for_s - CALM_S)
    broken: list[tuple[float, str]] = []  # (until, PoP)
    found: list[Happening] = []
    at_s = rng.uniform(*_EVERY_S)
    while at_s < end_s:
        lasts_s = min(rng.uniform(*_LASTS_S), end_s - at_s)
        busy = {name for until, name in broken if until > at_s}
        what, hit = _pick(plan, rng, busy)
        if what is not None and lasts_s > 0.1:
            found.append(Happening(at_s=round(at_s, 3), for_s=round(lasts_s, 3), what=what))
            # Who comes back needs a moment before the next one may fall.
            broken += [(at_s + lasts_s + _EVERY_S[1], name) for name in hit]
        at_s += rng.uniform(*_EVERY_S)
    return tuple(found)


def _pick(plan: Plan, rng: Random, busy: set[str]) -> tuple[What | None, tuple[str, ...]]:
    """Something to happen, and the nodes that are out of order through it."""
    kinds: Sequence[Callable[[], tuple[What | None, tuple[str, ...]]]] = (
        lambda: _pop(plan, rng, busy, Kill),
        lambda: _pop(plan, rng, busy, Kill),
        lambda: _pop(plan, rng, busy, Vanish),
        lambda: _pop(plan, rng, busy, Pause),
        lambda: _link(plan, rng, busy, cut=True),
        lambda: _link(plan, rng, busy, cut=False),
        lambda: _line(plan, rng, busy),
        lambda: _island(plan, rng, busy),
    )
    return rng.choice(kinds)()


def _victims(plan: Plan, busy: set[str]) -> list[str]:
    """PoPs that may fall: enough are left, in every region."""
    pops = list(plan.pops)
    if len(busy & set(pops)) >= max(1, len(pops) // 3):
        return []
    found = []
    for pop in pops:
        region = plan.nodes[pop].region
        others = [o for o in pops if plan.nodes[o].region == region and o not in busy and o != pop]
        if pop not in busy and others:
            found.append(pop)
    return found


def _pop(
    plan: Plan, rng: Random, busy: set[str], how: type[Kill | Vanish | Pause]
) -> tuple[What | None, tuple[str, ...]]:
    victims = _victims(plan, busy)
    if not victims:
        return None, ()
    pop = rng.choice(victims)
    return how((pop,)), (pop,)


def _link(
    plan: Plan, rng: Random, busy: set[str], *, cut: bool
) -> tuple[What | None, tuple[str, ...]]:
    """Two PoPs part, or what is between them gets worse. One after the other: links are undone as declared."""
    a = rng.choice(list(plan.pops))
    b = rng.choice(list(plan.neighbors(a)) or [a])
    key = "-".join(sorted((a, b)))
    if a == b or key in busy:
        return None, ()
    if cut:
        return Cut(((a, b), (b, a))), (key,)
    worse = {
        "one_way_s": plan.link(a, b).one_way_s * rng.uniform(1.5, 4.0),
        "loss": rng.choice((0.0, 0.01, 0.05)),
        "jitter_s": rng.choice((0.0, 0.005)),
    }
    return SetLinks((Change(a, b, worse), Change(b, a, worse))), (key,)


def _line(plan: Plan, rng: Random, busy: set[str]) -> tuple[What | None, tuple[str, ...]]:
    """A site or a visitor is off for a moment, as when a modem starts anew."""
    names = [n for n, node in plan.nodes.items() if node.kind != "pop" and n not in busy]
    if not names:
        return None, ()
    name = rng.choice(names)
    return Vanish((name,)), (name,)


def _island(plan: Plan, rng: Random, busy: set[str]) -> tuple[What | None, tuple[str, ...]]:
    """One PoP sees visitors and sites, and no other PoP."""
    if "island" in busy or not (victims := _victims(plan, busy)):
        return None, ()
    pop = rng.choice(victims)
    rest = tuple(name for name in plan.pops if name != pop)
    return Partition(((pop,), rest)), (pop, "island")

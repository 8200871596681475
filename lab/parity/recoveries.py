"""The same PoP killed again and again: medians of what visitors and connectors notice within 20 %.

Or within the spacing of one visitor's requests, for no figure is finer than that. Figures are those of lab/recovery.
"""

from __future__ import annotations

from collections.abc import Sequence

from lab.driver import LabError
from lab.load import stream
from lab.parity.band import Pair
from lab.recovery.experiment import (
    FIGURES,
    Event,
    Ground,
    Settings,
    distributions,
    run,
    usual,
)
from topology.plan import Plan

SHARE = 0.2
_MOST_VISITORS = 3
_RATE_PER_S = 5.0
_NAMES = dict(
    zip(
        FIGURES,
        ("without an answer", "first answer", "nothing failed", "tunnels back"),
        strict=True,
    )
)


def settings(plan: Plan, url: str) -> Settings:
    """A few visitors, gently: this machine's own hurry is not what is compared."""
    visitors = tuple(plan.world.visitors)[:_MOST_VISITORS]
    least_s = max(4.0, plan.convergence_s + 1.0)
    return Settings(visitors, url, rate_per_s=_RATE_PER_S, least_s=least_s)


def events(ground: Ground, plan: Plan, chosen: Settings, count: int) -> list[Event]:
    """`count` times a kill of the PoPs that hold tunnel connections, at moments drawn by the world's seed."""
    strikes = usual(ground, "kill", chosen)
    if not strikes:
        raise LabError("no PoP holds a tunnel connection: nothing to kill")
    rng = stream(plan.seed, "parity")
    repeated = [strikes[number % len(strikes)] for number in range(count)]
    return list(run(ground, repeated, chosen, rng))


def compare(virtual: Sequence[Event], real: Sequence[Event], chosen: Settings) -> list[Pair]:
    least_s = 1 / chosen.rate_per_s
    return [
        Pair.of(f"kill: {_NAMES[ours.name]}", ours.values, theirs.values, SHARE, least_s)
        for ours, theirs in zip(distributions(virtual), distributions(real), strict=True)
        if ours.values or theirs.values
    ]

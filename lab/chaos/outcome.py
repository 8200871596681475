"""What a storm leaves: the promises with what was seen, and the requests in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from lab.chaos.promises import Promise
from lab.load import Sample
from topology.model_load import Load
from topology.plan import Plan

# Small and large bodies; every third request may not be repeated.
RATE_PER_S = 20.0
_SIZES = (200, 2_000, 50_000)
_METHODS = {"GET": 2.0, "POST": 1.0}


@dataclass(frozen=True, slots=True)
class Outcome:
    seed: int
    for_s: float
    happenings: int
    requests: int
    failed: int
    causes: dict[str, int]
    promises: tuple[Promise, ...]

    @property
    def kept(self) -> bool:
        return all(promise.kept for promise in self.promises)

    def to_dict(self) -> dict[str, Any]:
        return {
            **msgspec.to_builtins(self),
            "kept": self.kept,
            "promises": [
                msgspec.to_builtins(promise)
                | {"kept": promise.kept if promise.checked or promise.broken else None}
                for promise in self.promises
            ],
        }


def outcome(
    seed: int,
    for_s: float,
    happenings: int,
    samples: Sequence[Sample],
    promises: Sequence[Promise],
) -> Outcome:
    causes = Counter(sample.cause for sample in samples if sample.cause)
    return Outcome(
        seed,
        for_s,
        happenings,
        len(samples),
        causes.total(),
        dict(causes.most_common(8)),
        tuple(promises),
    )


def loaded(plan: Plan, seed: int) -> Plan:
    """The world with the requests of a storm: each with a name of its own, to every host that leads somewhere."""
    hosts = sorted(plan.world.dns)
    load = Load(
        rate_per_s=RATE_PER_S,
        mix={f"https://{host}/once/{seed}-{{id}}/{{size}}": 1.0 for host in hosts},
        sizes=_SIZES,
        methods=_METHODS,
        keep_alive=True,
        timeout=20.0,
    )
    return Plan.of(msgspec.structs.replace(plan.world, load=load, seed=seed))

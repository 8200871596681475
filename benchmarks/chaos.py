"""Storms over the default world in virtual time, one a seed: which promises broke, and what a storm costs.

Three seeds of a minute each. A hundred of ten minutes: POPNET_CHAOS_SEEDS=100 POPNET_CHAOS_FOR_S=600.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks.report import Row
from lab.chaos import virtual
from topology.load import load_world
from topology.plan import Plan

DEFAULT = Path(__file__).resolve().parents[1] / "topology.yaml"
SEEDS = int(os.environ.get("POPNET_CHAOS_SEEDS", "3"))
FOR_S = float(os.environ.get("POPNET_CHAOS_FOR_S", "60"))


def run() -> list[Row]:
    plan = Plan.of(load_world(DEFAULT))
    begun = time.process_time()
    told = [virtual.play(plan, seed, FOR_S) for seed in range(1, SEEDS + 1)]
    spent = time.process_time() - begun
    broken = [
        f"seed {one.seed}: {promise.name}"
        for one in told
        for promise in one.promises
        if not promise.kept
    ]
    requests = sum(one.requests for one in told)
    failed = sum(one.failed for one in told)
    about = f"{SEEDS} storms of {FOR_S:g} s"
    return [
        Row("chaos: promises broken", len(broken), "", 0, ", ".join(broken[:5]) or about),
        Row("chaos: happenings", sum(one.happenings for one in told), ""),
        Row("chaos: requests", requests, ""),
        Row("chaos: requests failed", 100 * failed / max(1, requests), "%"),
        Row("chaos: CPU of a storm", spent / max(1, SEEDS), "s"),
    ]

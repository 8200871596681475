"""Declared against measured round trips, by echoes from inside the nodes.

What is judged is the floor: the tenth part of the echoes that was fastest took no longer. A busy machine makes some
echoes late, by the time that a process waits for a processor; it makes none early. The error of the network is what
all of them have in common. With jitter on the way the floor is the luckiest and not the declared: then the median is
judged, as it always is shown.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lab.driver import Lab, LabError
from lab.load_summary import quantile
from lab.rtts import current_rtts

ABSOLUTE_S = 0.0005
RELATIVE = 0.02
FLOOR_PERCENT = 10
_INTERVAL_S = 0.1

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Check:
    """One pair. `measured_s` is what is judged, the floor or the median; None: no echo came back."""

    a: str
    b: str
    declared_s: float
    measured_s: float | None
    median_s: float | None
    echoes: int

    @classmethod
    def of(cls, a: str, b: str, declared_s: float, rtts_s: list[float], *, jitter: bool) -> Check:
        if not rtts_s:
            return cls(a, b, declared_s, None, None, 0)
        median = statistics.median(rtts_s)
        floor = quantile(sorted(rtts_s), FLOOR_PERCENT)
        return cls(a, b, declared_s, median if jitter else floor, median, len(rtts_s))

    @property
    def error_s(self) -> float | None:
        return None if self.measured_s is None else self.measured_s - self.declared_s

    @property
    def ok(self) -> bool:
        """Within max(0.5 ms, 2 %). A pair that is declared down must not answer."""
        if math.isinf(self.declared_s) or self.error_s is None:
            return math.isinf(self.declared_s) and self.measured_s is None
        return abs(self.error_s) <= max(ABSOLUTE_S, RELATIVE * self.declared_s)

    def to_dict(self) -> dict[str, Any]:
        declared_ms = None if math.isinf(self.declared_s) else round(self.declared_s * 1e3, 3)
        return {
            "a": self.a,
            "b": self.b,
            "declared_ms": declared_ms,
            "measured_ms": None if self.measured_s is None else round(self.measured_s * 1e3, 3),
            "median_ms": None if self.median_s is None else round(self.median_s * 1e3, 3),
            "error_ms": None
            if self.error_s is None or math.isinf(self.error_s)
            else round(self.error_s * 1e3, 3),
            "echoes": self.echoes,
            "ok": self.ok,
        }


def pairs_in_use(lab: Lab) -> list[Pair]:
    """Overlay neighbours, visitors and where they land, sites and the PoPs that hold their connections.

    Only nodes that run: a killed PoP has nobody who could answer.
    """
    plan = lab.plan
    alive = {row["node"] for row in lab.wan("status")["nodes"] if row["attached"]}
    pairs: dict[Pair, None] = {}
    for pop in plan.pops:
        for neighbor in plan.neighbors(pop):
            if (neighbor, pop) not in pairs:
                pairs[pop, neighbor] = None
    for row in lab.wan("catchment")["rows"]:
        if row["lands"] is not None:
            pairs[row["visitor"], row["lands"]] = None
    for pop in plan.pops:
        if pop in alive:
            for site in sites_connected_to(lab, pop):
                pairs[site, pop] = None
    return [pair for pair in pairs if alive.issuperset(pair)]


def sites_connected_to(lab: Lab, pop: str) -> list[str]:
    """Sites whose connectors hold a connection at `pop`; none when the PoP does not answer."""
    try:
        tunnels = lab.admin(pop, "GET", "/tunnels").json()
    except LabError:
        return []
    return sorted({entry["site"] for entry in tunnels if entry["site"] in lab.plan.world.sites})


def measure(lab: Lab, pairs: Iterable[Pair], count: int) -> list[Check]:
    """Send `count` echoes over every pair, all pairs at once but gently: ten a second each.

    Every probe waits until all are ready, so that none is measured while the others' interpreters start.
    """
    targets: dict[str, dict[str, str]] = defaultdict(dict)
    listed = list(pairs)
    for a, b in listed:
        targets[a][b] = lab.plan.nodes[b].address
    rtts = current_rtts(lab)
    wait_s = max([1.0, *(2 * rtts(a, b) for a, b in listed if math.isfinite(rtts(a, b)))])
    probes: dict[str, subprocess.Popen[str]] = {}
    try:
        for node, peers in targets.items():
            probes[node] = probe = lab.popen(
                node,
                [sys.executable, "-m", "lab.probes.echo"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert probe.stdin is not None
            task = {"targets": peers, "count": count, "interval_s": _INTERVAL_S, "wait_s": wait_s}
            probe.stdin.write(json.dumps(task) + "\n")
            probe.stdin.flush()
        for node, probe in probes.items():
            assert probe.stdout is not None
            if probe.stdout.readline() != "ready\n":
                raise LabError(f"the echo probe in {node} did not start")
        answers = _collect(probes)
    finally:
        for probe in probes.values():
            probe.kill()
            probe.wait()
    jittery = _jittery(lab, listed)
    return [Check.of(a, b, rtts(a, b), answers[a][b], jitter=(a, b) in jittery) for a, b in listed]


def _jittery(lab: Lab, pairs: list[Pair]) -> set[Pair]:
    """Pairs whose delay varies by declaration: at an access line or on the link, there or back."""
    ways = [(a, b) for pair in pairs for a, b in (pair, pair[::-1])]
    lines = [way for node in {name for pair in pairs for name in pair} for way in _access(node)]
    told = lab.wan("links", pairs=[list(way) for way in ways + lines])["links"]
    varying = {(row["from"], row["to"]) for row in told if row["current"]["jitter_s"]}
    return {
        (a, b)
        for a, b in pairs
        if not varying.isdisjoint([(a, b), (b, a), *_access(a), *_access(b)])
    }


def _access(node: str) -> tuple[Pair, Pair]:
    return (node, ""), ("", node)


def _collect(probes: dict[str, subprocess.Popen[str]]) -> dict[str, dict[str, list[float]]]:
    for probe in probes.values():
        assert probe.stdin is not None
        probe.stdin.write("go\n")
        probe.stdin.flush()
    answers = {}
    for node, probe in probes.items():
        output, _ = probe.communicate()
        if probe.returncode != 0:
            raise LabError(f"the echo probe in {node} failed")
        answers[node] = json.loads(output)
    return answers

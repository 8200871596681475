"""Routing on one core: all pairs by NumPy, numba and networkx in one run, one changed row, a look-up, a recomputation.

Times are CPU seconds of this process; of several runs the median, so that a busy machine does not count.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import networkx as nx
import numpy as np

from benchmarks.report import Row
from routing.allpairs import Costs, Engine, all_pairs, has_numba
from routing.api import Exit, MeasuredLink
from routing.catalogue import algorithm
from routing.graph import latency_graph
from routing.table import RouteTable

POPS = 330
RUNS, UPDATES, LOOKUPS = 9, 60, 200_000
BOUNDS_MS = {"numpy": (40.0, 10.0), "numba": (8.0, 1.0)}


def plausible(count: int) -> Costs:
    """PoPs on a plane, all of them neighbours, with detours as networks have them."""
    numbers = np.random.default_rng(1)
    places = numbers.random((count, 2))
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    costs = 0.004 + 0.2 * apart * (1 + 0.6 * numbers.random((count, count)))
    np.fill_diagonal(costs, np.inf)
    return np.asarray(costs)


def taken_ms(work: Callable[[], Any], runs: int) -> float:
    found = []
    for _ in range(runs):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return 1e3 * median(found)


def pairs(costs: Costs, engine: Engine) -> list[Row]:
    whole_ms, row_ms = BOUNDS_MS[engine]
    found = all_pairs(costs, engine)  # compiled, where it has to be
    found.update(0, costs[0] * 1.01)
    rows = [
        Row(
            f"all pairs with next hop, {POPS} PoPs, {engine}",
            taken_ms(lambda: all_pairs(costs, engine), RUNS),
            "ms",
            whole_ms,
        )
    ]
    numbers = np.random.default_rng(2)
    sources = iter(numbers.integers(0, POPS, UPDATES))

    def change() -> None:
        source = int(next(sources))
        found.update(source, costs[source] * (1 + 0.1 * (numbers.random(POPS) - 0.5)))

    took = taken_ms(change, UPDATES)
    return [
        *rows,
        Row(f"one row of {POPS} changed, {engine}", took, "ms", row_ms, "every link by up to 5 %"),
    ]


def dijkstra(costs: Costs) -> Row:
    graph = latency_graph(
        "0",
        (
            MeasuredLink(str(a), str(b), float(costs[a, b]))
            for a in range(POPS)
            for b in range(POPS)
            if a != b
        ),
    )
    some = 20  # of as many sources, for the patience of who waits
    took = taken_ms(
        lambda: [
            nx.single_source_dijkstra(graph, str(source), weight="rtt_s") for source in range(some)
        ],
        1,
    )
    return Row(
        f"all pairs, {POPS} PoPs, networkx Dijkstra",
        took * POPS / some,
        "ms",
        None,
        f"{some} sources, times {POPS / some:g}",
    )


def table(pops: int, degree: int) -> RouteTable:
    numbers = random.Random(1)
    names = [f"P{number:03}" for number in range(pops)]
    links = [
        MeasuredLink(a, b, numbers.uniform(0.005, 0.2))
        for a in names
        for b in numbers.sample(names, min(degree, pops))
        if a != b
    ]
    made = RouteTable("P000", algorithm("one-relay"), {}, max_relays=6, rng=numbers)
    made.set_links(links)
    made.set_exits({f"t{number}": [Exit(names[-1 - number], "c0", 0.01)] for number in range(4)})
    made.recompute(0.0)
    return made


def lookup() -> Row:
    made = table(8, 8)
    routes = made.routes

    def ask() -> None:
        for _ in range(LOOKUPS):
            routes("t0")

    return Row("route look-up", taken_ms(ask, 5) * 1e3 / LOOKUPS, "us", 2.0)


def recomputation(pops: int, degree: int) -> Row:
    made = table(pops, degree)
    took = taken_ms(lambda: made.recompute(0.0), RUNS)
    return Row(f"one-relay, 4 tunnels, {pops} PoPs with {degree} neighbours", took, "ms")


_SIZE = """
import sys
{before}
for line in open("/proc/self/smaps_rollup"):
    if line.startswith("Private_Dirty"):
        print(line.split()[1])
print("numpy" in sys.modules)
"""


def memory() -> list[Row]:
    """What all pairs cost a process that imports what a PoP does; `lab` measures PoPs at work."""
    rows = []
    for name, before in (
        ("a PoP's imports", "import pops.process"),
        ("and all pairs by NumPy", "import pops.process, routing.allpairs"),
    ):
        size, numpy = subprocess.run(
            [sys.executable, "-c", _SIZE.format(before=before)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        note = "NumPy is in it" if numpy == "True" else "without NumPy"
        rows.append(Row(f"memory of its own: {name}", int(size) / 1024, "MB", None, note))
    return rows


def run() -> list[Row]:
    costs = plausible(POPS)
    rows = pairs(costs, "numpy")
    if has_numba():
        rows += pairs(costs, "numba")
    rows += [dijkstra(costs), lookup(), recomputation(8, 8), recomputation(100, 12)]
    return rows + (memory() if sys.platform == "linux" else [])

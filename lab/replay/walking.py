"""Any algorithm on a sample: `decide` at each PoP of it, with the PoPs' own damping.

Each source is a PoP with a memory and luck of its own; each of its destinations is a tunnel whose one exit is there.
After a slice it hears how its requests fared: one to each destination over the path in force, its time to the first
byte being the RTT of that path in the slice, hops included.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.driver import LabError
from lab.replay.dense import NONE, Pairs, Relays
from routing.api import Exit, MeasuredLink, Outcome, Path, Routes, RoutingState
from routing.catalogue import Algorithm
from routing.damping import Damper, Damping, Wish
from routing.errors import AlgorithmError
from routing.explain import DRIFT
from routing.graph import latency_graph
from routing.table import decided

Graph = Any
"""What `routing.graph` makes; networkx is imported in `routing` only."""

_EXIT = "c0"


def graph_of(names: Sequence[str], rtts: NDArray[np.float64], samples: int) -> Graph:
    """Links of the finite entries, in seconds."""
    rows = rtts.tolist()
    links = [
        MeasuredLink(a, b, rtt_s, samples=samples)
        for a, row in zip(names, rows, strict=True)
        for b, rtt_s in zip(names, row, strict=True)
        if a != b and rtt_s != np.inf
    ]
    return latency_graph(names[0], links)


class _Pop:
    """One source: what its algorithm remembers, and its routes."""

    def __init__(self, name: str, destinations: Sequence[str], damping: Damping, seed: str) -> None:
        self.name = name
        self.memory: dict[str, Any] = {}
        self.rng = random.Random(seed)
        self.damper = Damper(damping)
        self.tunnels = {to: (Exit(to, _EXIT, 0.0),) for to in sorted(destinations)}
        self.routes: dict[str, tuple[Path, ...]] = {}
        self.measured: dict[str, float] = {}
        self.outcomes: tuple[Outcome, ...] = ()

    def state(self, graph: Graph, seq: int, now: float, params: Mapping[str, Any]) -> RoutingState:
        return RoutingState(
            me=self.name,
            now=now,
            seq=seq,
            graph=graph,
            tunnels=MappingProxyType(self.tunnels),
            previous=MappingProxyType(dict(self.routes)),
            outcomes=self.outcomes,
            memory=self.memory,
            rng=self.rng,
            params=params,
        )

    def adopt(self, routes: Routes, graph: Graph, now: float) -> None:
        wishes = []
        for tunnel in self.tunnels:
            ranked = list(routes.get(tunnel, ()))
            best = next(iter(self.routes.get(tunnel, ())), None)
            current = best and self._now(best, tunnel, ranked, graph)
            wishes.append(Wish(tunnel, current, ranked, known=best is not None))
        verdicts = self.damper.judge(wishes, frozenset(), now)
        self.routes = {
            tunnel: (verdict.path,) for tunnel, verdict in verdicts.items() if verdict.path
        }
        self.measured = {
            tunnel: _rtt_s(paths[0], graph) for tunnel, paths in self.routes.items() if paths
        }

    def _now(self, best: Path, tunnel: str, ranked: Sequence[Path], graph: Graph) -> Path:
        """The path in force at its present cost: as it is listed, else what it did and its links have changed by."""
        listed = next((path for path in ranked if path.way == best.way), None)
        if listed is not None:
            return listed
        drift_s = _rtt_s(best, graph) - self.measured[tunnel] + best.terms.get(DRIFT, 0.0)
        return Path(best.pops, best.connection, {**best.terms, DRIFT: drift_s})


def _rtt_s(path: Path, graph: Graph) -> float:
    return sum(float(graph[a][b]["rtt_s"]) for a, b in pairwise(path.pops))


class Walking:
    """One algorithm at each source of a sample."""

    def __init__(
        self,
        algorithm: Algorithm,
        params: Mapping[str, Any],
        names: Sequence[str],
        pairs: Pairs,
        damping: Damping,
        seed: int,
    ) -> None:
        self._algorithm = algorithm
        self._params = MappingProxyType(dict(params))
        self._names = names
        self._index = {name: index for index, name in enumerate(names)}
        self._pairs = pairs
        by_source: dict[str, list[str]] = {}
        for a, b in zip(pairs.source, pairs.destination, strict=True):
            by_source.setdefault(names[a], []).append(names[b])
        self._pops = {
            name: _Pop(name, to, damping, f"{seed}/{algorithm.name}/{name}")
            for name, to in by_source.items()
        }

    def decide(self, graph: Graph, seq: int, now: float) -> Relays:
        """The paths in force from now on. Raises LabError when the algorithm does not give any."""
        for pop in self._pops.values():
            state = pop.state(graph, seq, now, self._params)
            where = f"at {pop.name} in slice {seq}"
            try:
                routes = decided(self._algorithm, state)
            except AlgorithmError as error:
                raise LabError(f"{error} {where}") from error
            _check(self._algorithm.name, routes, state, where)
            pop.adopt(routes, graph, now)
        rows = []
        for a, b in zip(self._pairs.source, self._pairs.destination, strict=True):
            path = next(iter(self._pops[self._names[a]].routes.get(self._names[b], ())), None)
            rows.append([self._index[name] for name in path.pops[1:-1]] if path else [])
        width = max(1, *(len(row) for row in rows)) if rows else 1
        return np.array([row + [NONE] * (width - len(row)) for row in rows], np.int32)

    def hear(self, ttfb_s: NDArray[np.float64]) -> None:
        """How the requests of a slice fared, in the order of the pairs; not finite: no answer."""
        found: dict[str, list[Outcome]] = {}
        for a, b, took in zip(self._pairs.source, self._pairs.destination, ttfb_s, strict=True):
            source, tunnel = self._names[a], self._names[b]
            for path in self._pops[source].routes.get(tunnel, ())[:1]:
                ok = bool(np.isfinite(took))
                found.setdefault(source, []).append(
                    Outcome(tunnel, path.pops, path.connection, float(took) if ok else 0.0, ok)
                )
        for name, pop in self._pops.items():
            pop.outcomes = tuple(found.get(name, ()))


def _check(name: str, routes: object, state: RoutingState, where: str) -> None:
    """An algorithm is foreign code: what it returns is looked at before it is used. Raises LabError."""
    if not isinstance(routes, Mapping):
        raise LabError(
            f"algorithm {name!r}: returned a {type(routes).__name__} {where}, not a dict"
        )
    for tunnel, paths in routes.items():
        if not isinstance(paths, (list, tuple)) or tunnel not in state.tunnels:
            raise LabError(f"algorithm {name!r}: {tunnel!r} {where}: no list of paths to a tunnel")
        for path in paths:
            if not isinstance(path, Path):
                raise LabError(f"algorithm {name!r}: {path!r} {where} is no Path")
            pops = path.pops
            good = (
                (pops[:1], pops[-1:]) == ((state.me,), (tunnel,))
                and len(set(pops)) == len(pops)
                and path.connection == _EXIT
                and all(state.graph.has_edge(a, b) for a, b in pairwise(pops))
                and np.isfinite(path.cost_s)
            )
            if not good:
                raise LabError(
                    f"algorithm {name!r}: {path} {where} has a loop, a link that is not there, another end, or no cost"
                )

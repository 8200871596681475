"""One PoP's routing table: what it knows goes in, ranked paths come out.

The table never trusts an algorithm. What it returns is checked path by path; when it raises or returns nonsense,
the last good table stays in force and, where that has nothing for a tunnel, the direct paths.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from routing.algorithms import direct
from routing.api import Exit, Path, Routes, RoutingState
from routing.catalogue import Algorithm
from routing.errors import AlgorithmError
from routing.graph import DirectedRtt, latency_graph


@dataclass(frozen=True, slots=True)
class TableSnapshot:
    """What the table holds: the algorithm, how often it ran, its last error, and the paths by tunnel."""

    me: str
    algorithm: str
    seq: int
    error: str | None
    routes: Mapping[str, tuple[Path, ...]]

    def __str__(self) -> str:
        best = "; ".join(f"{tunnel}: {paths[0]}" for tunnel, paths in self.routes.items() if paths)
        return f"{self.me} {self.algorithm} #{self.seq} {best or 'no routes'}"


class RouteTable:
    """Ranked paths from `me` to every tunnel, recomputed when links or exits change.

    `max_relays` bounds what is accepted: a path longer than that is refused. `set_links` and `set_exits` replace
    what was known; the next `routes` computes.
    """

    def __init__(
        self,
        me: str,
        algorithm: Algorithm,
        params: Mapping[str, Any],
        *,
        max_relays: int,
        rng: random.Random,
    ) -> None:
        self._me = me
        self._algorithm = algorithm
        self._params = algorithm.with_params(params)
        self._max_relays = max_relays
        self._rng = rng
        self._memory: dict[str, Any] = {}
        self._graph = latency_graph(me, ())
        self._exits: dict[str, tuple[Exit, ...]] = {}
        self._routes: dict[str, tuple[Path, ...]] = {}
        self._seq = 0
        self._dirty = False
        self._error: str | None = None

    def set_links(self, links: Iterable[DirectedRtt]) -> None:
        self._graph = latency_graph(self._me, links)
        self._dirty = True

    def set_exits(self, exits: Mapping[str, Sequence[Exit]]) -> None:
        self._exits = {tunnel: tuple(exits[tunnel]) for tunnel in sorted(exits)}
        self._dirty = True

    def routes(self, tunnel: str, now: float) -> tuple[Path, ...]:
        """Paths to `tunnel`, best first; empty when there is none."""
        if self._dirty:
            self._recompute(now)
        return self._routes.get(tunnel, ())

    def snapshot(self, now: float) -> TableSnapshot:
        if self._dirty:
            self._recompute(now)
        return TableSnapshot(self._me, self._algorithm.name, self._seq, self._error, self._routes)

    def _recompute(self, now: float) -> None:
        self._dirty = False
        self._seq += 1
        state = RoutingState(
            me=self._me,
            now=now,
            seq=self._seq,
            graph=self._graph,
            tunnels={
                # A draining connection takes no new request while another one is there to take it.
                tunnel: tuple(leave for leave in exits if not leave.draining) or exits
                for tunnel, exits in self._exits.items()
            },
            previous=self._routes,
            params=self._params,
            memory=self._memory,
            rng=self._rng,
        )
        try:
            self._routes = self._checked(self._decide(state), state)
            self._error = None
        except AlgorithmError as error:
            self._error = str(error)
            self._routes = self._fallback(state)

    def _decide(self, state: RoutingState) -> Routes:
        try:
            return self._algorithm.decide(state)
        # An algorithm is foreign code: whatever it raises must not stop this PoP.
        except Exception as error:
            raise AlgorithmError(
                self._algorithm.name, f"raised {type(error).__name__}: {error}"
            ) from error

    def _checked(self, routes: Routes, state: RoutingState) -> dict[str, tuple[Path, ...]]:
        if not isinstance(routes, Mapping):
            raise AlgorithmError(
                self._algorithm.name, f"returned a {type(routes).__name__}, not a mapping"
            )
        for tunnel, paths in routes.items():
            for path in paths:
                if problem := self._problem(tunnel, path, state):
                    raise AlgorithmError(self._algorithm.name, f"for {tunnel}, {path}: {problem}")
        return {tunnel: tuple(paths) for tunnel, paths in routes.items()}

    def _problem(self, tunnel: str, path: object, state: RoutingState) -> str | None:
        """Say what is wrong with `path`, if anything."""
        if not isinstance(path, Path):
            return f"a {type(path).__name__}, not a Path"
        pops = path.pops
        if not pops or pops[0] != self._me:
            return f"does not start at {self._me}"
        if len(set(pops)) != len(pops):
            return "passes a PoP twice"
        if len(pops) - 2 > self._max_relays:
            return f"has {len(pops) - 2} relays, at most {self._max_relays} are allowed"
        for a, b in itertools.pairwise(pops):
            if not state.graph.has_edge(a, b):
                return f"there is no link {a} to {b}"
        exits = state.tunnels.get(tunnel, ())
        if not any(
            leave.pop == pops[-1] and leave.connection == path.connection for leave in exits
        ):
            return f"{pops[-1]} has no connection {path.connection}"
        return None

    def _fallback(self, state: RoutingState) -> dict[str, tuple[Path, ...]]:
        """Keep what still holds of the last table, then the direct paths."""
        straight = direct.decide(state)
        kept = {}
        for tunnel in state.tunnels:
            old = [p for p in self._routes.get(tunnel, ()) if not self._problem(tunnel, p, state)]
            ways = {(path.pops, path.connection) for path in old}
            fresh = [p for p in straight.get(tunnel, ()) if (p.pops, p.connection) not in ways]
            kept[tunnel] = (*old, *fresh)
        return kept

"""One PoP's routing table: what it knows goes in, ranked paths come out.

The table never trusts an algorithm. What it returns is checked path by path; when it raises or returns nonsense,
the last good table stays in force and, where that has nothing for a tunnel, the direct paths.

    set_links, set_loads, set_exits, outcome       what is known; makes the table `due`
    begin(now) -> state                            a frozen picture of it, for the algorithm, wherever that runs
    accept(state, routes, now) | fail(...)         its answer, checked, or why there is none
    routes(tunnel)                                 what the data path asks for every request

Between news and the answer to it the table is already right about one thing: a path whose link or connection is
gone is not offered again.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from routing.algorithms import direct
from routing.api import Exit, MeasuredLink, Outcome, Path, Routes, RoutingState
from routing.catalogue import Algorithm
from routing.damping import Damper, Damping, Hop, Reason, Refusal, Wish
from routing.errors import AlgorithmError
from routing.explain import DRIFT, Explanation, Runs, Standing, driven, explaining
from routing.graph import LatencyGraph, Load

# Paths kept of one tunnel. A retry never gets that far down the list.
MOST_PATHS = 64
MOST_OUTCOMES = 1000
CHANGES_KEPT = 64


@dataclass(frozen=True, slots=True)
class RouteChange:
    """The best path to `tunnel` is now another one."""

    tunnel: str
    old: Path | None
    new: Path | None
    reason: Reason
    at: float

    def __str__(self) -> str:
        ways = (">".join(path.pops) if path else "-" for path in (self.old, self.new))
        return f"{self.tunnel}: {' to '.join(ways)}, {self.reason}"


@dataclass(frozen=True, slots=True)
class TableSnapshot:
    """What the table holds: the algorithm, how often it ran, its last error, the paths by tunnel, and how that came.

    `computed_at` is the time of the last answer, `since` the time of the last change of each tunnel's best path;
    `changes` are the last of them, oldest first, `changed` counts all by reason. `refused` is what the algorithm put
    first and damping did not take, `held` until when a route stays where it is.
    """

    me: str
    algorithm: str
    seq: int
    error: str | None
    routes: Mapping[str, tuple[Path, ...]]
    computed_at: float | None
    since: Mapping[str, float]
    changes: tuple[RouteChange, ...]
    changed: Mapping[str, int]
    refused: Mapping[str, Refusal]
    held: Mapping[str, float]

    def __str__(self) -> str:
        best = "; ".join(f"{tunnel}: {paths[0]}" for tunnel, paths in self.routes.items() if paths)
        return f"{self.me} {self.algorithm} #{self.seq} {best or 'no routes'}"


def decided(algorithm: Algorithm, state: RoutingState) -> Routes:
    """The answer of `algorithm`, unchecked. Raises AlgorithmError for whatever it raises."""
    try:
        return algorithm.decide(state)
    except AlgorithmError:
        raise
    # An algorithm is foreign code: nothing that it raises may stop this PoP, not even SystemExit.
    except (Exception, SystemExit) as error:
        raise AlgorithmError(algorithm.name, f"raised {type(error).__name__}: {error}") from error


class RouteTable:
    """Ranked paths from `me` to every tunnel.

    `max_relays` bounds what is accepted: a path longer than that is refused. `set_links`, `set_loads` and
    `set_exits` replace what was known.
    """

    def __init__(
        self,
        me: str,
        algorithm: Algorithm,
        params: Mapping[str, Any],
        *,
        max_relays: int,
        rng: random.Random,
        damping: Damping | None = None,
    ) -> None:
        self._me = me
        self._algorithm = algorithm
        merged = dict(algorithm.with_params(params))
        if isinstance(merged.get("max_relays"), int):
            # It need not find what would be refused.
            merged["max_relays"] = min(merged["max_relays"], max_relays)
        self._params: Mapping[str, Any] = merged
        self._max_relays = max_relays
        self._rng = rng
        self._memory: dict[str, Any] = {}
        self._graph = LatencyGraph(me)
        self._pairs: set[Hop] = set()
        self._loads: dict[str, Load] = {}
        self._exits: dict[str, tuple[Exit, ...]] = {}
        self._outcomes: deque[Outcome] = deque(maxlen=MOST_OUTCOMES)
        self._routes: dict[str, tuple[Path, ...]] = {}
        self._best: dict[str, Path] = {}
        self._measured: dict[
            str, float
        ] = {}  # RTT of the best path and its last leg when it was costed
        self._since: dict[str, float] = {}
        self._damper = Damper(damping or Damping())
        self._refused: dict[str, Refusal] = {}
        self._seen: set[Hop] = set()
        self._last: tuple[RoutingState, Mapping[str, Sequence[Path]]] | None = None
        self._changes: deque[RouteChange] = deque(maxlen=CHANGES_KEPT)
        self._changed: Counter[str] = Counter()
        self._seq = 0
        self._computed_at: float | None = None
        self._due = False
        self._error: str | None = None

    # What is known

    def set_links(self, links: Iterable[MeasuredLink]) -> None:
        """Every link there is now: one that is not among them is dead."""
        self._graph.set_links(links)
        self._moved()

    def set_row(self, source: str, links: Iterable[MeasuredLink]) -> None:
        """The links of one PoP, all of them; those of the others stay."""
        self._graph.set_row(source, links)
        self._moved()

    def _moved(self) -> None:
        self._pairs = set(self._graph.links())
        self._due = True
        self._prune()

    def set_loads(self, loads: Mapping[str, Load]) -> None:
        """The load of each PoP and the age of that knowledge."""
        if loads != self._loads:
            self._loads = dict(loads)
            self._due = True

    def set_exits(self, exits: Mapping[str, Sequence[Exit]]) -> None:
        self._exits = {
            # A draining connection takes no new request while another one is there to take it.
            tunnel: tuple(leave for leave in exits[tunnel] if not leave.draining)
            or tuple(exits[tunnel])
            for tunnel in sorted(exits)
        }
        self._due = True
        self._prune()

    def outcome(self, outcome: Outcome) -> None:
        """A request has gone its way. The algorithm hears of it at the next computation."""
        self._outcomes.append(outcome)

    # The computation

    @property
    def due(self) -> bool:
        """Something has changed since the last `begin`."""
        return self._due

    @property
    def wake_at(self) -> float | None:
        """When to compute again although nothing changes: a refusal ends, outcomes wait to be heard."""
        times = [self._damper.wake_at] if self._damper.wake_at is not None else []
        if self._outcomes and self._computed_at is not None:
            times.append(self._computed_at + self._damper.damping.interval_s)
        return min(times, default=None)

    @property
    def error(self) -> str | None:
        """What is wrong with the algorithm's last answer."""
        return self._error

    @property
    def damping(self) -> Damping:
        return self._damper.damping

    @property
    def last(self) -> tuple[RoutingState, Mapping[str, Sequence[Path]]] | None:
        """The last computation: what the algorithm saw, and every path it considered, by its own order."""
        return self._last

    @property
    def algorithm(self) -> Algorithm:
        return self._algorithm

    @property
    def params(self) -> Mapping[str, Any]:
        return self._params

    def begin(self, now: float) -> RoutingState:
        """A picture of what is known, for the algorithm."""
        self._due = False
        self._seq += 1
        outcomes = tuple(self._outcomes)
        self._outcomes.clear()
        return RoutingState(
            me=self._me,
            now=now,
            seq=self._seq,
            graph=self._graph.picture(self._loads),
            tunnels=dict(self._exits),
            previous=dict(self._routes),
            outcomes=outcomes,
            memory=self._memory,
            rng=self._rng,
            params=self._params,
        )

    def accept(self, state: RoutingState, routes: Routes, now: float) -> list[RouteChange]:
        """Take an algorithm's answer to `state`, or, if it is none, note why and go on without it."""
        try:
            checked = self._checked(routes, state)
        except AlgorithmError as error:
            return self.fail(state, error.problem, now)
        self._error = None
        return self._adopt(state, checked, now)

    def fail(self, state: RoutingState, problem: str, now: float) -> list[RouteChange]:
        """The algorithm has no answer to `state`: what still holds of the last table, then the direct paths."""
        self._error = str(AlgorithmError(self._algorithm.name, problem))
        straight = direct.decide(state)
        kept = {}
        for tunnel in state.tunnels:
            old = [path for path in self._routes.get(tunnel, ()) if self._holds(tunnel, path)]
            ways = {path.way for path in old}
            fresh = [path for path in straight.get(tunnel, ()) if path.way not in ways]
            kept[tunnel] = (*old, *fresh)
        return self._adopt(state, kept, now)

    def recompute(self, now: float) -> list[RouteChange]:
        """Begin, decide here and now, accept."""
        state = self.begin(now)
        try:
            routes = decided(self._algorithm, state)
        except AlgorithmError as error:
            return self.fail(state, error.problem, now)
        return self.accept(state, routes, now)

    # What follows

    def routes(self, tunnel: str) -> tuple[Path, ...]:
        """Paths to `tunnel`, best first; empty when there is none."""
        return self._routes.get(tunnel, ())

    def standing(self, tunnel: str, now: float) -> Standing:
        """The route in force, and how it stands with damping."""
        return Standing(
            chosen=next(iter(self._routes.get(tunnel, ())), None),
            since=self._since.get(tunnel),
            held_until=self._damper.held_until(tunnel, now),
            damping=self._damper.damping,
            young=self._damper.young(tunnel, now),
            refused=self._refused.get(tunnel),
        )

    def explaining(self, tunnel: str, now: float) -> Runs | None:
        """Why requests for `tunnel` go where they go; None before the first computation. See routing/explain."""
        if self._last is None:
            return None
        state, ranked = self._last
        # The algorithm has heard of its outcomes already.
        state = replace(state, outcomes=())
        return explaining(tunnel, state, self.standing(tunnel, now), ranked.get(tunnel, ()), now)

    def explain(self, tunnel: str, now: float) -> Explanation | None:
        """The same, deciding here and now, as often as it takes."""
        runs = self.explaining(tunnel, now)
        return None if runs is None else driven(runs, self._algorithm.decide)

    def snapshot(self, now: float) -> TableSnapshot:
        return TableSnapshot(
            me=self._me,
            algorithm=self._algorithm.name,
            seq=self._seq,
            error=self._error,
            routes=dict(self._routes),
            computed_at=self._computed_at,
            since=dict(self._since),
            changes=tuple(self._changes),
            changed=dict(self._changed),
            refused=dict(self._refused),
            held={
                tunnel: until
                for tunnel in self._best
                if (until := self._damper.held_until(tunnel, now)) is not None
            },
        )

    def _adopt(
        self, state: RoutingState, routes: Mapping[str, Sequence[Path]], now: float
    ) -> list[RouteChange]:
        self._computed_at = now
        self._last = state, routes
        # The answer may be older than the last news.
        table = {
            tunnel: [path for path in paths[:MOST_PATHS] if self._holds(tunnel, path)]
            for tunnel, paths in routes.items()
        }
        wishes = [
            Wish(
                tunnel,
                self._in_force(tunnel, table.get(tunnel, []), state),
                table.get(tunnel, []),
                known=tunnel in self._best,
            )
            for tunnel in sorted({*self._best, *table})
        ]
        verdicts = self._damper.judge(wishes, self._pairs - self._seen, now)
        self._seen |= self._pairs
        self._routes, self._refused, changes = {}, {}, []
        for wish in wishes:
            tunnel, verdict = wish.tunnel, verdicts[wish.tunnel]
            old, best = wish.current or self._best.get(tunnel), verdict.path
            self._best.pop(tunnel, None)
            if best is not None:
                others = [path for path in table.get(tunnel, ()) if path.way != best.way]
                self._routes[tunnel] = (best, *others)
                self._best[tunnel] = best
                if (measured := self._rtt_s(tunnel, best, state)) is not None:
                    self._measured[tunnel] = measured
            if verdict.refused is not None:
                self._refused[tunnel] = verdict.refused
            if verdict.reason is not None:
                self._since[tunnel] = now
                self._changed[verdict.reason] += 1
                changes.append(RouteChange(tunnel, old, best, verdict.reason, now))
        self._changes.extend(changes)
        return changes

    def _in_force(self, tunnel: str, ranked: Sequence[Path], state: RoutingState) -> Path | None:
        """The best path until now at its present cost; None when there is none or it is dead.

        An algorithm need not list it any more. Then it costs what it did, and what its links have changed by.
        """
        best = self._best.get(tunnel)
        if best is None or not self._holds(tunnel, best):
            return None
        for path in ranked:
            if path.way == best.way:
                return path
        measured = self._rtt_s(tunnel, best, state)
        if measured is None or measured == self._measured.get(tunnel):
            return best
        drift_s = measured - self._measured.get(tunnel, measured) + best.terms.get(DRIFT, 0.0)
        return Path(best.pops, best.connection, {**best.terms, DRIFT: drift_s})

    def _rtt_s(self, tunnel: str, path: Path, state: RoutingState) -> float | None:
        """Links and last leg of `path`, None when `state` is older than one of them."""
        total = 0.0
        for a, b in itertools.pairwise(path.pops):
            if not state.graph.has_edge(a, b):
                return None
            total += state.graph[a][b]["rtt_s"]
        for leave in state.tunnels.get(tunnel, ()):
            if leave.pop == path.pops[-1] and leave.connection == path.connection:
                return total + leave.rtt_s
        return None

    def _prune(self) -> None:
        """Leave dead paths now; what replaces them is worked out at the next computation."""
        self._routes = {
            tunnel: tuple(path for path in paths if self._holds(tunnel, path))
            for tunnel, paths in self._routes.items()
        }

    def _holds(self, tunnel: str, path: Path) -> bool:
        """The links and the connection of `path` are still there."""
        return self._has_exit(tunnel, path) and all(
            hop in self._pairs for hop in itertools.pairwise(path.pops)
        )

    def _has_exit(self, tunnel: str, path: Path) -> bool:
        return any(
            leave.pop == path.pops[-1] and leave.connection == path.connection
            for leave in self._exits.get(tunnel, ())
        )

    # Never trust an algorithm

    @staticmethod
    def shaped(algorithm: Algorithm, routes: object) -> Mapping[str, Sequence[Path]]:
        """`routes`, of which it is now known that they are paths by tunnel, in plain values. AlgorithmError."""
        name = algorithm.name
        if not isinstance(routes, Mapping):
            raise AlgorithmError(name, f"returned {_kind(routes)}, not a mapping")
        for tunnel, paths in routes.items():
            if not isinstance(tunnel, str):
                raise AlgorithmError(name, f"{_kind(tunnel)} for the name of a tunnel")
            if not isinstance(paths, list | tuple):
                raise AlgorithmError(name, f"for {tunnel}: {_kind(paths)}, not a list of paths")
            for path in paths[:MOST_PATHS]:
                if problem := _misshapen(path):
                    raise AlgorithmError(name, f"for {tunnel}: {problem}")
        return routes

    def _checked(self, routes: object, state: RoutingState) -> dict[str, Sequence[Path]]:
        checked = self.shaped(self._algorithm, routes)
        for tunnel, paths in checked.items():
            for path in paths[:MOST_PATHS]:
                if problem := self._problem(tunnel, path, state):
                    raise AlgorithmError(
                        self._algorithm.name, f"for {tunnel}, {_brief(path)}: {problem}"
                    )
        return dict(checked)

    def _problem(self, tunnel: str, path: Path, state: RoutingState) -> str | None:
        """Say what is wrong with `path`, if anything."""
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


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _brief(path: Path) -> str:
    text = f"{'>'.join(path.pops)} {path.connection}"
    return text if len(text) <= 80 else text[:77] + "..."


def _misshapen(path: object) -> str | None:
    """Say what of `path` is not of the kind that it must be, if anything."""
    if not isinstance(path, Path):
        return f"{_kind(path)}, not a Path"
    if not isinstance(path.pops, tuple) or not all(isinstance(pop, str) for pop in path.pops):
        return "pops that are no tuple of names"
    if not isinstance(path.connection, str):
        return f"{_kind(path.connection)} for the name of a connection"
    if not isinstance(path.terms, Mapping):
        return f"{_kind(path.terms)} for the terms of a cost"
    for term, value in path.terms.items():
        if not isinstance(term, str):
            return f"{_kind(term)} for the name of a cost term"
        # A NumPy float is a float; its int is not, but says that it is a number.
        if not isinstance(value, Real) or not math.isfinite(value):
            return f"{_brief(path)}: its cost term {term!r} is no finite number"
    return None

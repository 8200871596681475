"""One tunnel's decision, asked again and again under altered links.

A link is altered in both directions, as a link that gets slower is: what its other end measures rises too.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import random
from collections.abc import Generator, Iterable, Sequence
from typing import Any

import networkx as nx

from routing.api import MeasuredLink, Path, Routes, RoutingState
from routing.explain.explanation import Standing
from routing.graph import Load, latency_graph

# The term by which a route's links have changed since its algorithm listed it last.
DRIFT = "since"

Runs = Generator[RoutingState, "Routes | None", "Any"]


class NoAnswerError(Exception):
    """The algorithm has no answer to a state."""


class Question:
    """One tunnel's decision, asked again and again under altered links."""

    def __init__(self, tunnel: str, state: RoutingState, standing: Standing) -> None:
        self.tunnel = tunnel
        self.standing = standing
        exits = {tunnel: state.tunnels.get(tunnel, ())}
        self.state = dataclasses.replace(state, tunnels=exits)
        self._links = links_of(state.graph)
        loads: dict[str, Load] = {
            pop: (float(known["load"]), float(known["age_s"]))
            for pop, known in state.graph.nodes(data=True)
        }
        # A copy of our own, altered for each question and put right after it: to build one takes longer than to decide.
        self._scratch = latency_graph(state.me, self._links, loads)

    def links_of(self, path: Path, older_s: float) -> tuple[MeasuredLink, ...]:
        known = {(link.source, link.destination): link for link in self._links}
        return tuple(
            dataclasses.replace(known[hop], age_s=known[hop].age_s + older_s)
            for hop in itertools.pairwise(path.pops)
            if hop in known
        )

    def ask(self, graph: nx.DiGraph[str] | None = None) -> Runs:
        """The algorithm's ranking of the tunnel's paths. Its memory and its luck are copies: asking changes nothing."""
        luck = random.Random()
        luck.setstate(self.state.rng.getstate())
        try:
            memory = copy.deepcopy(self.state.memory)
        except Exception as error:
            raise NoAnswerError(
                f"what the algorithm remembers cannot be copied: {error}"
            ) from error
        routes = yield dataclasses.replace(
            self.state, graph=graph or self.state.graph, memory=memory, rng=luck
        )
        if routes is None:
            raise NoAnswerError("the algorithm has no answer")
        return list(routes.get(self.tunnel, ()))

    def after(self, link: tuple[str, str], change_s: float) -> Runs:
        """The path that the route moves to when `link` changes by so much; None: it stays."""
        graph = self._scratch
        altered = [graph.edges[way] for way in (link, link[::-1]) if graph.has_edge(*way)]
        before = [float(known["rtt_s"]) for known in altered]
        for known, rtt_s in zip(altered, before, strict=True):
            known["rtt_s"] = max(0.0, rtt_s + change_s)
        try:
            ranked = yield from self.ask(graph)
            return self.moves_to(ranked, graph)
        except NoAnswerError:
            return None
        finally:
            for known, rtt_s in zip(altered, before, strict=True):
                known["rtt_s"] = rtt_s

    def moves_to(self, ranked: Sequence[Path], graph: nx.DiGraph[str]) -> Path | None:
        chosen = self.standing.chosen
        if chosen is None:
            return None
        return self.standing.moves_to(self.now_of(chosen, ranked, graph), ranked)

    def now_of(self, chosen: Path, ranked: Iterable[Path], graph: nx.DiGraph[str]) -> Path:
        """The route with its cost by `graph`: as the algorithm says, else what its links have changed by."""
        for path in ranked:
            if path.way == chosen.way:
                return path
        before_s, after_s = (_rtt_s(one, chosen) for one in (self.state.graph, graph))
        if before_s is None or after_s is None or before_s == after_s:
            return chosen
        drift_s = after_s - before_s + chosen.terms.get(DRIFT, 0.0)
        return dataclasses.replace(chosen, terms={**chosen.terms, DRIFT: drift_s})


def _rtt_s(graph: nx.DiGraph[str], path: Path) -> float | None:
    hops = list(itertools.pairwise(path.pops))
    if not all(graph.has_edge(*hop) for hop in hops):
        return None
    return sum(float(graph.edges[hop]["rtt_s"]) for hop in hops)


def links_of(graph: nx.DiGraph[str]) -> list[MeasuredLink]:
    """The links behind a latency graph."""
    return [
        MeasuredLink(
            source,
            destination,
            float(known["rtt_s"]),
            float(known["jitter_s"]),
            float(known["loss"]),
            int(known["samples"]),
            float(known["age_s"]),
        )
        for source, destination, known in graph.edges(data=True)
    ]

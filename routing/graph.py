"""The latency graph: PoPs and the links between them.

What is known are rows: the links that each PoP has measured. Two forms are made of them, each of the rows that have
changed since: the networkx DiGraph that algorithms see, a picture that later news does not touch; and a dense matrix of
costs with the best paths of all pairs (routing/allpairs.py). That one is made for who asks, because it brings NumPy
with it, which a PoP that knows a dozen others has no need of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import networkx as nx

from routing.api import MeasuredLink

if TYPE_CHECKING:
    from routing.allpairs import AllPairs

Load = tuple[float, float]
"""(load of a PoP, age of that knowledge in seconds)."""

# When more rows than this share have changed, all anew is faster than row by row.
_MOST_UPDATED = 0.05

_Row = dict[str, dict[str, Any]]


class Picture(nx.DiGraph):  # type: ignore[type-arg]
    """A frozen graph made of rows that are there already. `latency` is where it comes from, at `version`; a copy of it
    is a graph like any other."""

    latency: LatencyGraph | None = None
    version: int = 0

    # What networkx keeps a graph in; its own subclasses fill it themselves as well.
    _node: dict[str, dict[str, Any]]
    _adj: dict[str, _Row]
    _pred: dict[str, _Row]


def _picture(
    latency: LatencyGraph, nodes: dict[str, dict[str, Any]], rows: dict[str, _Row]
) -> Picture:
    picture = Picture()
    picture.latency, picture.version = latency, latency.version
    before: dict[str, _Row] = {name: {} for name in nodes}
    for source, row in rows.items():
        for destination, link in row.items():
            before[destination][source] = link
    picture._node, picture._adj, picture._pred = nodes, rows, before
    frozen: Picture = nx.freeze(picture)
    return frozen


class LatencyGraph:
    """The links that are known at one PoP, `me`; `me` is in it even when nothing else is.

    PoPs and links stand in sorted order: networkx walks them in the order of insertion, and no answer may depend on
    the order in which links became known.
    """

    def __init__(self, me: str, links: Iterable[MeasuredLink] = ()) -> None:
        self.version = 0
        self._me = me
        self._rows: dict[str, tuple[MeasuredLink, ...]] = {}
        self._pictured: dict[str, _Row] = {}
        self._names: tuple[str, ...] = (me,)
        self._pairs: dict[float, _Pairs] = {}
        self.set_links(links)

    @property
    def names(self) -> tuple[str, ...]:
        return self._names

    def has(self, source: str, destination: str) -> bool:
        return destination in self._pictured.get(source, ())

    def links(self) -> Iterable[tuple[str, str]]:
        return ((a, b) for a, row in self._pictured.items() for b in row)

    def set_links(self, links: Iterable[MeasuredLink]) -> None:
        """Every link there is now: one that is not among them is dead."""
        ordered = sorted(links, key=attrgetter("source", "destination"))
        rows = {source: tuple(row) for source, row in groupby(ordered, attrgetter("source"))}
        for source in self._rows.keys() - rows.keys():
            self._set(source, ())
        for source, row in rows.items():
            self._set(source, row)
        self._rename()

    def set_row(self, source: str, links: Iterable[MeasuredLink]) -> None:
        """The links of one PoP, all of them, and no other's."""
        self._set(source, tuple(sorted(links, key=attrgetter("destination"))))
        self._rename()

    def _set(self, source: str, row: tuple[MeasuredLink, ...]) -> None:
        before = self._rows.get(source, ())
        if row == before:
            return
        self.version += 1
        if [(link.destination, link.rtt_s) for link in row] != [
            (link.destination, link.rtt_s) for link in before
        ]:
            for pairs in self._pairs.values():
                pairs.changed.add(source)
        if not row:
            del self._rows[source]
            del self._pictured[source]
            return
        self._rows[source] = row
        self._pictured[source] = {
            link.destination: {
                "rtt_s": link.rtt_s,
                "jitter_s": link.jitter_s,
                "loss": link.loss,
                "samples": link.samples,
                "age_s": link.age_s,
            }
            for link in row
        }

    def _rename(self) -> None:
        names = {self._me, *self._pictured}
        names.update(*self._pictured.values())
        if len(names) != len(self._names) or names != set(self._names):
            self.version += 1
            self._names = tuple(sorted(names))
            self._pairs.clear()

    def picture(self, loads: Mapping[str, Load] | None = None) -> nx.DiGraph[str]:
        """What is known now, frozen."""
        known = loads or {}
        nodes = {}
        for name in self._names:
            load, age_s = known.get(name, (0.0, 0.0))
            nodes[name] = {"load": load, "age_s": age_s}
        return _picture(self, nodes, {name: self._pictured.get(name, {}) for name in self._names})

    def pairs(self, hop_cost_s: float = 0.0) -> AllPairs:
        """Best paths between all of `names`, by index; a link costs its RTT and `hop_cost_s`.

        Over n relays a path so costs n + 1 times `hop_cost_s`.
        """
        from routing.allpairs import all_pairs

        known = self._pairs.get(hop_cost_s)
        if known is None or len(known.changed) > 1 + _MOST_UPDATED * len(self._names):
            known = _Pairs(all_pairs(self._costs(self._names, hop_cost_s)), set())
            self._pairs[hop_cost_s] = known
        places = {name: place for place, name in enumerate(self._names)}
        for source in sorted(known.changed):
            known.pairs.update(places[source], self._costs((source,), hop_cost_s)[0])
        known.changed.clear()
        return known.pairs

    def _costs(self, sources: tuple[str, ...], hop_cost_s: float) -> Any:
        import numpy as np

        places = {name: place for place, name in enumerate(self._names)}
        costs = np.full((len(sources), len(self._names)), np.inf)
        for place, source in enumerate(sources):
            for link in self._rows.get(source, ()):
                costs[place, places[link.destination]] = link.rtt_s + hop_cost_s
        return costs


@dataclass(slots=True)
class _Pairs:
    pairs: AllPairs
    changed: set[str]


def latency_graph(
    me: str, links: Iterable[MeasuredLink], loads: Mapping[str, Load] | None = None
) -> nx.DiGraph[str]:
    """The graph of `links`, frozen."""
    return LatencyGraph(me, links).picture(loads)


def best_pairs(graph: nx.DiGraph[str], hop_cost_s: float = 0.0) -> tuple[tuple[str, ...], AllPairs]:
    """Names of the PoPs of a graph, and the best paths between all of them by their places among the names.

    Of the graph that an algorithm is handed only the rows that have changed since the last time are computed.
    """
    known = graph.latency if isinstance(graph, Picture) else None
    if isinstance(graph, Picture) and known is not None and graph.version == known.version:
        return known.names, known.pairs(hop_cost_s)
    links = (MeasuredLink(a, b, link["rtt_s"]) for a, b, link in graph.edges(data=True))
    latency = LatencyGraph(min(graph), links)
    return latency.names, latency.pairs(hop_cost_s)

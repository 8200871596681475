"""The latency graph: PoPs and the links between them, as a networkx DiGraph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import networkx as nx

from routing.api import MeasuredLink

Load = tuple[float, float]
"""(load of a PoP, age of that knowledge in seconds)."""


def latency_graph(
    me: str, links: Iterable[MeasuredLink], loads: Mapping[str, Load] | None = None
) -> nx.DiGraph[str]:
    """Build the graph of `links`, frozen; `me` is in it even when nothing else is.

    Nodes and edges are added in sorted order: networkx walks them in the order of insertion, and no answer may
    depend on the order in which links became known.
    """
    known = sorted(links, key=lambda link: (link.source, link.destination))
    graph: nx.DiGraph[str] = nx.DiGraph()
    pops = {me, *(link.source for link in known), *(link.destination for link in known)}
    for pop in sorted(pops):
        load, age_s = (loads or {}).get(pop, (0.0, 0.0))
        graph.add_node(pop, load=load, age_s=age_s)
    for link in known:
        graph.add_edge(
            link.source,
            link.destination,
            rtt_s=link.rtt_s,
            jitter_s=link.jitter_s,
            loss=link.loss,
            samples=link.samples,
            age_s=link.age_s,
        )
    frozen: nx.DiGraph[str] = nx.freeze(graph)
    return frozen

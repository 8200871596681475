"""The latency graph: PoPs and the links between them, as a networkx DiGraph."""

from __future__ import annotations

from collections.abc import Iterable

import networkx as nx

DirectedRtt = tuple[str, str, float]
"""(from, to, RTT in seconds). The RTT is there and back as the first PoP would measure it."""


def latency_graph(me: str, links: Iterable[DirectedRtt]) -> nx.DiGraph[str]:
    """Build the graph of `links`, frozen; `me` is in it even when nothing else is.

    Nodes and edges are added in sorted order: networkx walks them in the order of insertion, and no answer may
    depend on the order in which links became known.
    """
    known = sorted(links)
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(sorted({me, *(a for a, _, _ in known), *(b for _, b, _ in known)}))
    for source, destination, rtt_s in known:
        graph.add_edge(
            source, destination, rtt_s=rtt_s, jitter_s=0.0, loss=0.0, samples=0, age_s=0.0
        )
    frozen: nx.DiGraph[str] = nx.freeze(graph)
    return frozen

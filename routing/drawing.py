"""The latency graph for other programs: graphviz and whatever reads GraphML (Gephi, yEd, R, networkx)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import networkx as nx


def graph_of(view: Mapping[str, Any], places: Mapping[str, tuple[float, float]]) -> nx.DiGraph[str]:
    """A graph whose attributes are numbers and texts: `view` as of a PoP's `/graph`, in ms; places in degrees."""
    graph: nx.DiGraph[str] = nx.DiGraph(me=view["me"])
    ends = {link[end] for link in view["links"] for end in ("from", "to")}
    for pop in sorted({*view["pops"], *places, *ends}):
        known = view["pops"].get(pop)
        latitude, longitude = places.get(pop, (0.0, 0.0))
        fields = {"load": known["load"], "age_s": known["age_s"]} if known is not None else {}
        graph.add_node(pop, lat=latitude, lon=longitude, reachable=known is not None, **fields)
    for link in sorted(view["links"], key=lambda link: (link["from"], link["to"])):
        graph.add_edge(
            link["from"],
            link["to"],
            **{key: value for key, value in link.items() if key not in ("from", "to")},
        )
    return graph


def dot(graph: nx.DiGraph[str]) -> str:
    """Graphviz: two directions that differ by less than 1 % are one line. Positions are for `neato -n`."""
    lines = [
        "digraph overlay {",
        "  node [shape=ellipse];",
        '  edge [fontsize=9, color="#888888"];',
    ]
    for pop, known in graph.nodes(data=True):
        style = "" if known["reachable"] else ", style=dashed"
        # Points of a map of 1440 x 720: four to a degree.
        at = f"{known['lon'] * 4:.0f},{known['lat'] * 4:.0f}!"
        lines.append(f'  {_quoted(pop)} [pos="{at}"{style}];')
    for source, destination, link in graph.edges(data=True):
        back = graph.get_edge_data(destination, source)
        alike = back is not None and abs(back["rtt_ms"] - link["rtt_ms"]) <= 0.01 * link["rtt_ms"]
        if alike and source > destination:
            continue
        label = f"{link['rtt_ms']:.1f}" + (f" {link['loss_pct']:g}%" if link["loss_pct"] else "")
        ends = f"{_quoted(source)} -> {_quoted(destination)}"
        lines.append(f'  {ends} [label="{label}"{", dir=none" if alike else ""}];')
    return "\n".join([*lines, "}"])


def graphml(graph: nx.DiGraph[str]) -> str:
    return "\n".join(nx.generate_graphml(graph))


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

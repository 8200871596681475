"""The journey of one request, hop by hop: what the visitor's clock saw, split into the network and the programs.

The visitor measures its own phases. Every PoP on the way reports, in `server-timing`, how long it waited between
sending the request on and receiving the response head. The figures nest: what one PoP waited, less what the next
one waited, is one round trip between the two plus the work of the next. The emulated part of it is what the links
declare; the rest is processing (and, where a link has jitter, its luck). No two clocks are compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_METRIC = re.compile(r"""\s*([^;,\s]+)\s*((?:;\s*[a-z]+\s*=\s*(?:"[^"]*"|[^;,]*))*)\s*(?:,|$)""")
_PARAM = re.compile(r""";\s*([a-z]+)\s*=\s*(?:"([^"]*)"|([^;,]*))""")


@dataclass(frozen=True, slots=True)
class Phase:
    """One leg. `emulated_s` is the round trip the links declare; None where no link is crossed."""

    name: str
    measured_s: float
    emulated_s: float | None
    note: str = ""

    @property
    def processing_s(self) -> float:
        return self.measured_s - (self.emulated_s or 0.0)


@dataclass(frozen=True, slots=True)
class Journey:
    """A request from a visitor to an origin and back. `path` holds the PoPs, `hops` counts the links between them."""

    url: str
    visitor: str
    status: int
    path: tuple[str, ...]
    site: str | None
    ray: str | None
    connection: str | None
    phases: tuple[Phase, ...]
    headers: Mapping[str, str]

    @property
    def total_s(self) -> float:
        return sum(phase.measured_s for phase in self.phases)

    @property
    def emulated_s(self) -> float:
        return sum(phase.emulated_s or 0.0 for phase in self.phases)

    @property
    def reached(self) -> str | None:
        """The site, if the request came as far: the edge may have answered by itself."""
        return (
            self.site if any(one.name.endswith(f"<> {self.site}") for one in self.phases) else None
        )

    def to_dict(self) -> dict[str, Any]:
        """For `-o json`; times in milliseconds, as in every output."""
        return {
            "url": self.url,
            "visitor": self.visitor,
            "status": self.status,
            "ingress": self.path[0] if self.path else None,
            "egress": self.path[-1] if self.path else None,
            "path": list(self.path),
            "hops": max(0, len(self.path) - 1),
            "site": self.reached,
            "connection": self.connection,
            "ray": self.ray,
            "security": self.headers.get("popnet-security"),
            "problem": self.headers.get("popnet-problem"),
            "total_ms": _ms(self.total_s),
            "emulated_ms": _ms(self.emulated_s),
            "processing_ms": _ms(self.total_s - self.emulated_s),
            "phases": [
                {
                    "phase": phase.name,
                    "emulated_ms": None if phase.emulated_s is None else _ms(phase.emulated_s),
                    "processing_ms": _ms(phase.processing_s),
                    "note": phase.note,
                }
                for phase in self.phases
            ],
        }


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 2)


def server_timing(value: str) -> list[tuple[str, float, str]]:
    """Parse a Server-Timing header (W3C Server Timing, section 3) into (name, duration in seconds, description).

    Metrics without a duration are left out.
    """
    metrics = []
    for name, params in _METRIC.findall(value):
        given = {key: quoted or bare.strip() for key, quoted, bare in _PARAM.findall(params)}
        try:
            metrics.append((name, float(given["dur"]) / 1e3, given.get("desc", "")))
        except (KeyError, ValueError):
            continue
    return metrics


def journey(
    url: str,
    visitor: str,
    lands: str,
    site: str | None,
    visit: Mapping[str, Any],
    rtt_s: Callable[[str, str], float],
) -> Journey:
    """Put together what the probe `lab.probes.visit` measured and what the response's headers say.

    `lands` is the PoP that the visitor's packets reach by anycast; `rtt_s(a, b)` is the round trip the links between
    two nodes declare at this moment.
    """
    headers: dict[str, str] = {}
    for name, value in visit["headers"]:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    path = tuple(filter(None, headers.get("popnet-path", "").split(">"))) or (lands,)
    waits = server_timing(headers.get("server-timing", ""))
    to_edge = rtt_s(visitor, lands)
    measured: Mapping[str, float] = visit["phases"]
    phases = [
        Phase(
            name, measured[name], to_edge if name != "dns" or measured[name] > 1e-4 else None, note
        )
        for name, note in (("dns", lands), ("tcp", lands), ("tls", lands))
        if name in measured
    ]
    phases += _legs(visitor, path, site, measured["request"], waits, rtt_s, headers)
    if measured.get("body", 0.0) > 5e-4:
        phases.append(Phase("body", measured["body"], None))
    return Journey(
        url=url,
        visitor=visitor,
        status=visit["status"],
        path=path,
        site=site,
        ray=headers.get("cf-ray"),
        connection=headers.get("popnet-connection"),
        phases=tuple(phases),
        headers=headers,
    )


def _legs(
    visitor: str,
    path: Sequence[str],
    site: str | None,
    first_byte_s: float,
    waits: list[tuple[str, float, str]],
    rtt_s: Callable[[str, str], float],
    headers: Mapping[str, str],
) -> list[Phase]:
    """Unfold the nested waits into one phase per leg, from the visitor to the origin."""
    waited = {name: duration for name, duration, _ in waits}
    stops = [pop for pop in path if pop in waited]
    outer = first_byte_s
    legs = []
    previous = visitor
    for index, pop in enumerate(path):
        inner = waited.get(pop, 0.0)
        note = "relay" if 0 < index < len(path) - 1 else ""
        legs.append(Phase(f"{previous} <> {pop}", outer - inner, rtt_s(previous, pop), note))
        if pop not in stops:
            # This PoP answered by itself: nothing lies behind it.
            return legs
        previous, outer = pop, inner
    if site is not None:
        origin = waited.get("origin")
        tunnel = f"tunnel {headers.get('popnet-connection', '')}".strip()
        legs.append(
            Phase(f"{previous} <> {site}", outer - (origin or 0.0), rtt_s(previous, site), tunnel)
        )
        if origin is not None:
            legs.append(Phase("origin", origin, None))
    return legs

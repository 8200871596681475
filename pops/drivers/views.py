"""What a PoP knows of the overlay and decides by it, as plain values for the admin door and for whoever plays worlds.

Milliseconds, per cent and ages, as in every output. Tunnels go by their names.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from pops.core.places import destinations
from routing.algorithms import direct
from routing.api import Path
from routing.explain import Explanation, stepwise
from routing.lsa import version

if TYPE_CHECKING:
    from pops.pop import Pop
    from routing.table import RouteTable


def ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 3)


def _s(seconds: float) -> float:
    return round(seconds, 3)


def _names(pop: Pop) -> dict[str, str]:
    return destinations(pop.config)


def _path(path: Path) -> dict[str, Any]:
    return {
        "pops": path.pops,
        "connection": path.connection,
        "cost_ms": ms(path.cost_s),
        "terms_ms": {name: ms(value) for name, value in path.terms.items()},
    }


def routes(pop: Pop) -> dict[str, Any]:
    """The table: what it was made from, the route of each tunnel beside the direct path, and every path kept."""
    now = pop.clock()
    table = pop.table
    shown = table.snapshot(now)
    names = _names(pop)
    straight = direct.decide(table.last[0]) if table.last is not None else {}
    # Another connection at the same egress is no news to anybody.
    was = {
        change.tunnel: change
        for change in shown.changes
        if (change.old and change.old.pops) != (change.new and change.new.pops)
    }
    rows = []
    for tunnel, paths in shown.routes.items():
        standing = table.standing(tunnel, now)
        last = was.get(tunnel)
        without = next(iter(straight.get(tunnel, ())), None)
        rows.append(
            {
                "tunnel": names.get(tunnel, tunnel),
                "route": _path(paths[0]) if paths else None,
                "direct": _path(without) if without is not None else None,
                "chosen_s_ago": None if standing.since is None else _s(now - standing.since),
                "held_for_s": _s(max(0.0, (standing.held_until or now) - now)),
                "was": list(last.old.pops) if last is not None and last.old else None,
                "reason": last.reason if last is not None else None,
                "changes": sum(change.tunnel == tunnel for change in shown.changes),
            }
        )
    return {
        "me": pop.config.name,
        "algorithm": shown.algorithm,
        "damping": str(table.damping),
        "seq": shown.seq,
        "error": shown.error,
        "computed_s_ago": None if shown.computed_at is None else _s(now - shown.computed_at),
        "changes": dict(shown.changed),
        "routes": rows,
        "tunnels": {
            names.get(tunnel, tunnel): [_path(path) for path in paths]
            for tunnel, paths in shown.routes.items()
        },
        "exits": {
            names.get(tunnel, tunnel): [
                {
                    "pop": leave.pop,
                    "connection": leave.connection,
                    "rtt_ms": ms(leave.rtt_s),
                    "load": leave.load,
                    "draining": leave.draining,
                }
                for leave in exits
            ]
            for tunnel, exits in pop.lsdb.exits().items()
        },
        "links": graph(pop)["links"],
    }


def tunnel_id(pop: Pop, tunnel: str) -> str | None:
    """By name or identity; None: there is no such tunnel."""
    ids = {name: identity for identity, name in _names(pop).items()}
    identity = ids.get(tunnel, tunnel)
    return identity if identity in ids.values() else None


def table_of(pop: Pop, algorithm: str) -> RouteTable | None:
    """The table in force, or that of an algorithm which is worked out beside it; None: there is no such table."""
    in_force = pop.ways.table
    if algorithm in ("", in_force.algorithm.name):
        return in_force
    return pop.ways.beside.get(algorithm)


def explaining(
    table: RouteTable, identity: str, now: float
) -> Generator[None, None, Explanation | None]:
    """Step by step, a decision each: a PoP has requests to serve in between."""
    runs = table.explaining(identity, now)
    if runs is None:
        return None
    return (yield from stepwise(runs, table.algorithm.decide))


def why(pop: Pop, table: RouteTable, identity: str, told: Explanation | None) -> dict[str, Any]:
    """Why requests for a tunnel go where they go."""
    shown = table.snapshot(pop.clock())
    return {
        "algorithm": shown.algorithm,
        "in_force": table is pop.ways.table,
        "params": dict(table.params),
        "damping_text": str(table.damping),
        "error": shown.error,
        **(told.to_dict() if told is not None else {"me": pop.config.name, "candidates": []}),
        "tunnel": _names(pop)[identity],
    }


def graph(pop: Pop) -> dict[str, Any]:
    """The latency graph: what all PoPs measured, as far as this one has heard."""
    now = pop.clock()
    return {
        "me": pop.config.name,
        "pops": {
            name: {"load": load, "age_s": _s(age_s)}
            for name, (load, age_s) in pop.lsdb.loads(now).items()
        },
        "links": [
            {
                "from": link.source,
                "to": link.destination,
                "rtt_ms": ms(link.rtt_s),
                "jitter_ms": ms(link.jitter_s),
                "loss_pct": round(link.loss * 100, 3),
                "samples": link.samples,
                "age_s": _s(link.age_s),
            }
            for link in pop.lsdb.links(now)
        ],
    }


def lsdb(pop: Pop) -> dict[str, Any]:
    """The newest link-state advertisement of every PoP, as this one has it."""
    names = _names(pop)
    return {
        "me": pop.config.name,
        "lsas": [
            {
                "origin": one.lsa.origin,
                "seq": one.lsa.seq,
                "checksum": version(one.lsa).checksum,
                "age_s": _s(one.age_s),
                "load": one.lsa.load,
                "reachable": one.reachable,
                "withdrawn": one.lsa.withdrawn,
                "links": [
                    {
                        "to": link.to,
                        "rtt_ms": round(link.rtt_us / 1e3, 3),
                        "jitter_ms": round(link.jitter_us / 1e3, 3),
                        "loss_pct": round(link.loss * 100, 3),
                        "samples": link.samples,
                        "usable": link.to in one.usable,
                    }
                    for link in one.lsa.links
                ],
                "exits": [
                    {
                        "tunnel": names.get(leave.tunnel, leave.tunnel),
                        "connection": leave.connection,
                        "rtt_ms": round(leave.rtt_us / 1e3, 3),
                        "load": leave.load,
                        "draining": leave.draining,
                    }
                    for leave in one.lsa.exits
                ],
            }
            for one in pop.lsdb.snapshot(pop.clock()).lsas
        ],
    }

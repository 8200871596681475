"""What PoPs say of their routes and of the overlay, as text: the words of `popnet routes` and `popnet lsdb`.

Pure: it takes the values that `pops.drivers.views` gives and returns columns and rows. All figures are milliseconds
there and back. Those of `popnet why` are in `lab.reasons`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

Told = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: str


def figure(value: float | None) -> str:
    return "-" if value is None or not isfinite(value) else f"{value:.1f}"


def ago(seconds: float) -> str:
    """4m12s"""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


# popnet routes


def routes(views: Sequence[Told]) -> Table:
    rows = []
    for view in views:
        for one in view["routes"]:
            route = one["route"]
            was = f"{'>'.join(one['was'])} ({one['reason']})" if one["was"] else ""
            since = one["chosen_s_ago"]
            rows.append(
                (
                    view["me"],
                    one["tunnel"],
                    ">".join(route["pops"]) if route else "-",
                    figure(route["cost_ms"] if route else None),
                    "-" if since is None else ago(since),
                    was,
                )
            )
    return Table(("POP", "TUNNEL", "PATH", "COST ms", "SINCE", "WAS"), rows, "lllrrl")


def gains(views: Sequence[Told]) -> list[dict[str, Any]]:
    """Each route beside the best direct path, both as measured."""
    found = []
    for view in views:
        for one in view["routes"]:
            route, direct = one["route"], one["direct"]
            gain = None if route is None or direct is None else direct["cost_ms"] - route["cost_ms"]
            found.append(
                {
                    "pop": view["me"],
                    "tunnel": one["tunnel"],
                    "path": list(route["pops"]) if route else None,
                    "cost_ms": route["cost_ms"] if route else None,
                    "direct": list(direct["pops"]) if direct else None,
                    "direct_ms": direct["cost_ms"] if direct else None,
                    "gain_ms": None if gain is None else round(gain, 3),
                    "gain_pct": round(100 * gain / direct["cost_ms"], 2)
                    if gain is not None and direct["cost_ms"]
                    else None,
                }
            )
    return found


def diff(found: Sequence[Told]) -> tuple[Table, str]:
    rows = [
        (
            one["pop"],
            one["tunnel"],
            ">".join(one["path"]) if one["path"] else "-",
            figure(one["cost_ms"]),
            ">".join(one["direct"]) if one["direct"] else "-",
            figure(one["direct_ms"]),
            figure(one["gain_ms"]),
            "-" if one["gain_pct"] is None else f"{one['gain_pct']:.1f}",
        )
        for one in found
    ]
    columns = ("POP", "TUNNEL", "ROUTE", "ms", "DIRECT", "ms", "GAIN ms", "%")
    known = [one for one in found if one["gain_ms"] is not None]
    relayed = [one for one in known if len(one["path"]) > 2]
    if not known:
        return Table(columns, rows, "lllrlrrr"), "no routes"
    gain = sum(one["gain_ms"] for one in known)
    base = sum(one["direct_ms"] for one in known)
    share = f" ({100 * gain / base:.1f} %)" if base else ""
    summary = (
        f"{len(relayed)} of {len(known)} routes go by a relay; "
        f"on average a route gains {gain / len(known):.1f} ms{share}, as measured"
    )
    return Table(columns, rows, "lllrlrrr"), summary


# popnet lsdb


def lsas(view: Told) -> Table:
    rows = []
    for one in view["lsas"]:
        state = "withdrawn" if one["withdrawn"] else "" if one["reachable"] else "unreachable"
        links = "  ".join(
            f"{link['to']} {link['rtt_ms']:.1f}{'' if link['usable'] else '?'}"
            for link in one["links"]
        )
        held: dict[str, int] = {}
        for leave in one["exits"]:
            held[leave["tunnel"]] = held.get(leave["tunnel"], 0) + 1
        exits = ", ".join(f"{tunnel} {count}" for tunnel, count in held.items())
        rows.append(
            (
                one["origin"],
                str(one["seq"]),
                f"{one['age_s']:.1f}",
                f"{one['load']:g}",
                exits or "-",
                links,
                state,
            )
        )
    return Table(("ORIGIN", "SEQ", "AGE s", "LOAD", "EXITS", "LINKS ms", ""), rows, "lrrrlll")


def disagreements(before: Sequence[Told], after: Sequence[Told]) -> list[str]:
    """Which PoPs do not know in `after` what somebody knew in `before`; and who lacks an origin that others have.

    Link state changes all the time, so two PoPs that are asked in turn seldom say the same; what must hold is that
    news known anywhere is known everywhere a moment later.
    """
    newest: dict[str, int] = {}
    for view in before:
        for one in view["lsas"]:
            newest[one["origin"]] = max(newest.get(one["origin"], 0), one["seq"])
    found = []
    for view in after:
        held = {one["origin"]: one for one in view["lsas"]}
        for origin, seq in newest.items():
            if origin not in held:
                found.append(f"{view['me']} knows nothing of {origin}")
            elif held[origin]["seq"] < seq:
                found.append(f"{view['me']} has {origin} #{held[origin]['seq']}, there is #{seq}")
    by_version: dict[tuple[str, int], set[int]] = {}
    for view in after:
        for one in view["lsas"]:
            by_version.setdefault((one["origin"], one["seq"]), set()).add(one["checksum"])
    found += [
        f"two versions of {origin} #{seq}"
        for (origin, seq), checksums in by_version.items()
        if len(checksums) > 1
    ]
    return found

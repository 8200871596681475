"""What a PoP says of its routes, as text: the words of `popnet why`, `popnet routes` and `popnet lsdb`.

Pure: it takes the values that `pops.drivers.views` gives and returns columns, rows and sentences. All figures are
milliseconds there and back.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

Told = Mapping[str, Any]
Pops = tuple[str, ...]

_SHOWN = 5
_RISES, _FALLS = 3, 1


@dataclass(frozen=True, slots=True)
class Oracle:
    """What paths cost by the declared RTTs, links and last leg alone, and the best path there is."""

    by_path: Mapping[Pops, float]
    best: Pops
    best_ms: float

    def regret_ms(self, chosen: Pops) -> float:
        return max(0.0, self.by_path[chosen] - self.best_ms)

    def to_dict(self, chosen: Pops | None) -> dict[str, Any]:
        return {
            "best": list(self.best),
            "best_ms": _finite(self.best_ms),
            "regret_ms": None if chosen is None else _finite(self.regret_ms(chosen)),
            "candidates": [
                {"path": list(pops), "true_ms": _finite(value)}
                for pops, value in self.by_path.items()
            ],
        }


def _finite(value: float) -> float | None:
    return round(value, 3) if isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Table:
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: str


@dataclass(frozen=True, slots=True)
class Why:
    head: str
    table: Table
    sentences: list[str] = field(default_factory=list)


def why(told: Told, oracle: Oracle | None = None, *, everything: bool = False) -> Why:
    """`everything`: every path on every connection; without, the best connection of the best few paths."""
    all_rows = told["candidates"] if everything else _by_path(told["candidates"])
    numbers = {tuple(row["path"]): index for index, row in reversed(list(enumerate(all_rows, 1)))}
    rows = all_rows if everything else _worth_showing(all_rows)
    terms = list(dict.fromkeys(itertools.chain.from_iterable(row["terms_ms"] for row in rows)))
    columns = ["", "PATH", *(["CONNECTION"] if everything else [])]
    signs = ["", *["+ "] * (len(terms) - 1)]
    columns += [f"{sign}{_words(term)}" for sign, term in zip(signs, terms, strict=False)]
    columns += ["= COST ms", *(["TRUE"] if oracle is not None else []), ""]
    cells = []
    for row in rows:
        path = tuple(row["path"])
        mark = "*" if row["chosen"] else str(all_rows.index(row) + 1)
        cells.append(
            [
                mark,
                ">".join(path),
                *([row["connection"]] if everything else []),
                *(_figure(row["terms_ms"].get(term)) for term in terms),
                _figure(row["cost_ms"]),
                *([_figure(oracle.by_path.get(path))] if oracle is not None else []),
                _remark(row),
            ]
        )
    figures = "r" * (len(terms) + 1 + (oracle is not None))
    table = Table(columns, cells, f"ll{'l' if everything else ''}{figures}l")
    return Why(_head(told), table, [*_sentences(told, numbers), *_of_oracle(told, oracle)])


def _by_path(candidates: Iterable[Told]) -> list[Told]:
    """The best connection of each path; the one in use, of the path in use."""
    best: dict[Pops, Told] = {}
    for row in candidates:
        path = tuple(row["path"])
        if path not in best or row["chosen"]:
            best[path] = row
    return list(best.values())


def _worth_showing(rows: Sequence[Told]) -> list[Told]:
    """The first few, the one in use and the best direct one."""
    shown = list(rows[:_SHOWN])
    direct = next((row for row in rows if row["direct"]), None)
    for row in (next((row for row in rows if row["chosen"]), None), direct):
        if row is not None and row not in shown:
            shown.append(row)
    return sorted(shown, key=rows.index)


def _words(term: str) -> str:
    return term.replace("_", " ").upper()


def _figure(value: float | None) -> str:
    return "-" if value is None or not isfinite(value) else f"{value:.1f}"


def _remark(row: Told) -> str:
    said = [] if row["chosen"] else [f"{row['behind_ms']:+.1f}"]
    if row["direct"]:
        said.append("direct")
    return "  ".join(said)


def _head(told: Told) -> str:
    parts = [f"{told['me']} to {told['tunnel']}"]
    parts.append(f"{told['algorithm']}, damping {told['damping_text']}")
    if (age := told.get("link_state_age_s")) is not None:
        parts.append(f"link state {age:.1f} s old")
    if (since := told.get("chosen_s_ago")) is not None:
        parts.append(f"chosen {ago(since)} ago")
    return "   ".join(parts)


def _sentences(told: Told, numbers: Mapping[Pops, int]) -> list[str]:
    if told.get("error"):
        failed = [f"{told['error']}; the last good table is in force."]
    else:
        failed = []
    if not told["candidates"]:
        return [*failed, f"No path: no connection of {told['tunnel']} can be reached."]
    if told.get("problem"):
        return [*failed, f"What would change this was not tried: {told['problem']}."]
    damping = told["damping"]
    said = []
    if (flips := _flips(told["flips"], numbers)) is not None:
        said.append(flips)
    elif told["pending"] is None:
        said.append("No rise or fall of a single link would change this.")
    if (refused := damping["refused"]) is not None:
        said.append(_refused(refused))
    if damping["young"]:
        said.append("The route is new: any gain moves it.")
    else:
        needed = damping["needed_gain_ms"]
        asked = f"Another path must be {needed:.1f} ms better" if needed else "Any gain is enough"
        held = damping["held_for_s"]
        said.append(f"{asked}{f'; held for {held:.1f} s more' if held else ''}.")
    return [*failed, *said]


def _flips(flips: Sequence[Told], numbers: Mapping[Pops, int]) -> str | None:
    """One clause for all links that have to change by the same amount with the same effect."""
    clauses: dict[tuple[bool, str, str], list[str]] = {}
    for flip in flips:
        rises = flip["change_ms"] > 0
        to = tuple(flip["to"])
        target = str(numbers[to]) if to in numbers else ">".join(to)
        key = (rises, target, f"{abs(flip['change_ms']):.1f}")
        clauses.setdefault(key, []).append("-".join(flip["link"]))
    said = []
    for wanted, verb, most in ((True, "rises", _RISES), (False, "falls", _FALLS)):
        said += [
            f"to {target} if {' or '.join(links)} {verb} {amount} ms"
            for (rises, target, amount), links in clauses.items()
            if rises is wanted
        ][:most]
    return f"Flips {', or '.join(said)}." if said else None


def _refused(refused: Told) -> str:
    path, gain, wait = ">".join(refused["path"]), refused["gain_ms"], refused["for_s"]
    soon = "" if wait is None else f" for {wait:.1f} s more"
    match refused["because"]:
        case "gain":
            needed = refused["needed_ms"]
            return f"{path} is {gain:.1f} ms better; damping asks for {needed:.1f} ms."
        case "hold":
            return f"{path} is {gain:.1f} ms better, but the route is held{soon}."
        case "return":
            return (
                f"{path} is {gain:.1f} ms better, but was left lately: it must stay better{soon}."
            )
        case _:
            return (
                f"{path} is {gain:.1f} ms better, but too many routes move at once; it waits{soon}."
            )


def _of_oracle(told: Told, oracle: Oracle | None) -> list[str]:
    if oracle is None:
        return []
    if not oracle.best:
        return ["By the declared RTTs there is no way at all."]
    best = f"By the declared RTTs the best is {'>'.join(oracle.best)}, {_figure(oracle.best_ms)} ms"
    if told.get("path") is None:
        return [f"{best}."]
    regret = oracle.regret_ms(tuple(told["path"]))
    return [f"{best}: regret {_figure(regret)} ms."]


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
                    _figure(route["cost_ms"] if route else None),
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
            _figure(one["cost_ms"]),
            ">".join(one["direct"]) if one["direct"] else "-",
            _figure(one["direct_ms"]),
            _figure(one["gain_ms"]),
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

"""What a PoP says of one route, as text: the words of `popnet why`.

Pure: it takes the values that `pops.drivers.views` gives, and what the policy and the load balancers of the PoP say,
and returns lines, columns and sentences. All figures are milliseconds there and back.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from lab.explained import Table, Told, ago, figure

Pops = tuple[str, ...]

_SHOWN = 5
_RISES, _FALLS = 3, 1
# Of a connection's name: its connector, and its number there.
_CONNECTION = re.compile(r"(.+)\.(\d+)")
_FEWEST_LETTERS = 4


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


# Before there is a route: the policy, and the load balancer


def security(verdict: Told) -> str:
    """As trace and logs name the rule."""
    refused = f": refused, {verdict['status']} {verdict['detail']}" if verdict["status"] else ""
    return f"security: {verdict['name']}{refused}"


_BECAUSE = {
    "proximity": "the nearest serves: {}",
    "dynamic": "the nearest and quickest to answer serves: {}",
    "least_outstanding": "the least busy serves: {}",
    "failover": "the first that is up serves: {}",
    "weighted": "chance decides by weight, for each request; likely {}",
    "random": "chance decides, for each request; perhaps {}",
}

# What brought a member down, where the reason alone does not tell.
_CAUSES = {"requests": "requests failed: ", "checks": "health checks"}


def balancer(told: Told) -> tuple[str, Table]:
    """The load balancer's choice and its members, of which `*` would have this request."""
    chosen, members = told["chosen"], told["members"]
    up = {one["tunnel"] for one in members if one["state"] == "up"}
    if chosen is None:
        because = "no member can serve"
    elif chosen in up:
        because = _BECAUSE[told["steering"]].format(chosen)
    elif chosen in {one["tunnel"] for one in members}:
        because = f"requests failed at every member that is up; {chosen} gets them all the same"
    else:
        because = f"no member can serve, the fallback does: {chosen}"
    rows = [
        (
            "*" if one["tunnel"] == chosen else "",
            one["tunnel"],
            one["state"],
            f"{one['weight']:g}",
            figure(one["cost_ms"]),
            figure(one["check_ms"] or None),
            str(one["outstanding"]),
            _CAUSES.get(one["cause"], "") + (one["reason"] or ""),
        )
        for one in members
    ]
    columns = ("", "MEMBER", "STATE", "WEIGHT", "PATH ms", "CHECK ms", "UNDER WAY", "")
    head = f"load balancer {told['name']}, steering {told['steering']}: {because}"
    return head, Table(columns, rows, "lllrrrrl")


# The route


@dataclass(frozen=True, slots=True)
class Why:
    head: str
    table: Table
    sentences: list[str] = field(default_factory=list)


def why(told: Told, oracle: Oracle | None = None, *, everything: bool = False) -> Why:
    """`everything`: every path on every connection; without, the best connection of the best few paths."""
    candidates = told["candidates"]
    rows = candidates if everything else _worth_showing(candidates, told)
    connections = short(row["connection"] for row in candidates)
    several = everything or bool(_shared(candidates))
    terms = list(dict.fromkeys(itertools.chain.from_iterable(row["terms_ms"] for row in rows)))
    columns = ["", "RANK", "PATH", *(["CONNECTION"] if several else [])]
    signs = ["", *["+ "] * (len(terms) - 1)]
    columns += [f"{sign}{_words(term)}" for sign, term in zip(signs, terms, strict=False)]
    columns += ["= COST ms", *(["TRUE"] if oracle is not None else []), ""]
    cells = [
        [
            "*" if row["chosen"] else "",
            str(row["rank"]),
            ">".join(row["path"]),
            *([connections[row["connection"]]] if several else []),
            *(figure(row["terms_ms"].get(term)) for term in terms),
            figure(row["cost_ms"]),
            *([figure(oracle.by_path.get(tuple(row["path"])))] if oracle is not None else []),
            _remark(row),
        ]
        for row in rows
    ]
    figures = "r" * (len(terms) + 1 + (oracle is not None))
    table = Table(columns, cells, f"lrl{'l' if several else ''}{figures}l")
    return Why(_head(told), table, [*_sentences(told, rows, connections), *_true(told, oracle)])


def short(names: Iterable[str]) -> dict[str, str]:
    """Connections as `popnet trace` calls them, c2; with the beginning of its connector where there are several."""
    parts = {name: _CONNECTION.fullmatch(name) for name in names}
    connectors = {found[1] for found in parts.values() if found}
    letters, longest = _FEWEST_LETTERS, max(map(len, connectors), default=0)
    while letters < longest and len({one[:letters] for one in connectors}) < len(connectors):
        letters += 1
    shorter = {}
    for name, found in parts.items():
        connector = f"{found[1][:letters]}/" if found and len(connectors) > 1 else ""
        shorter[name] = f"{connector}c{found[2]}" if found else name
    return shorter


def _shared(candidates: Iterable[Told]) -> set[Pops]:
    """The PoPs of paths that lead to several connections."""
    seen: set[Pops] = set()
    twice: set[Pops] = set()
    for row in candidates:
        path = tuple(row["path"])
        (twice if path in seen else seen).add(path)
    return twice


def _worth_showing(candidates: Sequence[Told], told: Told) -> list[Told]:
    """The best connection of the first few paths and of the best direct one; the route; what damping refused."""
    best: dict[Pops, Told] = {}
    for row in candidates:
        best.setdefault(tuple(row["path"]), row)
    shown = list(best.values())[:_SHOWN]
    refused = told["damping"]["refused"] if candidates else None
    for wanted in (
        next((row for row in candidates if row["chosen"]), None),
        next((row for row in candidates if row["direct"]), None),
        next((row for row in candidates if refused is not None and _is(row, refused)), None),
    ):
        if wanted is not None and wanted not in shown:
            shown.append(wanted)
    return sorted(shown, key=candidates.index)


def _is(row: Told, other: Told) -> bool:
    return bool((row["path"], row["connection"]) == (other["path"], other["connection"]))


def _words(term: str) -> str:
    return term.replace("_", " ").upper()


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


def _sentences(told: Told, rows: Sequence[Told], connections: Mapping[str, str]) -> list[str]:
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
    if (flips := _flips(told["flips"], rows)) is not None:
        said.append(flips)
    elif told["pending"] is None and len(told["path"] or ()) == 1:
        said.append("The route has no link, and no fall of another path's link would change it.")
    elif told["pending"] is None:
        said.append("No rise or fall of a single link would change this.")
    if (refused := damping["refused"]) is not None:
        path = ">".join(refused["path"])
        if tuple(refused["path"]) in _shared(told["candidates"]):
            path += f" by {connections.get(refused['connection'], refused['connection'])}"
        said.append(_refused(refused, path))
    if damping["young"]:
        said.append("The route is new: any gain moves it.")
    else:
        needed = damping["needed_gain_ms"]
        asked = f"Another path must be {needed:.1f} ms better" if needed else "Any gain is enough"
        held = damping["held_for_s"]
        said.append(f"{asked}{f'; held for {held:.1f} s more' if held else ''}.")
    return [*failed, *said]


def _flips(flips: Sequence[Told], rows: Sequence[Told]) -> str | None:
    """One clause for all links that have to change by the same amount, one target for all clauses that share it."""
    numbers: dict[Pops, str] = {}
    for row in rows:
        numbers.setdefault(tuple(row["path"]), str(row["rank"]))
    clauses: dict[tuple[bool, Pops, str], list[str]] = {}
    for flip in flips:
        key = (flip["change_ms"] > 0, tuple(flip["to"]), f"{abs(flip['change_ms']):.1f}")
        clauses.setdefault(key, []).append("-".join(flip["link"]))
    by_target: dict[Pops, list[str]] = {}
    for wanted, verb, most in ((True, "rises", _RISES), (False, "falls", _FALLS)):
        told = [(key, links) for key, links in clauses.items() if key[0] is wanted]
        for (_, to, amount), links in told[:most]:
            clause = f"if {' or '.join(links)} {verb} {amount} ms"
            by_target.setdefault(to, []).append(clause)
    said = [
        f"to {numbers.get(to, '>'.join(to))} {', or '.join(conditions)}"
        for to, conditions in by_target.items()
    ]
    return f"Flips {'; '.join(said)}." if said else None


def _refused(refused: Told, path: str) -> str:
    gain, wait = refused["gain_ms"], refused["for_s"]
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


def _true(told: Told, oracle: Oracle | None) -> list[str]:
    if oracle is None:
        return []
    if not oracle.best:
        return ["By the declared RTTs there is no way at all."]
    best = f"By the declared RTTs the best is {'>'.join(oracle.best)}, {figure(oracle.best_ms)} ms"
    if told.get("path") is None:
        return [f"{best}."]
    regret = oracle.regret_ms(tuple(told["path"]))
    return [f"{best}: regret {figure(regret)} ms."]

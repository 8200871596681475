"""Events in words, one line each, as `popnet events` and the page show them.

    NRT-IAD rtt 158 > 400 ms, loss 0 > 2 %        both directions of a link
    NRT>LHR down                                  one
    app FRA>LHR to FRA (better)                   the route of a tunnel

A link's event says only how the link is now. What it was before is known from the event before it, or from the plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from topology.plan import Plan
from topology.spec import LinkSpec

Event = Mapping[str, Any]
Direction = tuple[str, str]

_LEFT_OUT = ("t", "node", "event")
# The agent says the same a moment before.
_TWICE = ("node_attached",)
_IDENTITY = re.compile(r"\b([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_LONGEST = 160
# What no file says: see `wan`.
_NO_ACCESS = LinkSpec(mtu=65535)


class Teller:
    """Is told every event in order. Without a plan the first event of a link has nothing to compare with."""

    def __init__(self, plan: Plan | None) -> None:
        self._plan = plan
        self._links: dict[Direction, LinkSpec] = {}

    def tell(self, event: Event) -> str | None:
        """What is to be said beside the node and the name of the event. None: it is no news."""
        match event.get("event"):
            case "link_changed" if "changes" in event:
                return self._link(event["changes"])
            case "route_changed":
                return _route(event)
            case "catchment_changed" if "moves" in event:
                return _moves(event["moves"])
            case name if name in _TWICE:
                return None
        return _cut("  ".join(_fields(event)))

    def _link(self, changes: Iterable[Mapping[str, Any]]) -> str:
        found: dict[Direction, tuple[LinkSpec | None, LinkSpec]] = {}
        for change in changes:
            direction = (change["from"], change["to"])
            spec = msgspec.convert(change["current"], LinkSpec)
            found[direction] = (self._before(direction), spec)
            self._links[direction] = spec
        said: list[str] = []
        told: set[Direction] = set()
        for (a, b), (was, now) in found.items():
            if (b, a) in told:
                continue
            if both := found.get((b, a)) == (was, now):
                told.add((a, b))
            if a and b:
                where = f"{a}-{b}" if both else f"{a}>{b}"
            else:
                where = f"{a or b} access" + ("" if both else " out" if a else " in")
            said.append(f"{where} {_changed(was, now, both=bool(both and a and b))}")
        return "; ".join(said)

    def _before(self, direction: Direction) -> LinkSpec | None:
        if direction in self._links or self._plan is None:
            return self._links.get(direction)
        source, destination = direction
        if not (source and destination):
            return self._plan.access(source or destination) or _NO_ACCESS
        return self._plan.link(source, destination)


def _changed(was: LinkSpec | None, now: LinkSpec, *, both: bool = False) -> str:
    """Only what differs; `both`: the delay as a round trip."""
    base = LinkSpec() if was is None else was
    said = []
    if base.down != now.down:
        said.append("down" if now.down else "up again")
    for name, field, unit, factor in (
        ("rtt" if both else "one-way", "one_way_s", "ms", 2e3 if both else 1e3),
        ("jitter", "jitter_s", "ms", 1e3),
        ("loss", "loss", "%", 1e2),
        ("rate", "rate_bps", "Mbit/s", 1e-6),
        ("queue", "queue_s", "ms", 1e3),
        ("reorder", "reorder", "%", 1e2),
        ("duplicate", "duplicate", "%", 1e2),
        ("mtu", "mtu", "bytes", 1),
    ):
        before, after = getattr(base, field), getattr(now, field)
        if before != after:
            since = f"{_number(before, factor)} > " if was is not None else ""
            after = "unlimited" if after is None else f"{_number(after, factor)} {unit}"
            said.append(f"{name} {since}{after}")
    for field in ("jitter_distribution", "jitter_correlation", "burst"):
        if (after := getattr(now, field)) != getattr(base, field):
            text = str(after) if isinstance(after, str | float) else "set" if after else "none"
            said.append(f"{field.replace('_', ' ')} {text}")
    return ", ".join(said) or "as before"


def _number(value: float | None, factor: float) -> str:
    return "unlimited" if value is None else f"{round(value * factor, 3):g}"


def _route(event: Event) -> str | None:
    """The path; by which of several connections it leaves the last PoP is for programs (JSON)."""
    old, new = event.get("old"), event.get("new")
    if old == new:
        return None
    was = f"{_path(old)} to " if old else ""
    reason = f" ({event['reason']})" if event.get("reason") else ""
    return f"{event.get('tunnel', '')} {was}{_path(new)}{reason}".strip()


def _path(pops: Any) -> str:
    return ">".join(map(str, pops)) if pops else "none"


def _moves(moves: Iterable[Mapping[str, Any]]) -> str:
    groups: dict[tuple[str, str], list[str]] = {}
    for move in moves:
        way = (move.get("from") or "nowhere", move.get("to") or "nowhere")
        groups.setdefault(way, []).append(move["visitor"])
    return "; ".join(
        f"{', '.join(visitors)}: {was} > {now}" for (was, now), visitors in groups.items()
    )


def _fields(event: Event) -> list[str]:
    """`key=value` of the rest. What says nothing is not shown."""
    return [
        f"{key}={text}"
        for key, value in event.items()
        if key not in _LEFT_OUT and value is not None and (text := _value(value)) != ""
    ]


def _value(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case str():
            return _IDENTITY.sub(r"\1", value)
        case list():
            return ",".join(_value(one) for one in value)
        case dict():
            return ",".join(f"{key}:{_value(one)}" for key, one in value.items())
    return str(value)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."

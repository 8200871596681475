"""What a timeline entry makes of the world: plain facts, every direction of every link spelled out.

`at_s` counts from the start of the timeline; after `for_s` the happening is undone (None: never), that
is to say: links return to what they were declared to be, nodes return, the partition ends.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from topology.model_timeline import LinkPair, RampEntry, TimelineEntry
from topology.units import link_fields, to_si

Direction = tuple[str, str]


class Change(Struct, frozen=True):
    """One direction; `fields` are those of LinkSpec, as `LinkSpec.patched` takes them."""

    source: str
    destination: str
    fields: dict[str, Any]


class Slope(Struct, frozen=True):
    """One field of LinkSpec on one direction, moving linearly from `start` to `end`."""

    source: str
    destination: str
    field: str
    start: float
    end: float


class SetLinks(Struct, frozen=True, tag="set"):
    """Links take these fields, all at once."""

    changes: tuple[Change, ...]


class Ramp(Struct, frozen=True, tag="ramp"):
    """Fields move in steps of `step_s` while `for_s` lasts, and are then as declared again."""

    slopes: tuple[Slope, ...]
    step_s: float


class Flap(Struct, frozen=True, tag="flap"):
    """These directions are down for `down_s` at the start of every `period_s`."""

    links: tuple[Direction, ...]
    period_s: float
    down_s: float


class Cut(Struct, frozen=True, tag="cut"):
    """These directions are down."""

    links: tuple[Direction, ...]


class Kill(Struct, frozen=True, tag="kill"):
    """The programs of these nodes die; `for_s` later they start again."""

    nodes: tuple[str, ...]


class Vanish(Struct, frozen=True, tag="vanish"):
    """Nothing goes in or out of these nodes."""

    nodes: tuple[str, ...]


class Pause(Struct, frozen=True, tag="pause"):
    """The programs of these nodes stand still; their announcements stay."""

    nodes: tuple[str, ...]


class Partition(Struct, frozen=True, tag="partition"):
    """Nodes of different groups cannot reach each other; nodes of no group reach all."""

    groups: tuple[tuple[str, ...], ...]


What = SetLinks | Ramp | Flap | Cut | Kill | Vanish | Pause | Partition


class Happening(Struct, frozen=True, kw_only=True):
    """One entry of the timeline, in the order of its time; ties keep the order of the file."""

    at_s: float
    for_s: float | None
    what: What


def nodes(what: What) -> tuple[str, ...]:
    """Everybody whom it names."""
    match what:
        case SetLinks():
            return tuple(name for one in what.changes for name in (one.source, one.destination))
        case Ramp():
            return tuple(name for one in what.slopes for name in (one.source, one.destination))
        case Flap() | Cut():
            return tuple(name for ends in what.links for name in ends)
        case Partition():
            return tuple(name for group in what.groups for name in group)
        case _:
            return what.nodes


def happenings(timeline: tuple[TimelineEntry, ...], pops: tuple[str, ...]) -> tuple[Happening, ...]:
    """All entries, sorted by time. `pops` are all PoPs, for a partition that names one group only."""
    parsed = [
        Happening(at_s=entry.at, for_s=entry.for_, what=_what(entry, pops)) for entry in timeline
    ]
    return tuple(sorted(parsed, key=lambda happening: happening.at_s))


def _what(entry: TimelineEntry, pops: tuple[str, ...]) -> What:
    if entry.set is not None:
        fields, both = link_fields(entry.set)
        ways = _ways(entry.set.from_, entry.set.to, both)
        return SetLinks(tuple(Change(a, b, fields) for a, b in ways))
    if entry.ramp is not None:
        return _ramp(entry.ramp)
    if entry.flap is not None:
        period = entry.flap.period
        return Flap(_pair(entry.flap), period, period * entry.flap.down_share)
    if entry.cut is not None:
        return Cut(_pair(entry.cut))
    if entry.kill is not None:
        return Kill(entry.kill)
    if entry.vanish is not None:
        return Vanish(entry.vanish)
    if entry.pause is not None:
        return Pause(entry.pause)
    assert entry.partition is not None, "the loader lets no entry through that says nothing"
    groups = entry.partition
    if len(groups) == 1:
        groups = (groups[0], tuple(name for name in pops if name not in groups[0]))
    return Partition(groups)


def _ramp(entry: RampEntry) -> Ramp:
    both = entry.rtt_ms is not None or bool(entry.both)
    slopes = []
    for name in entry.__struct_fields__:
        ends = getattr(entry, name)
        if name.endswith(("_ms", "_pct", "_mbit")) and ends is not None:
            (field, start), (_, end) = to_si(name, ends[0]), to_si(name, ends[1])
            for source, destination in _ways(entry.from_, entry.to, both):
                slopes.append(Slope(source, destination, field, start, end))
    return Ramp(tuple(slopes), entry.every)


def _pair(pair: LinkPair) -> tuple[Direction, ...]:
    return _ways(pair.from_, pair.to, pair.both)


def _ways(source: str, destination: str, both: bool) -> tuple[Direction, ...]:
    forth, back = (source, destination), (destination, source)
    return (forth, back) if both else (forth,)

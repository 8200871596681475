"""The `timeline` section as written: at a time, for a time, one thing happens.

`topology.happenings` turns these into what the wan process and the lab carry out.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from topology.model_links import LinkChange
from topology.model_types import (
    Duration,
    Megabits,
    Name,
    NotNegative,
    Percent,
    Period,
    Share,
    one_or_many,
)

ACTIONS = ("set", "ramp", "flap", "cut", "kill", "vanish", "pause", "partition")


class LinkPair(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two nodes, both directions unless `both: false`. Short: [LHR, NRT]."""

    from_: Annotated[Name, Meta(description="A node's name.")] = field(name="from")
    to: Annotated[Name, Meta(description="A node's name.")]
    both: Annotated[bool, Meta(description="false: only from > to.")] = True


class FlapEntry(LinkPair, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A link that goes down and up again and again."""

    period: Annotated[Period, Meta(description="From one going down to the next.")]
    down_share: Annotated[Share, Meta(description="Share of the period that it is down.")] = 0.5


class RampEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Link parameters that move from a first to a last value while `for` lasts: [first, last]."""

    from_: Annotated[Name, Meta(description="A node's name.")] = field(name="from")
    to: Annotated[Name, Meta(description="A node's name.")]
    both: Annotated[bool | None, Meta(description="Shape to > from as well.")] = None
    every: Annotated[Period, Meta(description="Time between two steps.")] = 0.1
    one_way_ms: tuple[NotNegative, NotNegative] | None = None
    rtt_ms: tuple[NotNegative, NotNegative] | None = None
    jitter_ms: tuple[NotNegative, NotNegative] | None = None
    loss_pct: tuple[Percent, Percent] | None = None
    rate_mbit: tuple[Megabits, Megabits] | None = None
    queue_ms: tuple[NotNegative, NotNegative] | None = None
    reorder_pct: tuple[Percent, Percent] | None = None
    duplicate_pct: tuple[Percent, Percent] | None = None


class TimelineEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that happens: exactly one of set, ramp, flap, cut, kill, vanish, pause, partition."""

    at: Annotated[Duration, Meta(description="Since the timeline began.")]
    for_: Annotated[
        Duration | None, Meta(description="Undone after this time. Left out: never.")
    ] = field(default=None, name="for")
    set: LinkChange | None = None
    ramp: RampEntry | None = None
    flap: FlapEntry | None = None
    cut: Annotated[
        LinkPair | None,
        Meta(description="A link that passes nothing: [LHR, NRT].", extra={"sugar": "pair"}),
    ] = None
    kill: Annotated[
        tuple[Name, ...] | None, one_or_many("The process dies; its kernel says so.")
    ] = None
    vanish: Annotated[tuple[Name, ...] | None, one_or_many("Silence: no packet in or out.")] = None
    pause: Annotated[
        tuple[Name, ...] | None, one_or_many("The program stops, its announcements stay.")
    ] = None
    partition: Annotated[
        tuple[tuple[Name, ...], ...] | None,
        Meta(
            description="Groups that cannot reach each other; one group: against all other PoPs.",
            extra={"sugar": "groups"},
        ),
    ] = None

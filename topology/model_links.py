"""The `internet` section: what lies between any two nodes, in the units of the file.

Which source wins for a pair, from strongest to weakest: `links`, `one_way_ms`, `rtt_ms`, `rtt_csv`,
distance (`missing`). Impairments come from `links`, else from `defaults`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from topology.model_types import Megabits, Name, NotNegative, Percent, Share

Mtu = Annotated[int, Meta(ge=576, le=65535)]
Rate = Annotated[
    Megabits | Literal["unlimited"] | None, Meta(description="Capacity in megabit per second.")
]


class BurstLoss(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Losses that come in bursts (Gilbert-Elliott): a good and a bad state, chances per packet."""

    enter_pct: Annotated[Percent, Meta(description="Chance to go from good to bad.")]
    leave_pct: Annotated[Percent, Meta(description="Chance to go from bad to good.")]
    loss_good_pct: Annotated[Percent, Meta(description="Loss while good.")] = 0.0
    loss_bad_pct: Annotated[Percent, Meta(description="Loss while bad.")] = 100.0


class Impairments(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a link does to packets besides delaying them. What is left out is as in `defaults`."""

    jitter_ms: Annotated[
        NotNegative | None, Meta(description="Standard deviation of the one-way delay.")
    ] = None
    jitter_distribution: Annotated[
        Literal["normal", "uniform", "pareto"] | None, Meta(description="Shape of the jitter.")
    ] = None
    jitter_correlation: Annotated[
        Share | None, Meta(description="0: packets vary freely. 1: all alike.")
    ] = None
    loss_pct: Annotated[Percent | None, Meta(description="Random loss.")] = None
    burst: BurstLoss | None = None
    rate_mbit: Rate = None
    queue_ms: Annotated[
        NotNegative | None, Meta(description="Drop-tail queue, as time at the rate.")
    ] = None
    reorder_pct: Annotated[
        Percent | None, Meta(description="Packets that overtake those before them.")
    ] = None
    duplicate_pct: Annotated[Percent | None, Meta(description="Packets that arrive twice.")] = None
    mtu: Annotated[Mtu | None, Meta(description="Largest packet, in bytes.")] = None
    down: Annotated[bool | None, Meta(description="Nothing passes.")] = None


class LinkChange(Impairments, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A link of two nodes. With `rtt_ms` or `both` the entry shapes both directions, else from > to."""

    from_: Annotated[Name, Meta(description="A node's name.")] = field(name="from")
    to: Annotated[Name, Meta(description="A node's name.")]
    both: Annotated[bool | None, Meta(description="Shape to > from as well.")] = None
    one_way_ms: Annotated[NotNegative | None, Meta(description="Delay of one direction.")] = None
    rtt_ms: Annotated[
        NotNegative | None, Meta(description="There and back; half of it each way.")
    ] = None


class Access(Impairments, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node's own line to the Internet: everything it sends, and everything it receives, passes it."""

    one_way_ms: Annotated[NotNegative | None, Meta(description="Delay added each way.")] = None


class Missing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The RTT of a pair that nothing else tells: great circle in fibre, inflated, plus last mile."""

    model: Annotated[Literal["fibre"], Meta(description="Light in fibre: two thirds of c.")] = (
        "fibre"
    )
    inflation: Annotated[
        float, Meta(ge=1, le=100, description="How much longer cables are than the great circle.")
    ] = 1.6
    last_mile_rtt_ms: Annotated[
        NotNegative, Meta(description="There and back, for each end that is not a PoP.")
    ] = 4.0


Table = dict[Name, dict[Name, NotNegative]]


class Internet(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Delay and impairments between nodes."""

    rtt_ms: Annotated[
        Table,
        Meta(description="There and back, once a pair: {LHR: {FRA: 14}}. Any two nodes."),
    ] = field(default_factory=dict)
    one_way_ms: Annotated[
        Table, Meta(description="One direction: {LHR: {FRA: 7}} is from LHR to FRA.")
    ] = field(default_factory=dict)
    rtt_csv: Annotated[
        str | None,
        Meta(
            description="File with a square RTT matrix in ms, a header row of names, beside this file. "
            "Half of row A, column B is the delay from A to B. Empty cells fall back to distance."
        ),
    ] = None
    missing: Missing = Missing()
    defaults: Annotated[Impairments, Meta(description="Of every link that says nothing else.")] = (
        Impairments()
    )
    links: Annotated[
        tuple[LinkChange, ...], Meta(description="Single links; later entries win over earlier.")
    ] = ()
    access: Annotated[dict[Name, Access], Meta(description="Lines of single nodes.")] = field(
        default_factory=dict
    )
    congestion: Annotated[
        Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$")] | None,
        Meta(
            description="TCP congestion control of every node: cubic, reno, bbr ... as the kernel has.",
        ),
    ] = None

"""Generated load: requests that the lab sends by itself."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from topology.model_types import METHOD_PATTERN, Name, Period

Url = Annotated[str, Meta(pattern="^https?://")]
# Neither end lets a sum of them, or what is between two requests, become infinite.
Weight = Annotated[float, Meta(gt=0, le=1e9)]
Rate = Annotated[float, Meta(ge=1e-6, le=100_000)]


class Load(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests that the lab sends by itself."""

    rate_per_s: Annotated[Rate, Meta(description="Of all visitors together.")]
    url: Annotated[
        Url | None,
        Meta(
            description="What is asked for; {size} in it becomes one of `sizes`, {id} the number of the request."
        ),
    ] = None
    mix: Annotated[
        dict[Url, Weight],
        Meta(description="Several URLs instead, each with its weight."),
    ] = field(default_factory=dict)
    sizes: Annotated[
        tuple[Annotated[int, Meta(ge=0)], ...],
        Meta(description="Bytes, each as likely as the others."),
    ] = ()
    methods: Annotated[
        dict[Annotated[str, Meta(pattern=METHOD_PATTERN)], Weight],
        Meta(
            description="HTTP methods, each with its weight; POST, PUT and PATCH with a body of 32 times the URL. "
            "Left out: GET."
        ),
    ] = field(default_factory=dict)
    arrivals: Annotated[
        Literal["poisson", "constant", "uniform"],
        Meta(description="uniform: one request in each interval, anywhere in it."),
    ] = "poisson"
    visitors: Annotated[tuple[Name, ...], Meta(description="Left out: all of them.")] = field(
        default=()
    )
    keep_alive: Annotated[
        bool, Meta(description="Reuse connections; otherwise every request begins with DNS.")
    ] = False
    timeout: Annotated[Period, Meta(description="After which a request has failed.")] = 20.0

"""Load balancers: pools of tunnels behind one hostname, how one is chosen, and how each is checked."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from topology.model_types import MEMBER_PATTERN, Name, Period, Positive, one_or_many

MemberName = Annotated[str, Meta(pattern=MEMBER_PATTERN)]
Status = Annotated[str, Meta(pattern="^[1-5]([0-9][0-9]|xx)$")]


class Health(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the service behind each tunnel is checked: requests through the tunnel."""

    path: Annotated[str, Meta(pattern="^/", description="What is asked for.")] = "/"
    expect: Annotated[tuple[Status, ...], one_or_many("Statuses that are well: 200, 2xx.")] = (
        "2xx",
        "3xx",
    )
    every: Annotated[Period, Meta(description="Between two checks of one tunnel.")] = 5.0
    timeout: Annotated[Period, Meta(description="After which a check has failed.")] = 2.0
    fall: Annotated[int, Meta(ge=1, description="Failures in a row that bring it down.")] = 2
    rise: Annotated[int, Meta(ge=1, description="Successes in a row that bring it up again.")] = 2


class Member(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tunnel of a pool, or its connectors at one site."""

    weight: Annotated[
        Positive, Meta(description="Of its share, where the steering has shares.")
    ] = 1.0


def parted(member: str) -> tuple[str, str]:
    """The tunnel and the site that a member's name says; without a site all of the tunnel's."""
    tunnel, _, site = member.partition("@")
    return tunnel, site


class Affinity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A visitor stays with the member that served it first, as long as that one is up."""

    cookie: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,40}$", description="Its name.")] = (
        "popnet-member"
    )
    ttl: Annotated[Period, Meta(description="How long a visitor stays.")] = 3600.0


class LoadBalancer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Several tunnels, or sites of one, behind one hostname."""

    pool: Annotated[
        dict[MemberName, Member],
        Meta(
            min_length=1,
            description="Names in `tunnels`; `app@dublin`: the connectors of `app` at `dublin`.",
            extra={"sugar": "names"},
        ),
    ]
    steering: Annotated[
        Literal["proximity", "dynamic", "least_outstanding", "random", "weighted", "failover"],
        Meta(
            description="Which member serves: the nearest; nearest and fastest to answer; least busy; "
            "any; any by weight; the first that is up."
        ),
    ] = "proximity"
    health: Health = Health()
    affinity: Affinity | None = None
    fallback: Annotated[
        Name | None, Meta(description="A tunnel that serves when all of the pool are down.")
    ] = None

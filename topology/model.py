"""What a world file says: one frozen struct a section, keys and units as people write them.

A `World` comes from `topology.load`; other rooms mostly want `topology.plan`, which is what a world
resolves to, in seconds and bits per second. Durations are plain seconds here: `3s` has been read.
The JSON Schema (`topology.schema`) is generated from these structs, so descriptions and bounds stand
in one place. `Meta.extra` marks what a file may also say in a shorter form (see `topology.shape`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from topology.model_limits import Limits, Timeouts
from topology.model_links import Internet
from topology.model_load import Load
from topology.model_pools import LoadBalancer
from topology.model_security import Access, SecurityRule
from topology.model_timeline import TimelineEntry
from topology.model_types import (
    ASSERTION_PATTERN,
    Duration,
    Latitude,
    Longitude,
    Name,
    NotNegative,
    Percent,
    Period,
    mapping_or_list,
    one_or_many,
)

Assertion = Annotated[str, Meta(pattern=ASSERTION_PATTERN)]
Position = tuple[Latitude, Longitude]


class Pop(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One site of the edge. Its name is an IATA code, or any name with `at`."""

    region: Annotated[
        Literal[1, 2] | None,
        Meta(description="Which SRV answer offers this PoP. Left out: alternating by place."),
    ] = None
    at: Annotated[
        Position | None,
        Meta(description="[latitude, longitude] in degrees, instead of an IATA code."),
    ] = None
    neighbors: Annotated[
        tuple[Name, ...] | None,
        Meta(
            description="Overlay neighbours of this PoP, instead of routing.neighbors. Both ways."
        ),
    ] = None


class Visitor(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where people ask from. Its name is a city, or any name with `at` or `city`."""

    at: Annotated[Position | None, Meta(description="[latitude, longitude] in degrees.")] = None
    city: Annotated[
        str | None, Meta(description="A city, such as `berlin` or `london-ca` (city-country).")
    ] = None


class Service(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The private web service of a site: `hello` (built in), a URL, or a command to run."""

    hello: Annotated[bool, Meta(description="The built-in service that says who asked.")] = False
    url: Annotated[
        str | None,
        Meta(description="Where the service listens inside the site: http://localhost:8000"),
    ] = None
    command: Annotated[
        str | None,
        Meta(description="A program to run inside the site; `url` says where it listens."),
    ] = None

    @property
    def origin(self) -> str:
        """The URL a connector hands requests to."""
        return self.url or "http://localhost:8000"


class Connector(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One running tunnel client beside the service."""

    run: Annotated[
        Literal["tunnel_client", "cloudflared"],
        Meta(description="Which program connects the tunnel."),
    ] = "tunnel_client"
    connections: Annotated[
        int, Meta(ge=1, le=32, description="Connections to PoPs, spread over both regions.")
    ] = 4
    tunnel: Annotated[
        Name | None,
        Meta(description="Which tunnel, when the site has several. Left out: each of them."),
    ] = None


class Site(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A private place: nothing reaches it but answers to what it dialled itself."""

    at: Annotated[Position | None, Meta(description="[latitude, longitude] in degrees.")] = None
    city: Annotated[str | None, Meta(description="A city, when the site's name is not one.")] = None
    service: Annotated[
        Service,
        Meta(
            description="`hello`, a URL, or {command, url}.",
            extra={"sugar": "service"},
        ),
    ] = Service(hello=True)
    connectors: tuple[Connector, ...] = (Connector(),)


class Tunnel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named service: hostnames lead to it, the connectors of one site or of several serve it."""

    sites: Annotated[
        tuple[Name, ...],
        Meta(
            min_length=1,
            description="The site whose connectors serve this tunnel; or several, as replicas.",
            extra={"sugar": "one"},
        ),
    ] = field(name="site")


TARGETS = ("tunnel", "load_balancer")


class DnsName(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a hostname leads to: a tunnel or a load balancer, one of the two."""

    tunnel: Annotated[Name | None, Meta(description="A name in `tunnels`.")] = None
    load_balancer: Annotated[Name | None, Meta(description="A name in `load_balancers`.")] = None


class AnycastPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How visitors and connectors land at PoPs."""

    policy: Annotated[
        Literal["lowest_rtt"], Meta(description="Everyone lands at the PoP of lowest RTT.")
    ] = "lowest_rtt"
    convergence: Annotated[
        Duration, Meta(description="From a PoP's death until its announcement is gone everywhere.")
    ] = 3.0
    pin: Annotated[
        dict[Name, Name], Meta(description="Visitor: PoP. A catchment that routing got wrong.")
    ] = field(default_factory=dict)


_EWMA: dict[str, float | tuple[float, ...]] = {"ewma": 0.3}


class Probe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How PoPs measure the links to their neighbours."""

    every: Annotated[Period, Meta(description="Time between two probes of one link.")] = 1.0
    estimator: Annotated[
        str
        | Annotated[
            dict[str, float | tuple[float, ...]],
            Meta(
                min_length=1,
                max_length=1,
                description="One estimator with its parameter or parameters.",
            ),
        ],
        Meta(
            description="How samples become an estimate: last, ewma, min, median, quantile or mean_deviation.",
            examples=[{"ewma": 0.3}, {"quantile": [0.9, 20]}, "last"],
        ),
    ] = field(default_factory=lambda: _EWMA.copy())
    budget_per_s: Annotated[
        float,
        Meta(gt=0, description="Most probes a second that one PoP sends, over all its links."),
    ] = 40.0


class Damping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a better path is refused. A dead path is left at once, whatever stands here."""

    min_gain_pct: Annotated[
        Percent, Meta(description="A new path must cost less by this share of the present cost ...")
    ] = 5.0
    min_gain_ms: Annotated[NotNegative, Meta(description="... and by this much.")] = 0.0
    hold: Annotated[
        Duration,
        Meta(
            description="Between two changes of one route; doubles, up to eight times, while it flaps."
        ),
    ] = 10.0
    max_moved_pct: Annotated[
        float,
        Meta(gt=0, le=100, description="Of a PoP's routes, how many may move in one interval."),
    ] = 100.0
    interval: Annotated[Period, Meta(description="For max_moved_pct.")] = 1.0


class Neighbors(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which PoPs hold overlay connections to which."""

    policy: Annotated[
        Literal["auto", "full_mesh", "nearest"],
        Meta(
            description="auto: full mesh up to `full_mesh_up_to` PoPs, above that nearest plus hubs."
        ),
    ] = "auto"
    full_mesh_up_to: Annotated[int, Meta(ge=2)] = 32
    nearest: Annotated[int, Meta(ge=1, description="Each PoP's closest PoPs by RTT.")] = 6
    hubs: Annotated[
        int, Meta(ge=0, description="Central PoPs that are neighbours of every PoP.")
    ] = 4


class Routing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How PoPs choose a path through the overlay."""

    algorithm: Annotated[
        str,
        Meta(
            min_length=1,
            description="A name in the catalogue, or a Python file with `decide`, beside this one.",
        ),
    ] = "one-relay"
    source: Annotated[
        str | None,
        Meta(description="The text of that Python file, instead of a file."),
    ] = None
    params: Annotated[
        dict[str, bool | int | float | str | tuple[str, ...]],
        Meta(description="Parameters of the algorithm."),
    ] = field(default_factory=dict)
    beside: Annotated[
        tuple[str, ...],
        Meta(
            description="Names of further algorithms that PoPs work out as well: a request with the header "
            "`popnet-algorithm` takes the one it names."
        ),
    ] = ()
    hop_limit: Annotated[int, Meta(ge=1, le=16, description="Most PoPs that a path may enter.")] = 6
    probe: Probe = Probe()
    damping: Damping = Damping()
    neighbors: Neighbors = Neighbors()


class World(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A popnet world file: PoPs, the Internet between them, visitors, private sites."""

    popnet: Annotated[Literal[1], Meta(description="Format of this file.")]
    name: Annotated[Name, Meta(description="Name of the lab.")] = "default"
    seed: Annotated[
        int, Meta(ge=0, le=2**63 - 1, description="Same seed, same flow, same fate.")
    ] = 1
    pops: Annotated[
        dict[Name, Pop], mapping_or_list("IATA codes, or any names with `at`. At least two PoPs.")
    ]
    internet: Internet = Internet()
    anycast: AnycastPolicy = AnycastPolicy()
    visitors: Annotated[
        dict[Name, Visitor], mapping_or_list("Cities, or any names with `at` or `city`.")
    ] = field(default_factory=dict)
    sites: Annotated[dict[Name, Site], Meta(description="Private places, by name.")] = field(
        default_factory=dict
    )
    tunnels: Annotated[dict[Name, Tunnel], Meta(description="Tunnels, by name.")] = field(
        default_factory=dict
    )
    dns: Annotated[
        dict[str, DnsName], Meta(description="Hostnames that the lab's DNS answers for.")
    ] = field(default_factory=dict)
    load_balancers: Annotated[dict[Name, LoadBalancer], Meta(description="Pools, by name.")] = (
        field(default_factory=dict)
    )
    security: Annotated[
        tuple[SecurityRule, ...], Meta(description="At the ingress PoP; the first match wins.")
    ] = ()
    access: Access = Access()
    routing: Routing = Routing()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    load: Load | None = None
    timeline: Annotated[
        tuple[TimelineEntry, ...], Meta(description="What happens to the world, and when.")
    ] = ()
    assert_: Annotated[
        tuple[Assertion, ...],
        one_or_many("What must have held when the run ends: `availability >= 99.9%`."),
    ] = field(default=(), name="assert")

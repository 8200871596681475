"""What a world resolves to: every node with its place and address, every link with its numbers.

The lab writes a plan to RUN/world.json; every other process of ours reads that file and never the
YAML: coordinates, matrices and regions are resolved in it. Links are worked out when asked for
(n * n of them would be 100,000 for 330 PoPs) and kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import inf

import msgspec
from msgspec import Struct

from topology import addresses, neighbors, places, regions
from topology.geo import fibre_s, great_circle_m
from topology.happenings import (
    Change,
    Cut,
    Flap,
    Happening,
    Kill,
    Partition,
    Pause,
    Ramp,
    SetLinks,
    Slope,
    Vanish,
    What,
    happenings,
)
from topology.model import Pop, Site, Visitor, World
from topology.spec import Anycast, Burst, Kind, LinkSpec, Node
from topology.units import impairment_fields, link_fields

__all__ = [
    "Anycast",
    "Burst",
    "Change",
    "Cut",
    "Flap",
    "Happening",
    "Kill",
    "LinkSpec",
    "Node",
    "Partition",
    "Pause",
    "Plan",
    "Ramp",
    "SetLinks",
    "Slope",
    "Vanish",
    "What",
]


class Plan(Struct, frozen=True, kw_only=True, dict=True):
    """A resolved world. `nodes` are in file order: PoPs, visitors, sites."""

    world: World
    nodes: dict[str, Node]
    anycast: tuple[Anycast, ...]
    timeline: tuple[Happening, ...] = ()

    @classmethod
    def of(cls, world: World) -> Plan:
        """Resolve a world that `load_world` let through."""
        pops = tuple(world.pops)
        nodes = _nodes(world)
        members = {
            region: tuple(name for name in pops if nodes[name].region == region)
            for region in regions.REGIONS
        }
        anycast = [
            Anycast(address=addresses.VISITORS_ANYCAST, members=pops),
            Anycast(address=addresses.DNS_ANYCAST, members=pops),
        ]
        for region, group in addresses.REGION_ANYCAST.items():
            anycast += [Anycast(address=address, members=members[region]) for address in group]
        timeline = happenings(world.timeline, pops)
        return cls(world=world, nodes=nodes, anycast=tuple(anycast), timeline=timeline)

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes) -> Plan:
        return msgspec.json.decode(data, type=cls)

    def idle(self) -> Plan:
        """The same, but nothing happens by itself: `world` still says what would."""
        return msgspec.structs.replace(self, timeline=())

    def happenings(self) -> tuple[Happening, ...]:
        """What the world file's timeline says, also in a plan that is idle."""
        return happenings(self.world.timeline, tuple(self.world.pops))

    @property
    def name(self) -> str:
        return self.world.name

    @property
    def seed(self) -> int:
        return self.world.seed

    @property
    def convergence_s(self) -> float:
        return self.world.anycast.convergence

    @property
    def pins(self) -> dict[str, str]:
        """Visitor (or site) -> the PoP where it lands, whatever is nearer."""
        return self.world.anycast.pin

    @property
    def congestion(self) -> str | None:
        return self.world.internet.congestion

    @property
    def pops(self) -> tuple[str, ...]:
        return tuple(self.world.pops)

    def link(self, source: str, destination: str) -> LinkSpec:
        """One direction between two nodes, as declared. KeyError when there is no such node."""
        key = (source, destination)
        found = self._links.get(key)
        if found is None:
            found = self._links[key] = self._work_out(self.nodes[source], self.nodes[destination])
        return found

    def access(self, node: str) -> LinkSpec | None:
        """A node's own line, passed once by all it sends and once by all it receives."""
        self.nodes[node]
        return self._access.get(node)

    def rtt(self, source: str, destination: str) -> float:
        """Both directions of the link together, without access; infinite when one is down."""
        forth, back = self.link(source, destination), self.link(destination, source)
        return inf if forth.down or back.down else forth.one_way_s + back.one_way_s

    def landing(self, visitor: str) -> str:
        """Where the visitors' anycast brings a node: its pin, else the PoP of lowest RTT."""
        pinned = self.pins.get(visitor)
        return pinned if pinned is not None else self.nearest(visitor)

    def nearest(self, node: str) -> str:
        """The PoP of lowest RTT; ties go by file order."""
        return min(self.pops, key=lambda pop: self.rtt(node, pop))

    def neighbors(self, pop: str) -> tuple[str, ...]:
        """Overlay neighbours, in file order. Mutual."""
        return self._neighbors[pop]

    @cached_property
    def _neighbors(self) -> dict[str, tuple[str, ...]]:
        pops, how = self.pops, self.world.routing.neighbors
        mesh = how.policy == "full_mesh" or (
            how.policy == "auto" and len(pops) <= how.full_mesh_up_to
        )
        adjacent = (
            neighbors.full_mesh(pops)
            if mesh
            else neighbors.nearest_and_hubs(pops, self.rtt, how.nearest, how.hubs)
        )
        declared = {name: pop.neighbors for name, pop in self.world.pops.items()}
        adjacent = neighbors.with_declared(adjacent, declared)
        return {pop: tuple(to for to in pops if to in adjacent[pop]) for pop in pops}

    @cached_property
    def _links(self) -> dict[tuple[str, str], LinkSpec]:
        return {}

    @cached_property
    def _defaults(self) -> LinkSpec:
        return LinkSpec().patched(impairment_fields(self.world.internet.defaults))

    @cached_property
    def _access(self) -> dict[str, LinkSpec]:
        entries = self.world.internet.access
        return {name: LinkSpec().patched(impairment_fields(said)) for name, said in entries.items()}

    @cached_property
    def _said(self) -> dict[tuple[str, str], dict[str, object]]:
        """What `links` says of a direction; later entries win field by field."""
        said: dict[tuple[str, str], dict[str, object]] = {}
        for entry in self.world.internet.links:
            fields, both = link_fields(entry)
            said.setdefault((entry.from_, entry.to), {}).update(fields)
            if both:
                said.setdefault((entry.to, entry.from_), {}).update(fields)
        return said

    def _work_out(self, source: Node, destination: Node) -> LinkSpec:
        spec = msgspec.structs.replace(
            self._defaults, one_way_s=round(self._one_way_s(source, destination), 9)
        )
        said = self._said.get((source.name, destination.name))
        return spec.patched(said) if said else spec

    def _one_way_s(self, source: Node, destination: Node) -> float:
        a, b, internet = source.name, destination.name, self.world.internet
        declared = internet.one_way_ms.get(a, {}).get(b)
        if declared is not None:
            return declared / 1e3
        for one, other in ((a, b), (b, a)):
            declared = internet.rtt_ms.get(one, {}).get(other)
            if declared is not None:
                return declared / 2e3
        if a == b:
            return 0.0
        metres = great_circle_m(source.lat, source.lon, destination.lat, destination.lon)
        ends = (source.kind != "pop") + (destination.kind != "pop")
        missing = internet.missing
        return fibre_s(metres) * missing.inflation + ends * missing.last_mile_rtt_ms / 2e3


def _nodes(world: World) -> dict[str, Node]:
    kinds: tuple[tuple[Kind, Mapping[str, Pop | Visitor | Site]], ...] = (
        ("pop", world.pops),
        ("visitor", world.visitors),
        ("site", world.sites),
    )
    found = {name: place_of(name, entry) for _, part in kinds for name, entry in part.items()}
    region = regions.assign(
        {name: (found[name].lat, found[name].lon) for name in world.pops},
        {name: pop.region for name, pop in world.pops.items()},
    )
    return {
        name: Node(
            name=name,
            kind=kind,
            lat=found[name].lat,
            lon=found[name].lon,
            address=address,
            region=region.get(name),
            private=kind == "site",
            country=found[name].country,
            place=found[name].city,
        )
        for kind, part in kinds
        for name, address in addresses.unicast(kind, tuple(part)).items()
    }


def place_of(name: str, entry: Pop | Visitor | Site) -> places.Place:
    """Where a node is. LookupError when neither its name nor its entry says so."""
    if entry.at is not None:
        return places.Place(*entry.at)
    if isinstance(entry, Pop):
        place: places.Place | places.Ambiguous | None = places.airport(name)
    else:
        place = places.city(entry.city or name)
    if isinstance(place, places.Place):
        return place
    raise LookupError(name)

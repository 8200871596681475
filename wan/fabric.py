"""Who is attached, which links lie between them, and where a packet from one node for one address goes.

The fabric knows nodes, addresses (opaque bytes) and flow keys; `wan.router` reads the packets, the carrier
moves them, `wan.changes` turns what people ask for into calls of the methods below. All of them take `now`.

Paths are worked out once, and again after any change of routes or links.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from topology.plan import LinkSpec, Node, Plan
from wan import packet
from wan.catchment import Catchment
from wan.flows import Flows
from wan.link import Link
from wan.ways import Door, Flow, Path, Refusal, Tap

# Routers answer from here: the half of 198.18.0.0/15 (RFC 2544) in which no anycast address lies.
_ROUTERS = "198.19.0.0"


class Fabric:
    """All doors and links of a world."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.catchment = Catchment(plan.anycast, plan.rtt, plan.convergence_s, plan.pins)
        self.flows = Flows(plan.seed)
        self._catchment_epoch = 0
        self.doors = {
            name: self._door(number, node) for number, (name, node) in enumerate(plan.nodes.items())
        }
        self._unicast = {door.address: door for door in self.doors.values()}
        self._routers = {door.router: door for door in self.doors.values()}
        self._anycast = {packet.pack_address(text): text for text in self.catchment.addresses}
        self._links: dict[tuple[str, str], Link] = {}
        self._paths: dict[tuple[str, str], Path] = {}
        self._groups: tuple[frozenset[str], ...] = ()
        self._pair_taps: dict[tuple[str, str], tuple[Tap, ...]] = {}

    def _door(self, number: int, node: Node) -> Door:
        base = int.from_bytes(packet.pack_address(_ROUTERS))
        router = (base + number + 1).to_bytes(len(packet.pack_address(_ROUTERS)))
        anycast = [group.address for group in self.plan.anycast if node.name in group.members]
        own = frozenset(packet.pack_address(text) for text in (node.address, *anycast))
        door = Door(node, own, router)
        access = self.plan.access(node.name)
        if access is not None:
            door.up, door.down = Link(f"{node.name}>", access), Link(f">{node.name}", access)
        return door

    # Links and paths

    def link(self, source: str, destination: str) -> Link:
        """One direction, made when first asked for. KeyError when there is no such node."""
        key = (source, destination)
        link = self._links.get(key)
        if link is None:
            link = self._links[key] = Link(f"{source}>{destination}", self.plan.link(*key))
        return link

    def links(self) -> Iterator[tuple[str, str, Link]]:
        """Directions that were ever used or changed, in the order of the world file."""
        order = {name: number for number, name in enumerate(self.doors)}
        for source, destination in sorted(
            self._links, key=lambda pair: (order[pair[0]], order[pair[1]])
        ):
            yield source, destination, self._links[source, destination]

    def packets(self) -> int:
        """How many have been judged, or refused, since the start."""
        return sum(link.packets for link in self._links.values())

    def rtt(self, one: str, other: str) -> float:
        """There and back as it is now, access lines included; infinite when something is down."""
        ends = self.doors[one], self.doors[other]
        total = 0.0
        for path in (self.path(*ends), self.path(*ends[::-1])):
            if path.refusal:
                return math.inf
            for stage in (path.up, path.link, path.down):
                if stage is not None:
                    total += math.inf if stage.spec.down else stage.spec.one_way_s
        return total

    def path(self, source: Door, destination: Door) -> Path:
        key = (source.name, destination.name)
        path = self._paths.get(key)
        if path is None:
            path = self._paths[key] = self._work_out(source, destination)
        return path

    def _work_out(self, source: Door, destination: Door) -> Path:
        path = Path(source, destination, self.link(source.name, destination.name))
        if source.vanished or destination.vanished:
            path.refuse("vanished")
        elif self.separated(source.name, destination.name):
            path.refuse("partition")
        path.sent = self._pair_taps.get((source.name, destination.name), ())
        if path.sent or source.taps:
            path.limit = 0
        return path

    def detour(self, source: Door, destination: Door) -> Path:
        """The way to the router at the other end. No flow may go on by it: no private node's rule was asked."""
        path = self._work_out(source, destination)
        path.limit = 0
        return path

    def near(self, door: Door) -> Path:
        """From the router at a node's own end down to the node."""
        return Path(door, door, Link(f"{door.name}.", LinkSpec(mtu=65535)))

    def _touch(self) -> None:
        """Whatever was worked out has to be worked out again: flows that use it find that nothing passes."""
        for path in self._paths.values():
            path.limit = 0
        self._paths.clear()

    # Flows

    def locate(self, source: Door, address: bytes) -> Door | None:
        """Who answers to an address, as seen from `source`."""
        door = self._unicast.get(address)
        if door is None:
            text = self._anycast.get(address)
            if text is not None:
                name = self.catchment.lands(source.name, text)
                return self.doors[name] if name is not None else None
        return door

    def router(self, address: bytes) -> Door | None:
        """The node whose router has this address."""
        return self._routers.get(address)

    def flow(
        self,
        door: Door,
        key: bytes,
        now: float,
        *,
        quoted: bytes | None = None,
        piece: bool = False,
        by_router: bool = False,
    ) -> Flow | Refusal:
        """The flow of a packet that `door` sends, or the router at its end (whom every rule lets through).

        `quoted` is the flow that an ICMP error speaks of, `piece` says that a packet names no ports.
        """
        source, address = packet.addresses_of(key)
        if source not in door.own and not by_router:
            return Refusal("spoofed")
        destination = self.locate(door, address)
        if destination is None:
            return Refusal("no-route", packet.NET_UNREACHABLE)
        if destination is door:
            return Refusal("no-route", packet.HOST_UNREACHABLE)
        path = self.path(door, destination)
        opener: Flow | None = None
        if destination.private and not by_router:
            opener = self.opener(destination, key, now, quoted, piece)
            if opener is None:
                return Refusal("unsolicited", None, path.link)
            opener.seen = now
        flow = self.flows.of(door, key, path, now)
        flow.opener = opener
        if door.private:
            door.peers[packet.anonymous(key)] = flow
        return flow

    def opener(
        self, private: Door, key: bytes, now: float, quoted: bytes | None, piece: bool
    ) -> Flow | None:
        """The flow of a private node that lets a packet with this key through to it, if there is one."""
        answers = packet.reverse(key)
        if piece:
            flow = private.peers.get(answers)
        else:
            flow = private.flows.get(answers if quoted is None else quoted)
        if flow is None or now - flow.seen > flow.open_s:
            return None
        return flow

    # What nodes do

    def attach(self, name: str, tun: int) -> None:
        """A node (again) has a device. What it announced before counts until it says so again."""
        door = self.doors[name]
        door.tun, door.attached = tun, True
        door.fd = -1 if door.vanished else tun

    def detach(self, name: str, now: float) -> None:
        door = self.doors[name]
        door.tun = door.fd = -1
        door.attached = door.announced = False
        self._served(door, now)

    def announce(self, name: str, up: bool, now: float) -> None:
        door = self.doors[name]
        door.announced = up
        self._served(door, now)

    def vanish(self, name: str, on: bool, now: float) -> None:
        door = self.doors[name]
        if door.vanished != on:
            door.vanished = on
            door.fd = -1 if on else door.tun
            self._served(door, now)
            self._touch()

    def _served(self, door: Door, now: float) -> None:
        if door.attached and door.announced and not door.vanished:
            self.catchment.announce(door.name)
        else:
            self.catchment.withdraw(door.name, now)
        self._follow()

    def settle(self, now: float) -> tuple[str, ...]:
        """Let routes converge; returns the members withdrawn by it."""
        gone = self.catchment.settle(now)
        self._follow()
        return gone

    def _follow(self) -> None:
        if self.catchment.epoch != self._catchment_epoch:
            self._catchment_epoch = self.catchment.epoch
            self._touch()

    # What people do

    def pin(self, source: str, member: str | None) -> None:
        self.catchment.pin(source, member)
        self._follow()

    def changed(self, pairs: Iterable[tuple[str, str]], now: float) -> None:
        """Links of these pairs were changed: paths and routes take notice."""
        self._touch()
        self._reach(pairs, now)

    def partition(self, groups: Iterable[Iterable[str]], now: float) -> None:
        """Nodes of different groups cannot reach each other; nodes of no group reach all. No groups: heal."""
        before = self._groups
        self._groups = tuple(frozenset(group) for group in groups)
        self._touch()
        concerned = sorted(set().union(*before, *self._groups))
        self._reach(((a, b) for a in concerned for b in concerned if a < b), now)

    def separated(self, one: str, other: str) -> bool:
        if not self._groups:
            return False
        sides = [
            {n for n, group in enumerate(self._groups) if name in group} for name in (one, other)
        ]
        return bool(sides[0]) and bool(sides[1]) and not sides[0] & sides[1]

    def _reach(self, pairs: Iterable[tuple[str, str]], now: float) -> None:
        """Tell the catchment which pairs can no longer, or again, exchange packets."""
        for a, b in pairs:
            cut = self.separated(a, b) or any(
                link.spec.down
                for link in map(self._links.get, ((a, b), (b, a)))
                if link is not None
            )
            for source, member in ((a, b), (b, a)):
                if self.catchment.is_member(member):
                    if cut:
                        self.catchment.cut(source, member, now)
                    else:
                        self.catchment.heal(source, member)
        self._follow()

    def access(self, name: str) -> tuple[Link, Link]:
        """A node's own line up and down, made when first asked for."""
        door = self.doors[name]
        if door.up is None or door.down is None:
            # As good as none until it is changed: its limits must not be below those of any link.
            spec = LinkSpec(mtu=65535)
            door.up, door.down = Link(f"{name}>", spec), Link(f">{name}", spec)
        return door.up, door.down

    def tap(self, tap: Tap, node: str | None = None, pair: tuple[str, str] | None = None) -> None:
        """Let `tap` see the packets of a node, or those between two nodes, until `untap`."""
        if node is not None:
            self.doors[node].taps += (tap,)
        elif pair is not None:
            for key in (pair, pair[::-1]):
                self._pair_taps[key] = (*self._pair_taps.get(key, ()), tap)
        self._touch()

    def untap(self, tap: Tap) -> None:
        for door in self.doors.values():
            door.taps = tuple(other for other in door.taps if other is not tap)
        self._pair_taps = {
            key: left
            for key, taps in self._pair_taps.items()
            if (left := tuple(other for other in taps if other is not tap))
        }
        self._touch()

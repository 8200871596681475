"""What a packet's way is made of: the doors at its ends, the path between them, and the flow it belongs to.

Path: what a packet passes from one node to another, in order: the access of the sender, the link between the
two, the access of the receiver. Each end has a router, so a packet makes two hops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from topology.plan import Node
from wan import packet
from wan.dice import Dice
from wan.link import Link

# How long an idle flow keeps its way through a private node's rule: RFC 5382 REQ-5, RFC 4787 REQ-5,
# RFC 5508 REQ-2; what is neither TCP, UDP nor ICMP is treated as UDP.
_OPEN_S = {packet.TCP: 7440.0, packet.UDP: 300.0, packet.ICMP: 60.0}

Tap = Callable[[packet.Packet, float], None]


class Door:
    """A node's point of attachment. `fd` is where packets for it are written: -1 while nobody is there."""

    __slots__ = (
        "address",
        "announced",
        "attached",
        "down",
        "drops",
        "fd",
        "flows",
        "name",
        "node",
        "own",
        "peers",
        "private",
        "router",
        "taps",
        "tun",
        "up",
        "vanished",
    )

    def __init__(self, node: Node, own: frozenset[bytes], router: bytes) -> None:
        self.node = node
        self.name = node.name
        self.address = packet.pack_address(node.address)
        self.router = router
        self.own = own
        self.private = node.private
        self.up: Link | None = None
        self.down: Link | None = None
        self.tun = self.fd = -1
        self.attached = self.announced = self.vanished = False
        self.flows: dict[bytes, Flow] = {}
        self.peers: dict[bytes, Flow] = {}
        self.drops: dict[str, int] = {}
        self.taps: tuple[Tap, ...] = ()

    def drop(self, reason: str) -> None:
        """Count a packet of this node that never got to a link."""
        self.drops[reason] = self.drops.get(reason, 0) + 1


class Path:
    """What lies between two doors. Packets above `limit` need more than a look at their front: with 0 all
    do, because they are watched or refused, or because this path is no longer the one to take.

    `plain`: there is no access line at either end. `sent` are the taps that watch this pair of nodes.
    """

    __slots__ = (
        "destination",
        "down",
        "limit",
        "link",
        "mtu",
        "plain",
        "refusal",
        "sent",
        "source",
        "up",
    )

    def __init__(self, source: Door, destination: Door, link: Link) -> None:
        self.source = source
        self.destination = destination
        self.link = link
        self.up = source.up
        self.down = destination.down
        self.plain = self.up is None and self.down is None
        stages = (self.up, link, self.down)
        self.limit = self.mtu = min(stage.spec.mtu for stage in stages if stage is not None)
        self.refusal = ""
        self.sent: tuple[Tap, ...] = ()

    def refuse(self, reason: str) -> None:
        self.refusal, self.limit = reason, 0


class Flow:
    """One direction of a conversation as it enters the WAN, and the path it took last.

    `opener` is set on flows towards a private node: the flow of that node which they answer.
    """

    __slots__ = ("_dice", "fate", "key", "open_s", "opener", "path", "seen")

    path: Path
    seen: float

    def __init__(self, key: bytes, fate: tuple[object, ...]) -> None:
        self.key = key
        self.fate = fate
        self.open_s = _OPEN_S.get(packet.protocol_of(key), _OPEN_S[packet.UDP])
        self.opener: Flow | None = None
        self._dice: dict[str, Dice] | None = None

    def dice(self, link: str) -> Dice:
        if self._dice is None:
            self._dice = {}
        dice = self._dice.get(link)
        if dice is None:
            dice = self._dice[link] = Dice(link, *self.fate)
        return dice


class Refusal(NamedTuple):
    """Why a flow goes nowhere, and the ICMP code that its sender is told (None: nothing)."""

    reason: str
    code: int | None = None
    link: Link | None = None

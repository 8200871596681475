"""Flows: what packets of one conversation and one direction have in common, and how they are named for luck.

The table is bounded. A flow that is forgotten and comes back is a new one, with the next ordinal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan import packet
from wan.dice import Dice

if TYPE_CHECKING:
    from wan.fabric import Door, Path

MOST_FLOWS = 32768
MOST_NAMES = 65536
# How many of the oldest flows are looked at for one that has been idle this long.
_LOOK_AT, _IDLE_S = 8, 60.0

# How long an idle flow keeps its way through a private node's rule: RFC 5382 REQ-5, RFC 4787 REQ-5,
# RFC 5508 REQ-2; what is neither TCP, UDP nor ICMP is treated as UDP.
_OPEN_S = {packet.TCP: 7440.0, packet.UDP: 300.0, packet.ICMP: 60.0}


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


class Conversation:
    """Both directions of a flow: which service it is for, and the how-manieth of its kind it is."""

    __slots__ = ("ordinal", "seen", "service")

    def __init__(self, service: int, ordinal: int) -> None:
        self.service = service
        self.ordinal = ordinal
        self.seen: set[bytes] = set()


class Flows:
    """All flows of a fabric: names them and forgets the idle ones."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._count = 0
        self._conversations: dict[bytes, Conversation] = {}
        self._ordinals: dict[tuple[int, bytes, bytes, int], int] = {}

    def __len__(self) -> int:
        return self._count

    def of(self, door: Door, key: bytes, path: Path, now: float) -> Flow:
        """The flow with this key that enters at `door`, by this path from now on."""
        flow = door.flows.get(key)
        if flow is None:
            if self._count >= MOST_FLOWS:
                self._forget(door, now)
            flow = door.flows[key] = Flow(key, self._fate(key))
            self._count += 1
        flow.path, flow.seen = path, now
        return flow

    def _fate(self, key: bytes) -> tuple[object, ...]:
        """(seed, source, destination, protocol, service port, ordinal): no ephemeral port."""
        answers = packet.reverse(key)
        both = min(key, answers)
        conversation = self._conversations.get(both)
        if conversation is None or key in conversation.seen:
            conversation = self._conversations[both] = self._new(key)
            if len(self._conversations) > MOST_NAMES:
                del self._conversations[next(iter(self._conversations))]
        conversation.seen.add(key)
        source, destination = map(packet.show_address, packet.addresses_of(key))
        protocol = packet.protocol_of(key)
        return (
            self._seed,
            source,
            destination,
            protocol,
            conversation.service,
            conversation.ordinal,
        )

    def _new(self, key: bytes) -> Conversation:
        service = packet.service_of(key)
        name = (packet.protocol_of(key), *packet.addresses_of(key), service)
        ordinal = self._ordinals.pop(name, 0)
        self._ordinals[name] = ordinal + 1
        if len(self._ordinals) > MOST_NAMES:
            del self._ordinals[next(iter(self._ordinals))]
        return Conversation(service, ordinal)

    def _forget(self, door: Door, now: float) -> None:
        """Drop the oldest of a door's flows that is idle, or one that is not when too few are (a clock)."""
        flows = door.flows
        for _ in range(min(_LOOK_AT, len(flows))):
            key = next(iter(flows))
            flow = flows.pop(key)
            if now - flow.seen > _IDLE_S:
                self._count -= 1
                return
            flows[key] = flow
        if flows:
            del flows[next(iter(flows))]
            self._count -= 1

"""All flows of a fabric: how they are named for luck, and which are forgotten.

The table is bounded. A flow that is forgotten and comes back is a new one, with the next ordinal.
"""

from __future__ import annotations

from wan import packet
from wan.ways import Door, Flow, Path

MOST_FLOWS = 32768
MOST_NAMES = 65536
# How many of the oldest flows are looked at for one that has been idle this long.
_LOOK_AT, _IDLE_S = 8, 60.0


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

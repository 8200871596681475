"""What can be asked of a running WAN: the operations of the control socket, by name.

Each takes the connection and the request, and returns the answer. ChangeError becomes
`{"ok": false, "error", "key", "found", "allowed"}`; nothing was changed then.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

from wan import capture, changes, views
from wan.carrier import Carrier
from wan.changes import ChangeError, Wish
from wan.control import Connection
from wan.events import Events
from wan.fabric import Fabric
from wan.packet import Packet
from wan.router import Router
from wan.timeline import NodeAction, Partitioning, Step, Timeline, Vanishing, Wishes
from wan.ways import Door

Request = dict[str, object]
Answer = dict[str, object]

# What people ask for by hand; timeline entries are their own owners.
_PEOPLE = "control"
# Catchments are compared once after a salvo of changes, not after each: that is a row per visitor and change.
_SETTLED_S = 0.02


class Operations:
    """Acts on the fabric, tells the events, keeps the timers."""

    def __init__(
        self, fabric: Fabric, router: Router, events: Events, clock: Callable[[], float]
    ) -> None:
        self._fabric = fabric
        self._router = router
        self._events = events
        self._clock = clock
        self._carrier: Carrier | None = None
        self._attached: dict[str, Connection] = {}
        self._timeline = Timeline(fabric.plan.timeline)
        self._started = time.time()
        self._timer_at = math.inf
        self._landings = self._catchments()
        self._comparing = False
        self._operations = {
            "attach": self._attach,
            "announce": self._announce,
            "status": self._status,
            "links": self._links,
            "rtts": self._rtts,
            "set": self._set,
            "reset": self._reset,
            "vanish": self._vanish,
            "partition": self._partition,
            "pin": self._pin,
            "catchment": self._catchment,
            "lands": self._lands,
            "capture": self._capture,
            "subscribe": self._subscribe,
            "start_timeline": self._start_timeline,
        }

    def use(self, carrier: Carrier) -> None:
        """The carrier needs `lost`, and this needs the carrier: they meet here."""
        self._carrier = carrier

    def handle(self, connection: Connection, request: Request) -> Answer | None:
        name = request.get("op")
        try:
            operation = self._operations.get(name) if isinstance(name, str) else None
            if operation is None:
                raise ChangeError("op", name, changes.near(name, tuple(self._operations)))
            answer = operation(connection, request)
        except ChangeError as error:
            return {
                "ok": False,
                "error": str(error),
                "key": error.key,
                "found": error.found,
                "allowed": error.allowed,
            }
        self._arm()
        return answer

    # Nodes

    def _attach(self, connection: Connection, request: Request) -> Answer:
        name = changes.node(self._fabric, "node", request.get("node"))
        if connection.node is not None:
            raise ChangeError("node", name, "one node a connection")
        tun = connection.take_descriptor()
        if tun is None:
            raise ChangeError("descriptor", None, "the TUN device's descriptor, sent along")
        replaced = self._attached.pop(name, None)
        if replaced is not None:
            replaced.close()
        os.set_blocking(tun, False)
        door = self._fabric.doors[name]
        self._fabric.attach(name, tun)
        try:
            self._running.carry(door)
        except OSError as error:
            self._fabric.detach(name, self._clock())
            os.close(tun)
            raise ChangeError("descriptor", error.strerror, "a TUN device's descriptor") from None
        connection.node = name
        self._attached[name] = connection
        connection.at_end.append(lambda: self._detached(door, tun, connection))
        self._events.emit("attached", name)
        return {"ok": True}

    def _detached(self, door: Door, tun: int, connection: Connection) -> None:
        """The connection of an agent ended: an open descriptor would pin its namespace."""
        self._running.release(tun)
        os.close(tun)
        if door.tun == tun:
            self._fabric.detach(door.name, self._clock())
        if self._attached.get(door.name) is connection:
            del self._attached[door.name]
        self._events.emit("detached", door.name)
        self._moved()
        self._arm()

    def lost(self, door: Door) -> None:
        """A device is gone though its agent is not; the carrier has let go of it."""
        self._fabric.detach(door.name, self._clock())
        self._events.emit("device_lost", door.name)
        self._moved()
        self._arm()

    def _announce(self, connection: Connection, request: Request) -> Answer:
        if connection.node is None:
            raise ChangeError("op", "announce", "on the connection that attached a node")
        up = _flag(request, "up")
        if self._fabric.doors[connection.node].announced != up:
            self._fabric.announce(connection.node, up, self._clock())
            self._events.emit("announced" if up else "withdrawing", connection.node)
            self._moved()
        return {"ok": True}

    # Links and routes

    def _set(self, _: Connection, request: Request) -> Answer:
        wishes = changes.read_wishes(self._fabric, request.get("changes"))
        return {"ok": True, "changed": self._grant(_PEOPLE, wishes)}

    def _grant(self, owner: str, wishes: list[Wish]) -> int:
        changed = changes.grant(self._fabric, owner, wishes, self._clock())
        if changed:
            self._tell_links([(w.source, w.destination) for w in changed])
            self._moved()
        return len(changed)

    def _reset(self, _: Connection, request: Request) -> Answer:
        raw = request.get("pairs")
        if raw is None:
            chosen = [(a, b) for a, b, link in self._fabric.links() if link.changed]
            chosen += [
                pair
                for door in self._fabric.doors.values()
                if door.up is not None
                for pair in ((door.name, ""), ("", door.name))
                if changes.link_of(self._fabric, *pair).changed
            ]
        else:
            chosen = self._pairs(raw)
        reset = []
        for source, destination in chosen:
            link = changes.link_of(self._fabric, source, destination)
            if link.changed:
                link.reset()
                reset.append((source, destination))
        if reset:
            self._fabric.changed([pair for pair in reset if all(pair)], self._clock())
            self._tell_links(reset)
            self._moved()
        return {"ok": True, "changed": len(reset)}

    def _tell_links(self, directions: list[tuple[str, str]]) -> None:
        told = [
            {
                "from": source,
                "to": destination,
                "current": changes.link_of(self._fabric, source, destination).spec,
            }
            for source, destination in directions
        ]
        self._events.emit("link_changed", changes=told)

    def _pairs(self, raw: object) -> list[tuple[str, str]]:
        if not isinstance(raw, list):
            raise ChangeError("pairs", raw, "a list of pairs of nodes, or null for all")
        return [changes.direction(self._fabric, f"pairs[{n}]", each) for n, each in enumerate(raw)]

    def _vanish(self, _: Connection, request: Request) -> Answer:
        name = changes.node(self._fabric, "node", request.get("node"))
        self._do_vanish(name, _flag(request, "on"))
        return {"ok": True}

    def _do_vanish(self, name: str, on: bool) -> None:
        if self._fabric.doors[name].vanished != on:
            self._fabric.vanish(name, on, self._clock())
            self._events.emit("vanished" if on else "returned", name)
            self._moved()

    def _partition(self, _: Connection, request: Request) -> Answer:
        raw = request.get("groups")
        if raw is None:
            raw = []
        if not isinstance(raw, list) or not all(isinstance(group, list) for group in raw):
            raise ChangeError("groups", raw, "a list of lists of nodes, or null")
        groups = tuple(
            tuple(changes.node(self._fabric, f"groups[{n}]", name) for name in group)
            for n, group in enumerate(raw)
        )
        self._do_partition(groups)
        return {"ok": True}

    def _do_partition(self, groups: tuple[tuple[str, ...], ...]) -> None:
        self._fabric.partition(groups, self._clock())
        self._events.emit("partition_changed", groups=groups)
        self._moved()

    def _pin(self, _: Connection, request: Request) -> Answer:
        visitor = changes.node(self._fabric, "visitor", request.get("visitor"))
        pop = request.get("pop")
        if pop is not None:
            pop = changes.node(self._fabric, "pop", pop)
            if not self._fabric.catchment.is_member(pop):
                raise ChangeError("pop", pop, changes.near(pop, self._fabric.plan.pops))
        self._fabric.pin(visitor, pop)
        self._events.emit("pinned", visitor, pop=pop)
        self._moved()
        return {"ok": True}

    # What there is to see

    def _status(self, _: Connection, __: Request) -> Answer:
        late = self._running.lateness.snapshot()
        return {
            "ok": True,
            "started": self._started,
            "nodes": views.nodes(self._fabric),
            "lateness": late._asdict(),
            "packets": self._fabric.packets(),
            "on_the_way": len(self._router.pending),
            "flows": len(self._fabric.flows),
            "timeline": self._timeline.started_at is not None,
            "events_dropped": self._events.dropped,
        }

    def _links(self, _: Connection, request: Request) -> Answer:
        raw, now = request.get("pairs"), self._clock()
        if raw is None:
            chosen = [(a, b) for a, b, link in self._fabric.links() if link.packets or link.changed]
            for door in self._fabric.doors.values():
                chosen += [(door.name, ""), ("", door.name)] if door.up is not None else []
        else:
            chosen = self._pairs(raw)
        return {
            "ok": True,
            "links": [
                views.link(a, b, changes.link_of(self._fabric, a, b), now) for a, b in chosen
            ],
        }

    def _rtts(self, _: Connection, request: Request) -> Answer:
        """Round trips as the links are now, access lines included; null where something is down."""
        chosen = self._pairs(request.get("pairs"))
        return {"ok": True, "rtts_s": [views.finite(self._fabric.rtt(*pair)) for pair in chosen]}

    def _catchment(self, _: Connection, request: Request) -> Answer:
        address = request.get("address")
        if address is None:
            address = self._fabric.catchment.addresses[0]
        address = self._anycast(address)
        rows = views.catchment(self._fabric, address)
        return {"ok": True, "address": address, "rows": rows}

    def _lands(self, _: Connection, request: Request) -> Answer:
        """Where packets of any node to an anycast address go now; null where no member is routed."""
        node = changes.node(self._fabric, "node", request.get("node"))
        address = self._anycast(request.get("address"))
        return {"ok": True, "lands": self._fabric.catchment.lands(node, address)}

    def _anycast(self, address: object) -> str:
        known = self._fabric.catchment.addresses
        if not isinstance(address, str) or address not in known:
            raise ChangeError("address", address, changes.near(address, known))
        return address

    def _capture(self, connection: Connection, request: Request) -> Answer | None:
        # Packets are stamped by the monotonic clock; one offset for the whole file keeps their distances.
        offset = time.time() - self._clock()

        def tap(packet: Packet, now: float) -> None:
            connection.send(capture.record(packet, now + offset), or_leave_out=True)

        if "pair" in request:
            self._fabric.tap(tap, pair=changes.pair(self._fabric, "pair", request["pair"]))
        else:
            name = changes.node(self._fabric, "node", request.get("node"))
            self._fabric.tap(tap, node=name)
        connection.at_end.append(lambda: self._fabric.untap(tap))
        connection.streaming = True
        connection.answer({"ok": True})
        connection.send(capture.HEADER)
        return None

    def _subscribe(self, connection: Connection, _: Request) -> None:
        connection.streaming = True
        connection.answer({"ok": True})
        listener = connection.send
        self._events.listeners.append(listener)
        connection.at_end.append(lambda: self._events.listeners.remove(listener))

    # What happens by itself

    def _start_timeline(self, _: Connection, request: Request) -> Answer:
        """The world's own, once; or `happenings`, as in a plan, when nothing is left of the one before."""
        raw = request.get("happenings")
        if raw is not None:
            if self._timeline.next_at < math.inf:
                raise ChangeError("op", "start_timeline", "when the last one is over")
            self._timeline = Timeline(changes.happenings(self._fabric, raw))
        elif self._timeline.started_at is not None:
            raise ChangeError("op", "start_timeline", "once")
        self._timeline.start(self._clock())
        self._events.emit("timeline_started", entries=len(self._timeline))
        return {"ok": True}

    def _arm(self) -> None:
        """Be called when the next route converges or the next step of the timeline is due."""
        when = min(self._fabric.catchment.next_at, self._timeline.next_at)
        if when < self._timer_at:
            self._timer_at = when
            self._running.call_at(when, self._due)

    def _due(self) -> None:
        self._timer_at = math.inf
        now = self._clock()
        for name in self._fabric.settle(now):
            self._events.emit("withdrawn", name)
            self._moved()
        for step in self._timeline.due(now):
            self._carry_out(step)
        self._arm()

    def _carry_out(self, step: Step) -> None:
        match step:
            case Wishes(owner, wishes):
                try:
                    self._grant(owner, list(wishes))
                except ChangeError as error:
                    self._events.emit("timeline_failed", entry=owner, error=str(error))
            case Vanishing(name, on):
                self._do_vanish(name, on)
            case Partitioning(groups):
                self._do_partition(groups)
            case NodeAction(name, action):
                self._events.emit("node_action", name, action=action)

    def _moved(self) -> None:
        """Something happened that may have moved catchments: compare soon."""
        if not self._comparing:
            self._comparing = True
            self._running.call_at(self._clock() + _SETTLED_S, self._compare)

    def _compare(self) -> None:
        self._comparing = False
        landings = self._catchments()
        moves = [
            {"visitor": name, "from": self._landings[name], "to": lands}
            for name, lands in landings.items()
            if self._landings[name] != lands
        ]
        self._landings = landings
        if moves:
            self._events.emit("catchment_changed", moves=moves)

    def _catchments(self) -> dict[str, str | None]:
        """Where the visitors' anycast address, the first of all, brings every node that is not a PoP."""
        catchment = self._fabric.catchment
        return {
            name: catchment.lands(name, catchment.addresses[0])
            for name, door in self._fabric.doors.items()
            if door.node.kind != "pop"
        }

    @property
    def _running(self) -> Carrier:
        assert self._carrier is not None, "use() comes before the first request"
        return self._carrier


def _flag(request: Request, key: str) -> bool:
    value = request.get(key)
    if not isinstance(value, bool):
        raise ChangeError(key, value, "true or false")
    return value

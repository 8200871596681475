"""One end of a byte stream, as a kernel keeps it: handshake, order, windows, the end.

    opening   SYN went out (or came in and was answered); sent again after 1, 3, 7 ... s
    open      bytes both ways; each direction ends by its own FIN
    gone      both ended, or reset, or given up

A connection whose program let go of it is an orphan: it still delivers what was written, and answers anything new
by RST.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from enum import Enum
from heapq import heappush

from wan import packet
from wan.virtual.congestion import FIRST_RTO_S, Reno
from wan.virtual.doors import Listener
from wan.virtual.hosts import Host
from wan.virtual.segment import RECEIVE_BUFFER, Segment
from wan.virtual.sending import MOST_TIMEOUTS, Sender, Timer, Unit
from wan.virtual.transports import StreamTransport
from wan.ways import Refusal

# net.ipv4.tcp_syn_retries and the time that an orphan waits for its peer's FIN.
_SYN_RETRIES = 6
_ORPHAN_S = 60.0
_DELAYED_ACK_S = 0.04
_LEAST_SEND_BUFFER = 87040
_REPORTS = 4
_HEADER = Segment.HEADER
_NEVER = float("inf")
_UNREACHABLE = {
    packet.NET_UNREACHABLE: errno.ENETUNREACH,
    packet.HOST_UNREACHABLE: errno.EHOSTUNREACH,
    packet.ADMIN_PROHIBITED: errno.EHOSTUNREACH,
}


class State(Enum):
    OPENING = "opening"
    OPEN = "open"
    GONE = "gone"


# Looking a member up costs as much as a call, and this is done for every segment.
_OPEN = State.OPEN


class Connection:
    """`key` is that of the segments we send; the host keeps it by the key of those that come."""

    __slots__ = (
        "_ack_due",
        "_armed",
        "_armed_ack",
        "_early",
        "_ended",
        "_held",
        "_host",
        "_listener",
        "_loop",
        "_made_at",
        "_next",
        "_owed",
        "_recent",
        "_retries",
        "_said",
        "_unread",
        "_way",
        "key",
        "sender",
        "state",
        "transport",
    )

    def __init__(self, host: Host, key: bytes) -> None:
        self.key = key
        self.state = State.OPENING
        self.transport: StreamTransport | None = None
        self._loop = host.loop
        self._host = host
        self._way = host.way(key)
        self.sender = Sender(self._way.mtu - Segment.HEADER, self._emit)
        self._listener: Listener | None = None
        self._retries = 0
        self._made_at = host.loop.now
        # Receiving: the next byte wanted, what came before its time, what nobody has read.
        self._next = 0
        self._early: dict[int, Segment] = {}
        self._recent: deque[int] = deque(maxlen=_REPORTS)
        self._unread: deque[bytes] = deque()
        self._held = 0
        self._ended = False
        self._owed = 0
        self._said = RECEIVE_BUFFER
        self._armed = self._armed_ack = self._ack_due = _NEVER
        host.connections[packet.reverse(key)] = self

    @property
    def local(self) -> tuple[str, int]:
        source, _ = packet.addresses_of(self.key)
        return packet.show_address(source), packet.ports_of(self.key)[0]

    @property
    def remote(self) -> tuple[str, int]:
        _, destination = packet.addresses_of(self.key)
        return packet.show_address(destination), packet.ports_of(self.key)[1]

    # Opening

    def open(self, transport: StreamTransport) -> None:
        """Dial. The transport hears of the end of it."""
        self.transport = transport
        self._knock(None)

    def accept(self, listener: Listener, segment: Segment) -> None:
        self._listener = listener
        listener.waiting += 1
        self._knock(None)

    def _knock(self, retry: object) -> None:
        """Send our SYN; again and again until it is answered."""
        if self.state is not State.OPENING:
            return
        if self._retries > _SYN_RETRIES:
            self._fail(errno.ETIMEDOUT)
            return
        loop = self._loop
        loop.at(loop.now + FIRST_RTO_S * (1 << self._retries), self._knock, True)
        self._retries += 1
        segment = Segment(self.key)
        segment.opens = segment.rare = True
        if self._listener is not None:
            segment.number = 0
        refusal = self._send(Segment.OPENING, segment)
        if refusal is not None and refusal.code is not None and self._listener is None:
            loop.call_soon(self._fail, _UNREACHABLE[refusal.code])

    def _opened(self) -> None:
        self.state = State.OPEN
        if self._retries == 1:
            # The handshake is the first round trip that is measured, at both ends.
            self.sender.rounds.sample(self._loop.now - self._made_at)
        # Only now the path and its MTU are known.
        self.sender.reno = Reno(self._way.mtu - _HEADER)
        listener = self._listener
        if listener is None:
            assert self.transport is not None
            self.transport.connected()
        else:
            listener.waiting -= 1
            self.transport = StreamTransport(listener.program, self, listener, None)
            self.transport.accepted(listener)

    # What arrives

    def take(self, segment: Segment) -> None:
        if segment.rare:
            if segment.reset:
                self._fail(errno.ECONNREFUSED if self._dialling else errno.ECONNRESET)
                return
            if segment.opens:
                self._take_opening(segment)
                return
        if self.state is not _OPEN and self.state is State.OPENING:
            if self._dialling:
                return
            self._opened()
        number = segment.number
        assert number is not None
        sender = self.sender
        if number > sender.acknowledged or segment.reports or segment.window != sender.window:
            if sender.take(number, segment.window, segment.reports, self._loop.now):
                self._after_acknowledgement()
            if sender.due < self._armed:
                self._arm()
        if segment.data or segment.fin:
            self._take_data(segment)
        elif segment.probe:
            self._acknowledge()

    @property
    def _dialling(self) -> bool:
        return self.state is State.OPENING and self._listener is None

    def _take_opening(self, segment: Segment) -> None:
        if self._dialling and segment.number is not None:
            self._opened()
            self._acknowledge()
        elif self.state is State.OPEN and self._listener is None:
            self._acknowledge()
        elif self.state is State.OPENING and self._listener is not None:
            answer = Segment(self.key)
            answer.opens = answer.rare = True
            answer.number = 0
            self._send(Segment.OPENING, answer)

    def _after_acknowledgement(self) -> None:
        if self._ended and self.sender.all_acknowledged:
            self._end()
        elif self.transport is not None and self.transport.waiting:
            self.transport.writable()

    def _take_data(self, segment: Segment) -> None:
        if self.state is State.GONE:
            return
        transport = self.transport
        if (
            segment.seq == self._next
            and not self._early
            and not segment.fin
            and not self._unread
            and transport is not None
            and transport.reading
        ):
            # In order, and wanted: nearly always.
            self._next += len(segment.data)
            self._owed += 1
            if self._owed >= 2:
                self._acknowledge()
            elif self._ack_due == _NEVER:
                self._acknowledge_soon()
            transport.received(segment.data)
            return
        end = segment.seq + len(segment.data) + segment.fin
        if end <= self._next or end - self._next > RECEIVE_BUFFER:
            self._acknowledge()
            return
        if segment.data and (self.transport is None or self.transport.orphaned):
            self._reset()
            return
        if segment.seq > self._next:
            if segment.seq not in self._early:
                self._early[segment.seq] = segment
            if segment.seq in self._recent:
                self._recent.remove(segment.seq)
            self._recent.append(segment.seq)
            self._acknowledge()
            return
        hole = bool(self._early)
        self._keep(segment)
        while self._early and (after := self._early.pop(self._next, None)) is not None:
            self._keep(after)
        if not self._early:
            self._recent.clear()
        self._owed += 1
        if hole or self._ended or self._owed >= 2:
            self._acknowledge()
        elif self._ack_due == _NEVER:
            self._acknowledge_soon()
        self._hand_up()
        if self._ended and self.sender.all_acknowledged:
            self._end()

    def _acknowledge_soon(self) -> None:
        loop = self._loop
        self._ack_due = due = loop.now + _DELAYED_ACK_S
        if self._armed_ack == _NEVER:
            self._armed_ack = due
            heappush(loop.agenda, (due, loop.next(), self._acknowledge_late, None))

    def _keep(self, segment: Segment) -> None:
        data = (
            segment.data[self._next - segment.seq :] if segment.seq < self._next else segment.data
        )
        if data:
            self._unread.append(data)
            self._held += len(data)
        self._next = segment.seq + len(segment.data)
        if segment.fin:
            self._next += 1
            self._ended = True

    def _hand_up(self) -> None:
        """Give the program what it wants to read."""
        transport = self.transport
        while transport is not None and transport.reading and self._unread:
            data = self._unread.popleft()
            self._held -= len(data)
            transport.received(data)
        if transport is not None and transport.reading and self._ended and not self._unread:
            transport.ended()

    def wanted(self) -> None:
        """The program reads (again)."""
        self._hand_up()
        # The window opened by half the buffer: tell the other side, which may wait for it.
        if self.state is State.OPEN and self._room - self._said >= RECEIVE_BUFFER // 2:
            self._acknowledge()

    @property
    def _room(self) -> int:
        return max(0, RECEIVE_BUFFER - self._held)

    # Sending

    def room(self) -> int:
        """How many bytes the send buffer takes now."""
        sender = self.sender
        return max(_LEAST_SEND_BUFFER, int(2 * sender.reno.window)) - sender.held

    def write(self, data: bytes) -> None:
        sender = self.sender
        sender.write(data)
        # As `_push`: this is how nearly everything goes out.
        if self.state is _OPEN:
            sender.push(self._loop.now)
            if sender.due < self._armed:
                self._arm()

    def finish(self) -> None:
        self.sender.finish()
        self._push()

    def _push(self) -> None:
        if self.state is _OPEN:
            sender = self.sender
            sender.push(self._loop.now)
            if sender.due < self._armed:
                self._arm()

    def _emit(self, unit: Unit) -> None:
        segment = Segment(self.key)
        segment.seq = unit.seq
        segment.data = data = unit.data
        if unit.fin:
            segment.fin = True
        # As `_with_ack`, for nearly all that is sent.
        segment.number = self._next
        if self._held or self._said != RECEIVE_BUFFER:
            segment.window = self._said = self._room
        if self._recent:
            segment.reports = tuple(self._recent)
        self._owed = 0
        self._ack_due = _NEVER
        self._way.send(_HEADER + len(data), segment)

    def _acknowledge(self) -> None:
        segment = Segment(self.key)
        self._with_ack(segment)
        self._send(Segment.HEADER, segment)

    def _with_ack(self, segment: Segment) -> None:
        segment.number = self._next
        if self._held or self._said != RECEIVE_BUFFER:
            segment.window = self._said = self._room
        if self._recent:
            segment.reports = tuple(self._recent)
        self._owed = 0
        self._ack_due = _NEVER

    def _acknowledge_late(self, _: object) -> None:
        self._armed_ack = _NEVER
        if self._ack_due == _NEVER or self.state is not _OPEN:
            return
        loop = self._loop
        if self._ack_due > loop.now:
            self._armed_ack = self._ack_due
            loop.at(self._ack_due, self._acknowledge_late, None)
        else:
            self._acknowledge()

    def _send(self, size: int, segment: Segment) -> Refusal | None:
        return self._way.send(size, segment)

    def _arm(self) -> None:
        """One timer in the loop at most is for us: it is put off when it comes too early."""
        due = self.sender.due
        if due < self._armed:
            self._armed = due
            self._loop.at(due, self._on_timer, due)

    def _on_timer(self, when: float) -> None:
        if when != self._armed:
            return
        self._armed = _NEVER
        if self.state is not _OPEN:
            return
        sender, now = self.sender, self._loop.now
        if sender.due <= now:
            if sender.handle_timer(now) is Timer.PERSIST:
                segment = Segment(self.key)
                segment.probe = True
                self._with_ack(segment)
                self._send(Segment.HEADER, segment)
            if sender.timeouts > MOST_TIMEOUTS:
                self._fail(errno.ETIMEDOUT)
                return
        if sender.due != _NEVER:
            self._arm()

    # The end

    def orphan(self, *, discard: bool = False) -> None:
        """The program let go. What it wrote is still delivered; what it did not read is answered by RST."""
        transport = self.transport
        if transport is not None:
            transport.orphaned = True
        if self.state is State.OPENING or discard:
            self._end()
        elif self.state is State.OPEN:
            if self._unread:
                self._reset()
                return
            self.finish()
            if self.sender.all_acknowledged and self._ended:
                self._end()
            else:
                loop = self._loop
                loop.at(loop.now + _ORPHAN_S, self._give_up, None)

    def _give_up(self, _: object) -> None:
        if self.state is State.OPEN and self.sender.all_acknowledged:
            self._end()

    def _reset(self) -> None:
        segment = Segment(self.key)
        segment.reset = segment.rare = True
        self._send(Segment.HEADER, segment)
        self._end()

    def _fail(self, number: int) -> None:
        if self.state is State.GONE:
            return
        transport = self.transport
        opening = self.state is State.OPENING
        self._end()
        if transport is not None:
            address, port = self.remote
            transport.failed(OSError(number, f"{address}:{port}: {os.strerror(number)}"), opening)

    def _end(self) -> None:
        if self.state is State.OPENING and self._listener is not None:
            self._listener.waiting -= 1
        self.state = State.GONE
        self._host.connections.pop(packet.reverse(self.key), None)
        self._host.free(packet.ports_of(self.key)[0])

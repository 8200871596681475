"""What one end has under way: which bytes, when they were sent, which of them are lost, when to send more.

Loss is told by time, as RACK has it (RFC 8985): when something sent later has arrived, what was sent earlier
and has not is lost, at once if three pieces were reported or recovery is under way, else after a quarter of the
least round trip. What the end of a flight loses is found by one probe (section 7), all else by the timeout.

Sequence numbers count bytes from 0; FIN counts as one. Pure but for what it is handed: `emit` lets a unit go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum

from wan.virtual.congestion import Reno, RoundTrips

# net.ipv4.tcp_retries2: about a quarter of an hour.
MOST_TIMEOUTS = 15
_DUPLICATES = 3
_BEFORE_ALL = -1.0
_NEVER = float("inf")
_JOIN = 512
# How much longer than two round trips a probe waits: a lone unit's acknowledgement may be delayed.
_LONE_S, _SOME_S = 0.2, 0.002


class Unit:
    """A piece as it was cut, for as long as it is not acknowledged."""

    __slots__ = ("data", "end", "fin", "lost", "sacked", "sends", "sent_at", "seq")

    def __init__(self, seq: int, data: bytes, *, fin: bool = False) -> None:
        self.seq = seq
        self.data = data
        self.fin = fin
        self.end = seq + len(data) + fin
        self.sent_at = _BEFORE_ALL
        self.sends = 0
        self.sacked = self.lost = False


class Timer(Enum):
    """What the one timer of a sender is for."""

    TIMEOUT = "timeout"
    PROBE = "probe"
    REORDER = "reorder"
    PERSIST = "persist"


# Looking a member up costs as much as a call.
_TIMEOUT, _PROBE = Timer.TIMEOUT, Timer.PROBE


class Sender:
    """`due` is when `handle_timer` wants to be called; infinite when never."""

    __slots__ = (
        "_after",
        "_finishing",
        "_highest",
        "_last_at",
        "_limited",
        "_lost",
        "_order",
        "_out",
        "_pipe",
        "_probed",
        "_queue",
        "_rack",
        "_rack_rtt",
        "_recover",
        "_sacked",
        "_slow",
        "_timer",
        "acknowledged",
        "cut",
        "due",
        "emit",
        "finished",
        "reno",
        "rounds",
        "timeouts",
        "unsent",
        "window",
    )

    def __init__(self, mss: int, emit: Callable[[Unit], None]) -> None:
        self.emit = emit
        self.reno = Reno(mss)
        self.rounds = RoundTrips()
        self.acknowledged = self.cut = 0
        self.unsent = 0
        self.window = 65535
        self.due = _NEVER
        self.finished = False
        self.timeouts = 0
        self._queue: deque[bytes] = deque()
        self._finishing = False
        self._order: deque[Unit] = deque()
        self._out: dict[int, Unit] = {}
        self._lost: dict[int, Unit] = {}
        self._pipe = 0
        self._sacked = 0
        self._highest = 0
        self._rack = (_BEFORE_ALL, 0)
        self._rack_rtt = 0.0
        self._recover = -1
        self._slow = False
        self._limited = self._probed = False
        self._last_at = _BEFORE_ALL
        self._timer = Timer.TIMEOUT
        self._after: float | None = None

    @property
    def held(self) -> int:
        """Bytes in the kernel's keeping: unsent, or sent and not acknowledged."""
        return self.cut - self.acknowledged + self.unsent

    @property
    def all_acknowledged(self) -> bool:
        return self.finished and not self._order

    def write(self, data: bytes) -> None:
        self._queue.append(data)
        self.unsent += len(data)

    def finish(self) -> None:
        """No more will be written."""
        self._finishing = True

    # Sending

    def push(self, now: float) -> None:
        """Send what may be sent."""
        reno = self.reno
        size = self.unsent
        if (
            size
            and not self._order
            and size <= reno.mss
            and len(self._queue) == 1
            and not self._finishing
            and size <= self.window
            and (now - self._last_at <= self.rounds.rto_s or reno.window <= reno.initial)
        ):
            # One small message after another, each answered before the next: most of what is sent.
            self.unsent = 0
            self._limited = False
            unit = Unit(self.cut, self._queue.popleft())
            self.cut = unit.end
            self._order.append(unit)
            self._out[unit.seq] = unit
            unit.sends = 1
            unit.sent_at = self._last_at = now
            self._pipe = size
            self.emit(unit)
            rounds = self.rounds
            if (
                rounds.srtt_s is not None
                and self._after is None
                and not (self._probed or rounds.backoff or self._sacked)
                and self._recover < 0
            ):
                # What `_arm` would say.
                wait, timeout = 2 * rounds.srtt_s + _LONE_S, rounds.rto_s
                if wait < timeout:
                    self._timer, self.due = _PROBE, now + wait
                else:
                    self._timer, self.due = _TIMEOUT, now + timeout
                return
            self._arm(now)
            return
        if not self._order and self.unsent and self._last_at > _BEFORE_ALL:
            idle = now - self._last_at
            if idle > self.rounds.rto_s:
                reno.idle(idle, self.rounds.rto_s)
        while self._lost and (self._pipe < reno.window):
            seq = next(iter(self._lost))
            unit = self._lost.pop(seq)
            unit.lost = False
            self._send(unit, now)
        self._limited = bool(self._lost)
        while not self._lost and (self.unsent or (self._finishing and not self.finished)):
            size = min(reno.mss, self.unsent)
            if self._pipe and self._pipe + size > reno.window:
                self._limited = True
                break
            if self.cut + size > self.acknowledged + self.window:
                break
            self._send(self._next(size), now)
        if self.due == _NEVER:
            self._arm(now)

    def _next(self, size: int) -> Unit:
        if not size:
            self.finished = True
            unit = Unit(self.cut, b"", fin=True)
        else:
            unit = Unit(self.cut, self._cut(size))
        self.cut = unit.end
        self._order.append(unit)
        self._out[unit.seq] = unit
        return unit

    def _cut(self, size: int) -> bytes:
        """The next `size` bytes of the queue, copied only where pieces do not fit."""
        queue = self._queue
        self.unsent -= size
        first = queue[0]
        if len(first) == size:
            return queue.popleft()
        parts: list[bytes] = []
        while size:
            first = queue.popleft()
            if len(first) > size:
                view = memoryview(first)
                parts.append(bytes(view[:size]))
                # A long rest stays a view, for copying it at every cut would be quadratic.
                rest: bytes = view[size:] if len(first) - size > _JOIN else bytes(view[size:])  # type: ignore[assignment]
                queue.appendleft(rest)
                break
            parts.append(first)
            size -= len(first)
        return b"".join(parts) if len(parts) > 1 else bytes(parts[0])

    def _send(self, unit: Unit, now: float) -> None:
        unit.sends += 1
        unit.sent_at = self._last_at = now
        self._pipe += unit.end - unit.seq
        self.emit(unit)

    # Acknowledgements

    def take(self, number: int, window: int, reports: Iterable[int], now: float) -> bool:
        """All before `number` arrived; so did the units that begin at `reports`. Whether that was news."""
        self.window = window
        order = self._order
        if not reports and self._recover < 0 and len(order) == 1 and number == order[0].end:
            unit = order.popleft()
            if not unit.sacked and not unit.lost:
                self._all_here(unit, number, now)
                return True
            order.append(unit)
        news = False
        sample = -1.0
        # What no earlier acknowledgement told of: all that the congestion window may grow by.
        fresh = 0
        size = number - self.acknowledged
        if size > 0:
            news = True
            self.acknowledged = number
            self.timeouts = 0
            while order and order[0].end <= number:
                unit = order.popleft()
                del self._out[unit.seq]
                if unit.sacked:
                    self._sacked -= 1
                else:
                    self._gone(unit)
                    fresh += unit.end - unit.seq
                    if unit.sends == 1:
                        sample = now - unit.sent_at
                    self._arrived(unit, now)
        for seq in reports:
            reported = self._out.get(seq)
            if reported is not None and not reported.sacked:
                news = True
                reported.sacked = True
                self._sacked += 1
                self._gone(reported)
                fresh += reported.end - seq
                self._highest = max(self._highest, reported.end)
                if reported.sends == 1:
                    sample = now - reported.sent_at
                self._arrived(reported, now)
        if sample >= 0:
            self.rounds.sample(sample)
        if self._recover >= 0 and self.acknowledged >= self._recover:
            self._recover = -1
            self._slow = False
        self._after = None
        if self._sacked or self._recover >= 0:
            self._detect(now)
        if size > 0:
            self._probed = False
            if self._limited and (self._recover < 0 or self._slow):
                self.reno.acked(fresh)
        if news:
            self.due = _NEVER
        self.push(now)
        if news:
            self._arm(now)
        return news

    def _all_here(self, unit: Unit, number: int, now: float) -> None:
        """The only unit under way arrived: `take`, for most of what is acknowledged."""
        size = number - self.acknowledged
        self.acknowledged = number
        self.timeouts = 0
        del self._out[unit.seq]
        self._pipe = 0
        if unit.sends == 1:
            self.rounds.sample(now - unit.sent_at)
        self._arrived(unit, now)
        self._after = None
        self._probed = False
        if self._limited:
            self.reno.acked(size)
        self.due = _NEVER
        if self.unsent or self._finishing:
            self.push(now)
            self._arm(now)

    def _gone(self, unit: Unit) -> None:
        """No longer under way."""
        if unit.lost:
            unit.lost = False
            del self._lost[unit.seq]
        else:
            self._pipe -= unit.end - unit.seq

    def _arrived(self, unit: Unit, now: float) -> None:
        rtt = now - unit.sent_at
        # What came back much faster than anything ever did was an earlier copy.
        if unit.sends > 1 and rtt < 0.9 * self.rounds.least_s:
            return
        if (unit.sent_at, unit.end) > self._rack:
            self._rack = (unit.sent_at, unit.end)
            self._rack_rtt = rtt

    def _detect(self, now: float) -> None:
        """Find what is lost (RFC 8985 section 6.2)."""
        patience = 0.0
        if self._recover < 0 and self._sacked < _DUPLICATES:
            patience = self.rounds.least_s / 4
        found = False
        for unit in self._order:
            if unit.seq >= self._highest and unit.sends == 1:
                break
            if unit.sacked or unit.lost or (unit.sent_at, unit.end) >= self._rack:
                continue
            left = unit.sent_at + self._rack_rtt + patience - now
            if left <= 1e-9:
                self._gone(unit)
                unit.lost = True
                self._lost[unit.seq] = unit
                found = True
            elif self._after is None or now + left < self._after:
                self._after = now + left
        if found and self._recover < 0:
            self.reno.lost()
            self._recover = self.cut

    # The timer

    def _arm(self, now: float) -> None:
        if not self._order:
            waiting = self.unsent or (self._finishing and not self.finished)
            self._timer = Timer.PERSIST
            self.due = now + self.rounds.timeout_s if waiting else _NEVER
            return
        timeout = now + self.rounds.timeout_s
        if self._after is not None:
            self._timer, self.due = Timer.REORDER, self._after
            return
        srtt = self.rounds.srtt_s
        if srtt is not None and not self._probed and self._recover < 0 and not self._sacked:
            # A lone unit may wait for a delayed acknowledgement (section 7.2).
            probe = now + 2 * srtt + (_LONE_S if len(self._order) == 1 else _SOME_S)
            if probe < timeout:
                self._timer, self.due = Timer.PROBE, probe
                return
        self._timer, self.due = Timer.TIMEOUT, timeout

    def handle_timer(self, now: float) -> Timer:
        """PERSIST asks the caller to probe a closed window; the rest is done here."""
        kind = self._timer
        self.due = _NEVER
        if not self._order and kind is not Timer.PERSIST:
            self._arm(now)
            return kind
        match kind:
            case Timer.PERSIST:
                self.rounds.backoff = min(self.rounds.backoff + 1, MOST_TIMEOUTS)
            case Timer.REORDER:
                self._after = None
                self._detect(now)
                self.push(now)
            case Timer.PROBE:
                self._probe(now)
            case Timer.TIMEOUT:
                self._time_out(now)
        self._arm(now)
        return kind

    def _probe(self, now: float) -> None:
        self._probed = True
        if self.unsent and self.cut < self.acknowledged + self.window:
            room = self.acknowledged + self.window - self.cut
            self._send(self._next(min(self.reno.mss, self.unsent, room)), now)
            return
        last = self._order[-1]
        self._gone(last)
        self._send(last, now)

    def _time_out(self, now: float) -> None:
        self.timeouts += 1
        self.rounds.backoff = min(self.rounds.backoff + 1, MOST_TIMEOUTS)
        if self.timeouts == 1:
            self.reno.timed_out()
        else:
            self.reno.window = self.reno.mss
        self._recover, self._slow = self.cut, True
        for unit in self._order:
            if not unit.sacked and not unit.lost:
                self._gone(unit)
                unit.lost = True
                self._lost[unit.seq] = unit
        self.push(now)

"""What a stranger's frames are worth, read from their heads before any engine works on them.

An engine finds out that it is flooded by doing the work. Nine bytes a frame say enough beforehand:

* Some frames only cost the one who gets them. Each has a weight here that is paid from a token bucket; a read that
  the bucket cannot pay for is not passed on, not even in part. What an honest client sends of them goes with what it
  gets (credit for bodies, requests, resets now and then), so what we send and answer fills the bucket, and so
  does time.
* Frames that cost work take turns: a read is divided where about a millisecond's worth of them has come, so that
  other connections are served in between. Costs are estimates of microseconds, not the clock: the same bytes are
  divided in the same places, wherever and whenever.

Weights are chosen so that with a `burst` of 1,000 a client may send at once: 200 PINGs, SETTINGS or frames of an
unknown kind, 500 PRIORITYs, 1,000 WINDOW_UPDATEs, 40 CONTINUATIONs, 160 requests that it takes back in the same
breath, and 80 requests more than it may have open. Browsers and libraries stay two orders below all that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct

from wire.http2.engine import ErrorCode, Http2Error

_PREFACE = 24
_HEAD = Struct("!LBL")
_unpack = _HEAD.unpack_from
_DATA, _HEADERS, _PRIORITY, _RST_STREAM, _SETTINGS, _PUSH_PROMISE, _PING, _GOAWAY = range(8)
_WINDOW_UPDATE, _CONTINUATION, _PRIORITY_UPDATE = 0x8, 0x9, 0x10
_ACK = _END_STREAM = 0x1
_SMALL_DATA = 16
_ANOTHER, _ABOVE, _STILLBORN, _NO_CREDIT = 1, 11, 5, 20
_WEIGHTS = {
    _PRIORITY: 2.0,
    _RST_STREAM: 1.0,
    _PUSH_PROMISE: 50.0,
    _GOAWAY: 50.0,
    _WINDOW_UPDATE: 1.0,
    # Eight are as much as the largest head that is answered at all.
    _CONTINUATION: 25.0,
    _PRIORITY_UPDATE: 2.0,
}
_OTHER = 5.0
# A bucket fills in so many seconds.
_FILLS_S = 5.0
# Less than a PING costs that makes us write; and how many bytes are worth a token.
_WRITE, _BYTES = 3.0, 512
# A request is paid back, and what credit its answer may have been given.
_ANSWERED = 3.0
_TURN_US = 1000


@dataclass(frozen=True, slots=True)
class Costs:
    """Microseconds of a PoP for a frame: a request until it is passed on, a piece of body, anything else."""

    headers: int
    data: int
    other: int


COSTS = {"ngh2": Costs(60, 20, 2), "h2": Costs(250, 80, 40)}


def income(seconds: float, burst: int, answered: int, writes: int, written: int) -> float:
    """Tokens for so much time, so many requests answered, writes, and bytes in them."""
    return seconds * burst / _FILLS_S + _ANSWERED * answered + _WRITE * writes + written / _BYTES


class FrameMeter:
    """Of one connection, at the server's end. `read` everything that comes, in order, before an engine gets it."""

    def __init__(
        self, burst: int, most_streams: int, costs: Costs, income: Callable[[], float]
    ) -> None:
        self._burst = float(burst)
        self._most_streams = most_streams
        self._costs = costs
        # All tokens that came back since the connection began: asked for when the bucket is empty, and not before.
        self._income = income
        self._had = 0.0
        self._tokens = self._burst
        # Of the frame under way: payload still to come, or as much of its head as came.
        self._ahead = _PREFACE
        self._part = b""
        self._last_stream = 0
        # Of the read under way: the stream before its first new one, how many are open, how many of them the engine
        # holds (it makes room at once for one that was reset), and what its turn has cost.
        self._before = 0
        self._open = 0
        self._held = 0
        self._spent = 0
        # Streams begun above those allowed. An engine tells nobody of them: it refuses each, or cuts the connection.
        self.above = 0

    def read(self, data: bytes | memoryview, open_streams: int) -> list[int] | None:
        """Where the turns end in which `data` may be worked on, the last one with its length; None: all in one.

        Raises `Http2Error` when none of it may.
        """
        size = len(data)
        position = self._ahead
        ends: list[int] | None = None
        self._before, self._spent = self._last_stream, 0
        self._open = self._held = open_streams
        if self._part:
            head = self._part + bytes(data[: 9 - len(self._part)])
            if len(head) < 9:
                self._part = head
                return None
            word, flags, stream = _HEAD.unpack(head)
            position = 9 - len(self._part)
            self._part = b""
            self._frame(word & 0xFF, word >> 8, flags, stream, data, position)
            position += word >> 8
        while position + 9 <= size:
            word, flags, stream = _unpack(data, position)
            if self._frame(word & 0xFF, word >> 8, flags, stream, data, position + 9):
                if ends is None:
                    ends = []
                ends.append(position)
            position += 9 + (word >> 8)
        if position >= size:
            self._ahead = position - size
        else:
            self._ahead = 0
            self._part = bytes(data[position:])
        if ends is not None:
            ends.append(size)
        return ends

    def _frame(
        self, kind: int, length: int, flags: int, stream: int, data: bytes | memoryview, at: int
    ) -> bool:
        """Pay for a frame. True if it belongs to the next turn."""
        weight = 0.0
        cost = self._costs.other
        if kind == _DATA:
            cost = self._costs.data
            if length < _SMALL_DATA and not flags & _END_STREAM:
                weight = 0.5 if length else _OTHER
        elif kind == _HEADERS:
            cost = self._costs.headers
            weight = _ANOTHER
            if stream > self._last_stream:
                self._last_stream = stream
                self._open += 1
                if self._open > self._most_streams:
                    weight = _ABOVE
                if self._held < self._most_streams:
                    self._held += 1
                else:
                    self.above += 1
        elif kind == _RST_STREAM:
            self._held = max(0, self._held - 1)
            weight = _STILLBORN if stream > self._before else 1.0
        elif kind == _WINDOW_UPDATE:
            # None at all is an error, and a way to make us reset streams.
            weight = _NO_CREDIT if bytes(data[at : at + 4]) == b"\0\0\0\0" else 1.0
        elif kind in (_SETTINGS, _PING):
            weight = 1.0 if flags & _ACK else _OTHER
        else:
            weight = _WEIGHTS.get(kind, _OTHER)
        self._tokens -= weight
        if self._tokens < 0:
            self._refill()
        self._spent += cost
        if self._spent <= _TURN_US or self._spent == cost:
            return False
        self._spent = cost
        return True

    def _refill(self) -> None:
        income = self._income()
        self._tokens = min(self._burst, self._tokens + income - self._had)
        self._had = income
        if self._tokens < 0:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "frames that cost nothing come too often")

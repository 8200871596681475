"""Two streams made into one: what one brings, the other sends, as fast as the slower of the two allows.

`left` is the side that asked (a visitor, a neighbour PoP, a tunnel's PoP), `right` the side that answers. The owner
does the header work: it sends the request head on `right` itself, makes the `Splice`, and changes or replaces
response heads in `on_head`; None keeps a head from the left side (an informational one, or after `abandon`). Bodies
and trailers then flow both ways without an object per chunk.

Back-pressure: bytes are passed on at once, always; credit for them is given back at once while the other side's
backlog is under HIGH_WATER, and otherwise when it has drained. So a stalled reader costs HIGH_WATER plus one stream
window, and nothing is copied.

How ends map:

    left lost                        right is reset with CANCEL
    right lost, no final head yet    `on_end` decides: left is untouched, and is the owner's to answer
    right lost after the head        left is reset (INTERNAL_ERROR: the answer is incomplete)
    right lost with NO_ERROR         when its answer is complete that is normal: left is told to send no more

An owner that may have to send a request again asks with `keep` that the beginning of its body stays here: while the
whole of it fits, and no response has begun. Nothing is copied, it is the memory that the body came in.
"""

from __future__ import annotations

from collections.abc import Callable

from runtime.streams import HIGH_WATER, Headers, Stream
from runtime.transports import Discard
from wire.http2.engine import ErrorCode

HeadHook = Callable[[Headers], Headers | None]
EndHook = Callable[["Splice", int | None], None]

# Pieces of a body that are kept: one that comes byte by byte costs more than its bytes.
_MOST_KEPT = 64
_DISCARD = Discard()


class _Upward:
    """The left stream's user: request body and trailers go to the right."""

    __slots__ = ("splice",)

    def __init__(self, splice: Splice) -> None:
        self.splice = splice

    def headers_received(self, headers: Headers, end: bool) -> None:
        raise AssertionError("the request head is the owner's")

    def data_received(self, data: bytes, end: bool) -> None:
        splice = self.splice
        if splice.up_complete:
            return  # an offered upgrade that was not taken ends its request a second time
        splice.bytes_up += len(data)
        kept = splice.kept
        if kept is not None:
            fits = splice.bytes_up <= splice._keep and len(kept) < _MOST_KEPT
            splice.kept = (*kept, data) if fits else None
        right = splice.right
        right.send_data(data, end=end)
        if end:
            splice._up_ended()
        elif right.backlog > HIGH_WATER:
            splice._owed_up += len(data)
        else:
            splice.left.credit(len(data))

    def trailers_received(self, headers: Headers) -> None:
        self.splice.kept = None
        self.splice.right.send_trailers(headers)
        self.splice._up_ended()

    def drained(self) -> None:
        splice = self.splice
        owed, splice._owed_down = splice._owed_down, 0
        if owed:
            splice.right.credit(owed)

    def lost(self, code: int) -> None:
        splice = self.splice
        splice.left_lost = True
        splice.right.reset(ErrorCode.CANCEL)
        splice._finish(code)


class _Downward:
    """The right stream's user: response heads, body and trailers go to the left."""

    __slots__ = ("splice",)

    def __init__(self, splice: Splice) -> None:
        self.splice = splice

    def headers_received(self, headers: Headers, end: bool) -> None:
        splice = self.splice
        # 1xx answers come before the final one; 101 is final for us: raw bytes follow.
        status = headers[0][1]
        final = status[:1] != b"1" or status == b"101"
        if splice.on_head is not None:
            changed = splice.on_head(headers)
            if changed is None:
                return
            headers = changed
        if final:
            splice.answered = True
            splice.kept = None
        splice.left.send_headers(headers, end=end)
        if end:
            splice._down_ended()

    def data_received(self, data: bytes, end: bool) -> None:
        splice = self.splice
        splice.bytes_down += len(data)
        left = splice.left
        left.send_data(data, end=end)
        if end:
            splice._down_ended()
        elif left.backlog > HIGH_WATER:
            splice._owed_down += len(data)
        else:
            splice.right.credit(len(data))

    def trailers_received(self, headers: Headers) -> None:
        self.splice.left.send_trailers(headers)
        self.splice._down_ended()

    def drained(self) -> None:
        splice = self.splice
        owed, splice._owed_up = splice._owed_up, 0
        if owed:
            splice.left.credit(owed)

    def lost(self, code: int) -> None:
        splice = self.splice
        if splice.down_complete:
            # The answer is complete, so whatever the reason, nobody reads the rest of the request.
            splice.left.reset(ErrorCode.NO_ERROR)
            splice._finish(None)
        elif splice.answered:
            splice.left.reset(ErrorCode.INTERNAL_ERROR)
            splice._finish(code or ErrorCode.INTERNAL_ERROR)
        else:
            splice._finish(code or ErrorCode.INTERNAL_ERROR)


class Splice:
    """One exchange under way. `on_end(splice, code)` comes once: code None when it ended well.

    `answered` is false in `on_end` when the right side went away before any final response head; then, unless
    `left_lost`, the owner still has to answer the left side (see `answer`).
    """

    __slots__ = (
        "_keep",
        "_owed_down",
        "_owed_up",
        "answered",
        "bytes_down",
        "bytes_up",
        "down_complete",
        "kept",
        "left",
        "left_lost",
        "on_end",
        "on_head",
        "right",
        "up_complete",
    )

    def __init__(
        self,
        left: Stream,
        right: Stream,
        *,
        on_head: HeadHook | None = None,
        on_end: EndHook | None = None,
        request_ended: bool = False,
        keep: int = 0,
    ) -> None:
        self.left = left
        self.right = right
        self.on_head = on_head
        self.on_end = on_end
        self.answered = False
        self.left_lost = False
        self.up_complete = request_ended
        self.down_complete = False
        self.bytes_up = 0
        self.bytes_down = 0
        # What was sent on of the request's body, or None when that is more than is here (or a trailer came).
        self.kept: tuple[bytes, ...] | None = ()
        self._keep = keep if keep < HIGH_WATER else HIGH_WATER
        self._owed_up = 0
        self._owed_down = 0
        left.user = _Upward(self)
        right.user = _Downward(self)

    def send_again(self, kept: tuple[bytes, ...]) -> None:
        """Begin the request's body with what an earlier splice of the same left stream has kept."""
        self.kept = kept
        last = len(kept) - 1
        for number, data in enumerate(kept):
            self.bytes_up += len(data)
            self.right.send_data(data, end=self.up_complete and number == last)

    def abandon(self, code: int) -> None:
        """The owner gives up (a timeout): the right side is reset, the left one is the owner's to answer."""
        self.right.reset(ErrorCode.CANCEL)
        if self.answered:
            self.left.reset(code)
        self._finish(code)

    def _up_ended(self) -> None:
        self.up_complete = True
        if self.down_complete:
            self._finish(None)

    def _down_ended(self) -> None:
        self.down_complete = True
        if self.up_complete:
            self._finish(None)

    def _finish(self, code: int | None) -> None:
        on_end, self.on_end = self.on_end, None
        # Nothing of this object is reachable in a circle any more: the memory of a request goes with the request,
        # and the garbage collector finds nothing to do.
        self.on_head = None
        self.left.user = _DISCARD
        self.right.user = _DISCARD
        if on_end is not None:
            on_end(self, code)


def answer(stream: Stream, headers: Headers, body: bytes = b"") -> None:
    """Answer a request by ourselves, whatever of its body has not come yet."""
    stream.send_headers(headers, end=not body)
    if body:
        stream.send_data(body, end=True)
    stream.user = _DISCARD
    stream.reset(ErrorCode.NO_ERROR)

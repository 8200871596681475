"""What strangers send is judged before an engine works on it, and worked on in turns of the loop.

In between, other connections are served. While something waits for its turn the owner reads nothing more.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable

from wire.http2.meter import FrameMeter


class Turns:
    """Of one connection. `work` takes the next part; `hold` stops reading (True) and lets it go on (False)."""

    def __init__(
        self,
        meter: FrameMeter,
        work: Callable[[bytes | memoryview], None],
        hold: Callable[[bool], None],
    ) -> None:
        self._meter = meter
        self._work = work
        self._hold = hold
        self._kept: deque[bytes] = deque()

    @property
    def above(self) -> int:
        """Streams that were begun above those allowed."""
        return self._meter.above

    def take(self, data: bytes | memoryview, open_streams: int) -> None:
        """Work on all of it, or on a part now. Raises `Http2Error` when nothing of it may be worked on."""
        ends = self._meter.read(data, open_streams)
        if ends is None and not self._kept:
            self._work(data)
            return
        begun = bool(self._kept)
        self._kept += [bytes(data[a:b]) for a, b in itertools.pairwise([0, *(ends or [len(data)])])]
        if not begun:
            self._hold(True)
            self._next()

    def _next(self) -> None:
        self._work(self._kept.popleft())
        if self._kept:
            asyncio.get_running_loop().call_soon(self._next)
        else:
            self._hold(False)

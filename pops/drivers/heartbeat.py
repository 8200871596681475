"""Is the other end still there? PINGs on one HTTP/2 connection, and its end when nothing comes back.

TCP alone notices a silent peer after minutes. One timer a connection, whatever happens on it: a
PING is due each period. When one is unanswered and not a byte came for the length of the deadline,
the connection is aborted; its owner hears of that as of any other loss. Other bytes count as a sign
of life, because a PING may wait behind megabytes on a slow link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from runtime.clock import Clock
from runtime.http2 import Http2Connection


class Heartbeat:
    """Starts beating at once. Feed `acknowledged` from the connection's `on_ping_ack`."""

    def __init__(
        self,
        http2: Http2Connection,
        *,
        every_s: float,
        deadline_s: float,
        clock: Clock,
        on_silence: Callable[[], None] | None = None,
    ) -> None:
        self._http2 = http2
        self._every_s = every_s
        self._deadline_s = deadline_s
        self._clock = clock
        self._on_silence = on_silence
        self._unanswered_since: float | None = None
        self._seen = http2.bytes_in
        self._timer: asyncio.TimerHandle | None = None
        self._beat()

    def _beat(self) -> None:
        now = self._clock()
        since = self._unanswered_since
        if self._http2.bytes_in != self._seen:
            self._seen = self._http2.bytes_in
            since = self._unanswered_since = None
        # The same sum as below: another form of it may fall short by a rounding error, and beat for ever.
        if since is not None and now >= since + self._deadline_s:
            self._timer = None
            if self._on_silence is not None:
                self._on_silence()
            self._http2.abort()
            return
        if since is None:
            self._unanswered_since = now
        self._http2.ping()
        # Not later than the deadline: the period may be the longer of the two.
        wait = self._every_s
        if since is not None:
            wait = min(wait, since + self._deadline_s - now)
        else:
            wait = min(wait, self._deadline_s)
        self._timer = asyncio.get_running_loop().call_later(wait, self._beat)

    def acknowledged(self) -> None:
        self._unanswered_since = None

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

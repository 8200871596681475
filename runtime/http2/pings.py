"""PINGs on their way: which payload left when, and what came back (RFC 9113 section 6.7)."""

from __future__ import annotations

import struct

MOST = 64


class Pings:
    """At most `MOST` at once. Times are the caller's clock, in seconds."""

    def __init__(self) -> None:
        self._sent: dict[bytes, float] = {}
        self._count = 0

    def payload(self) -> bytes:
        """Eight bytes that no other PING of this connection bears."""
        self._count += 1
        return struct.pack("!Q", self._count)

    def leave(self, payload: bytes, now: float) -> bool:
        """One more is to leave. False: too many are on their way."""
        if len(self._sent) >= MOST:
            return False
        self._sent[payload] = now
        return True

    def came_back(self, payload: bytes, now: float) -> float | None:
        """Its round trip in seconds; None for one that never left."""
        sent_at = self._sent.pop(payload, None)
        return None if sent_at is None else now - sent_at

    @property
    def oldest(self) -> float | None:
        """When the oldest left that is not back."""
        return next(iter(self._sent.values()), None)

    def clear(self) -> None:
        self._sent.clear()

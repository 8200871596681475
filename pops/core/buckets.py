"""Token buckets by key, in bounded memory.

A bucket holds at most `burst` tokens and gains `per_s` a second; a request takes one (the algorithm of ITU-T I.371,
there called a continuous-state leaky bucket: only the time at which the bucket would be full is kept).
"""

from __future__ import annotations

from typing import Final

MOST_KEYS: Final = 65_536


class Buckets:
    """All buckets of one rule. Keys beyond `most` put out the one used least recently: then its owner starts full."""

    def __init__(self, per_s: float, burst: int, most: int = MOST_KEYS) -> None:
        self._interval = 1.0 / per_s
        self._room = (burst - 1) / per_s
        self._most = most
        self._full_at: dict[object, float] = {}

    def take(self, key: object, now: float, *, peek: bool = False) -> float:
        """Take a token. Returns 0.0 when there was one, else the seconds until there is; `peek` takes none."""
        full_at = self._full_at.get(key, now)
        behind = full_at - now
        if behind > self._room:
            return behind - self._room
        if not peek:
            # Out and in again: the order of the dict is the order of use.
            self._full_at.pop(key, None)
            if len(self._full_at) >= self._most:
                del self._full_at[next(iter(self._full_at))]
            self._full_at[key] = (full_at if behind > 0.0 else now) + self._interval
        return 0.0

    def __len__(self) -> int:
        return len(self._full_at)

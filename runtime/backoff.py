"""How long to wait before trying again: exponential backoff with full jitter.

The n-th delay is uniform in 0..min(cap, base * factor**n). Full jitter, because what is being
undone is a crowd: when a PoP dies, all its connections come back at once, and any fixed part of the
delay keeps them together (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
"""

from __future__ import annotations

import random


class Backoff:
    """Delays of one thing that is retried. Pure: it neither waits nor knows the time."""

    def __init__(
        self,
        rng: random.Random,
        *,
        base_s: float = 1.0,
        cap_s: float = 30.0,
        factor: float = 2.0,
    ) -> None:
        if base_s < 0 or cap_s < base_s or factor < 1:
            raise ValueError("backoff needs 0 <= base_s <= cap_s and factor >= 1")
        self._rng = rng
        self._base_s = base_s
        self._cap_s = cap_s
        self._factor = factor
        self._ceiling_s = base_s
        self.attempts = 0

    @property
    def ceiling_s(self) -> float:
        """The longest the next delay can be."""
        return self._ceiling_s

    def next_delay(self) -> float:
        """Seconds to wait now; the next ceiling is `factor` times higher, up to the cap."""
        delay = self._rng.uniform(0.0, self._ceiling_s)
        self.attempts += 1
        # Kept as a running product: factor**attempts overflows a float after a thousand failures.
        self._ceiling_s = min(self._cap_s, self._ceiling_s * self._factor)
        return delay

    def reset(self) -> None:
        """It worked: start from the beginning next time."""
        self.attempts = 0
        self._ceiling_s = self._base_s

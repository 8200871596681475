"""Is a service behind a tunnel well? Active checks with thresholds, and what requests tell in passing.

    UNKNOWN --first result--> UP or DOWN
    UP   --`fall` failures in a row--> DOWN
    DOWN --`rise` successes in a row--> UP

A service that flaps is not trusted soon: each time it goes down within `calm_s` of its last return, twice as many
successes are needed, up to eight times `rise`; a calm time forgives.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

_MOST_DOUBLINGS: Final = 3
_SMOOTHING: Final = 0.3


class Health(Enum):
    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """`fall` failures in a row bring a service down, `rise` successes back up."""

    fall: int = 2
    rise: int = 2
    calm_s: float = 60.0


class Patient:
    """One service's health, by the results that come in. Times in seconds, of the caller's clock."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self.state = Health.UNKNOWN
        self.check_s = 0.0  # smoothed round trip of successful checks
        self.failures = 0
        self.successes = 0
        self.changed_at = 0.0
        self._up_since = -1e300
        self._doublings = 0
        self.reason = ""

    @property
    def needed(self) -> int:
        """Successes in a row that bring it up again."""
        return self._thresholds.rise << self._doublings

    @property
    def missing(self) -> int:
        """How many of those it still needs; 0 when it is not down."""
        return self.needed - self.successes if self.state is Health.DOWN else 0

    @property
    def flapping(self) -> bool:
        """It went down soon after its last return, and has not been calm since."""
        return self._doublings > 0

    def succeeded(self, now: float, rtt_s: float) -> bool:
        """A check came back well after `rtt_s`. True when the state has changed."""
        self.check_s = (
            rtt_s if self.check_s == 0.0 else self.check_s + _SMOOTHING * (rtt_s - self.check_s)
        )
        self.failures = 0
        self.successes += 1
        if self.state is Health.UP:
            if now - self._up_since >= self._thresholds.calm_s:
                self._doublings = 0
            return False
        if self.state is Health.DOWN and self.successes < self.needed:
            return False
        if self.state is Health.DOWN:
            # Its first sign of life is no return.
            self._up_since = now
        self._become(Health.UP, now, "")
        return True

    def failed(self, now: float, reason: str) -> bool:
        """A check or a request failed. True when the state has changed."""
        self.successes = 0
        self.failures += 1
        self.reason = reason
        if self.state is Health.DOWN:
            return False
        if self.state is Health.UP and self.failures < self._thresholds.fall:
            return False
        if self.state is Health.UP and now - self._up_since < self._thresholds.calm_s:
            self._doublings = min(_MOST_DOUBLINGS, self._doublings + 1)
        self._become(Health.DOWN, now, reason)
        return True

    def _become(self, state: Health, now: float, reason: str) -> None:
        self.state = state
        self.reason = reason
        self.changed_at = now
        self.failures = self.successes = 0

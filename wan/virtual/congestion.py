"""How fast a sender may be: congestion window and retransmission timeout. Pure; seconds and bytes.

Reno (RFC 5681) with the initial window of RFC 6928 and appropriate byte counting (RFC 3465, without its limit in
slow start: Linux has none), in whole segments; timeouts by RFC 6298 with Linux' bounds: at least 200 ms, at most
120 s, 1 s before the first sample. After an idle time the window decays as RFC 2861 and Linux have it: halved for
every timeout that has passed, down to the initial one.
"""

from __future__ import annotations

from typing import Final

INITIAL_SEGMENTS: Final = 10
FIRST_RTO_S: Final = 1.0
LEAST_RTO_S: Final = 0.2
MOST_RTO_S: Final = 120.0


class RoundTrips:
    """Smoothed round-trip time and the timeout that follows from it (RFC 6298 section 2)."""

    __slots__ = ("backoff", "least_s", "rto_s", "srtt_s", "variation_s")

    def __init__(self) -> None:
        self.srtt_s: float | None = None
        self.variation_s = 0.0
        self.least_s = 0.0
        self.rto_s = FIRST_RTO_S
        self.backoff = 0

    def sample(self, rtt_s: float) -> None:
        if self.srtt_s is None:
            self.srtt_s, self.variation_s, self.least_s = rtt_s, rtt_s / 2, rtt_s
        else:
            self.variation_s += (abs(self.srtt_s - rtt_s) - self.variation_s) / 4
            self.srtt_s += (rtt_s - self.srtt_s) / 8
            if rtt_s < self.least_s:
                self.least_s = rtt_s
        # Linux bounds the variation's share, not the sum: a steady path still gets 200 ms on top.
        margin_s = 4 * self.variation_s
        rto_s = self.srtt_s + (margin_s if margin_s > LEAST_RTO_S else LEAST_RTO_S)
        self.rto_s = rto_s if rto_s < MOST_RTO_S else MOST_RTO_S
        self.backoff = 0

    @property
    def timeout_s(self) -> float:
        # No shift beyond what the bound allows: the backoff counts to 15.
        return min(MOST_RTO_S, self.rto_s * (1 << self.backoff))


class Reno:
    """The congestion window of one sender, in bytes."""

    __slots__ = ("_counted", "initial", "mss", "ssthresh", "window")

    def __init__(self, mss: int) -> None:
        self.mss = mss
        self.initial = INITIAL_SEGMENTS * mss
        self.window: float = self.initial
        self.ssthresh: float = float("inf")
        # Acknowledged since the window last grew by a segment, out of slow start.
        self._counted = 0.0

    def acked(self, size: int) -> None:
        """`size` new bytes were acknowledged, outside recovery, while the window was what held us back."""
        window, threshold = self.window, self.ssthresh
        if window < threshold:
            if window + size <= threshold:
                self.window = window + size
                return
            size -= int(threshold - window)
            self.window = window = threshold
        # One segment for each window that arrived (RFC 3465 section 2.1): adding a share for each acknowledgement
        # instead, as RFC 5681 allows, falls behind by a segment every few round trips.
        self._counted += size
        if self._counted >= window:
            self._counted -= window
            self.window = window + self.mss

    def lost(self) -> None:
        """Fast recovery begins: half of what was, once per window (section 3.2)."""
        self.window = self._halve()

    def timed_out(self) -> None:
        """Section 3.1: back to one segment."""
        self._halve()
        self.window = self.mss

    def _halve(self) -> float:
        self._counted = 0.0
        self.ssthresh = max(self.window // 2 // self.mss, 2) * self.mss
        return self.ssthresh

    def idle(self, idle_s: float, rto_s: float) -> None:
        restart = self.initial
        if self.window <= restart:
            return
        self.ssthresh = max(
            self.ssthresh if self.ssthresh < float("inf") else 0, 0.75 * self.window
        )
        while idle_s > rto_s and self.window > restart:
            self.window /= 2
            idle_s -= rto_s
        self.window = max(self.window, restart)

"""How many DNS answers one address gets over UDP: a source there can be forged, so answers hit whom the asker likes.

Response rate limiting (after Vixie and Schryver, as BIND, Knot and NSD have it): a token bucket for each source. As
long as there are tokens, answers are whole. Below zero they are truncated ones: no longer than the query, and a true
asker comes back over TCP, where nobody can forge a source. A bucket's depth below zero there is silence.
"""

from __future__ import annotations

from enum import Enum, auto

from wire.addresses import network

# Sources remembered. Who forges more of them at once gives each of its victims less.
_MOST_SOURCES = 8192


class Verdict(Enum):
    ANSWER = auto()
    TRUNCATE = auto()
    SILENCE = auto()


class AnswerRate:
    """`per_s` answers a second to each source, `burst` at once; `per_s` 0: no limit."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = max(1.0, burst)
        # Source -> (tokens, when), the one that asked last at the end.
        self._buckets: dict[str, tuple[float, float]] = {}

    def judge(self, address: str, now: float) -> Verdict:
        if not self._per_s:
            return Verdict.ANSWER
        source = network(address)
        tokens, at = self._buckets.pop(source, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._per_s)
        if tokens > -self._burst:
            tokens -= 1
            verdict = Verdict.ANSWER if tokens >= 0 else Verdict.TRUNCATE
        else:
            verdict = Verdict.SILENCE
        if len(self._buckets) >= _MOST_SOURCES:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[source] = (tokens, now)
        return verdict

"""When to probe which neighbour, what the answers say of the link, and when it is dead.

A probe is an HTTP/2 PING on the control connection: TCP hides loss, and shows it as delay. So:

on time     the answer came within the estimate plus 100 ms (or four times the jitter): a sample of the RTT
overdue     no answer by then. At once further probes follow, in quick succession (after RON, SOSP 2001): they make TCP
            repair its loss, and they tell a loss from a death
late        it came after all. Either a segment was sent again, and then its RTT says nothing (Karn's rule), or the
            link has become that slow. A fresh probe tells: is it on time, a packet was lost; is it late too, the link
            is slow, and the estimate begins anew
dead        nothing was heard for `dead_after_s` and four times the RTT after an unanswered probe. That lets TCP send
            twice again: on a link that loses 1 % of packets it does not happen in days

When a link comes up a burst of probes goes out and the least answer is the first value, since the noise of a start only
ever adds. Samples that surprise are followed by a few quick ones as well. All probes of a PoP share a budget: with many
neighbours the period grows, and quick probes wait for a token (of a bucket of one second's worth).

Pure: time comes in, effects go out. Seconds.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from routing.estimators import Estimator, State

# For regular probes; the rest is for quick ones.
_REGULAR_SHARE = 0.75
# Bits of the window over which loss is counted, and the least that a share is taken of: before that many probes
# a single lost one would be a lossy link.
_WINDOW, _LEAST = 128, 20
_WINDOW_MASK = (1 << _WINDOW) - 1
_SURPRISE_S, _SURPRISE_SHARE, _SURPRISE_PROBES = 0.002, 0.1, 3
_MOST_OUTSTANDING = 16
# A timer that rings this much early has rung: times that were added up in another order differ in their last bits.
_EARLY_S = 1e-6
# Less than that is not worth anybody's look.
_NOTED_S = 1e-4


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    every_s: float = 1.0
    budget_per_s: float = 40.0
    burst: int = 4
    burst_gap_s: float = 0.02
    overdue_s: float = 0.1
    quick_s: float = (
        0.1  # between quick probes, at least; a quarter of the RTT if that is longer, up to 0.25
    )
    dead_after_s: float = 1.0
    dead_unmeasured_s: float = 5.0


@dataclass(frozen=True, slots=True)
class SendProbe:
    neighbor: str
    number: int


@dataclass(frozen=True, slots=True)
class Dead:
    """Nothing was heard of this neighbour for so long that it counts as gone."""

    neighbor: str
    silent_s: float


Effect = SendProbe | Dead


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is known of one link. `lost` of the last `probes` got no answer in time."""

    rtt_s: float
    jitter_s: float
    loss: float
    samples: int
    sampled_at: float


class _Link:
    __slots__ = (
        "burst",
        "burst_left",
        "due",
        "estimate",
        "heard",
        "jitter_s",
        "last_s",
        "late_at",
        "losses",
        "next_at",
        "noted",
        "outstanding",
        "quick_at",
        "quick_left",
        "sampled_at",
        "samples",
        "state",
        "tally",
        "waiting_since",
    )

    def __init__(self, settings: ProbeSettings, state: State, heard: int, now: float) -> None:
        self.burst: list[float] = []
        self.burst_left = settings.burst
        self.due = now  # when something is to be done about it: what `Prober._due` said last
        self.state = state
        self.estimate: float | None = None
        self.heard = heard  # octets from there when it was last looked
        self.jitter_s = self.last_s = 0.0
        self.late_at: float | None = None
        self.losses = 0  # a shift register: 1 is a lost probe
        self.tally = 0
        self.samples = 0
        self.sampled_at = now
        self.next_at = inf
        self.quick_at = now
        self.quick_left = 0
        self.noted = (0.0, 0.0, 0)  # RTT, jitter and losses when they were last called new
        self.outstanding: dict[int, float] = {}
        self.waiting_since = inf  # when the oldest unanswered probe went out

    def count(self, lost: bool) -> None:
        self.losses = (self.losses << 1 | lost) & _WINDOW_MASK
        self.tally = min(self.tally + 1, _WINDOW)


class Prober:
    """`received(neighbor)`: octets that came over its control connection so far; any of them is a sign of life, for an
    answer may wait behind a large database on a slow link."""

    def __init__(
        self,
        settings: ProbeSettings,
        estimator: Estimator,
        rng: random.Random,
        received: Callable[[str], int] = lambda neighbor: 0,
    ) -> None:
        self.settings = settings
        self.received = received
        self.sent = 0
        self.lost = 0
        self._estimator = estimator
        self._rng = rng
        self._links: dict[str, _Link] = {}
        self._number = 0
        self._tokens = settings.budget_per_s
        self._tokens_at = 0.0
        # What `handle_timer` found `next_at` to be, for as long as nothing else has happened.
        self._next_at: float | None = None

    @property
    def next_at(self) -> float:
        """When `handle_timer` has something to do."""
        if self._next_at is not None:
            return self._next_at
        return min([link.due for link in self._links.values()], default=inf)

    def due(self, neighbor: str) -> float:
        """The same, of one neighbour."""
        link = self._links.get(neighbor)
        return inf if link is None else link.due

    @property
    def period_s(self) -> float:
        """Between two regular probes of one link."""
        settings = self.settings
        return max(settings.every_s, len(self._links) / (settings.budget_per_s * _REGULAR_SHARE))

    def up(self, neighbor: str, now: float) -> None:
        """Its control connection has just come up."""
        heard = self.received(neighbor)
        self._next_at = None
        self._links[neighbor] = _Link(self.settings, self._estimator.start(), heard, now)

    def down(self, neighbor: str) -> None:
        self._next_at = None
        self._links.pop(neighbor, None)

    def measurement(self, neighbor: str) -> Measurement | None:
        """None until the first burst has been answered."""
        link = self._links.get(neighbor)
        if link is None or link.estimate is None:
            return None
        loss = link.losses.bit_count() / max(link.tally, _LEAST)
        return Measurement(link.estimate, link.jitter_s, loss, link.samples, link.sampled_at)

    def measured(self, neighbor: str) -> bool:
        link = self._links.get(neighbor)
        return link is not None and link.estimate is not None

    def outstanding(self, neighbor: str) -> int:
        link = self._links.get(neighbor)
        return 0 if link is None else len(link.outstanding)

    # What happens

    def answered(self, neighbor: str, number: int, now: float) -> bool:
        """The answer to a probe. True when what is known of the link has changed by it."""
        link = self._links.get(neighbor)
        sent_at = None if link is None else link.outstanding.pop(number, None)
        if link is None or sent_at is None:
            return False
        link.waiting_since = min(link.outstanding.values()) if link.outstanding else inf
        new = self._take(link, sent_at, now)
        self._next_at = None
        link.due = self._due(link)
        return new

    def _take(self, link: _Link, sent_at: float, now: float) -> bool:
        rtt_s = now - sent_at
        if link.estimate is None:
            return self._in_burst(link, rtt_s, now)
        if rtt_s <= self._patience(link):
            if link.late_at is not None:
                self._count_loss(link)
            return self._sample(link, rtt_s, now)
        if link.late_at is not None and sent_at >= link.late_at:
            # Late twice, and the second was not held up by the first: that is how slow the link is now.
            link.state = self._estimator.start()
            link.jitter_s = 0.0
            link.last_s = rtt_s
            return self._sample(link, rtt_s, now)
        if link.late_at is None:
            link.late_at = now
            link.quick_at = now
            link.quick_left = 1
        return False

    def _in_burst(self, link: _Link, rtt_s: float, now: float) -> bool:
        link.burst.append(rtt_s)
        if len(link.burst) < self.settings.burst:
            return False
        link.last_s = least = min(link.burst)
        link.samples = len(link.burst) - 1
        link.quick_at = inf
        # Staggered: neighbours that came up together are not to be asked together ever after.
        link.next_at = now + self._rng.uniform(0.0, self.period_s)
        return self._sample(link, least, now)

    def _sample(self, link: _Link, rtt_s: float, now: float) -> bool:
        before = link.estimate
        link.late_at = None
        link.state = self._estimator.add(link.state, rtt_s)
        link.estimate = self._estimator.value(link.state)
        # RFC 3550 section 6.4.1, on RTTs.
        link.jitter_s += (abs(rtt_s - link.last_s) - link.jitter_s) / 16
        link.last_s = rtt_s
        link.samples += 1
        link.sampled_at = now
        link.count(lost=False)
        if not link.quick_left and not link.outstanding:
            link.quick_at = inf
        if before is not None:
            surprise = max(_SURPRISE_S, _SURPRISE_SHARE * before, 4 * link.jitter_s)
            if abs(rtt_s - before) > surprise and not link.quick_left:
                link.quick_left = _SURPRISE_PROBES
                link.quick_at = now + self._gap(link)
        rtt, jitter, losses = link.noted
        if (
            before is not None
            and abs(link.estimate - rtt) <= _NOTED_S
            and abs(link.jitter_s - jitter) <= _NOTED_S
            and losses == link.losses
        ):
            return False
        link.noted = (link.estimate, link.jitter_s, link.losses)
        return True

    def _count_loss(self, link: _Link) -> None:
        self.lost += 1
        link.count(lost=True)

    # Time

    def _patience(self, link: _Link) -> float:
        """How long an answer may take before the probe is overdue."""
        estimate = link.estimate
        if estimate is None:
            return inf
        return estimate + max(self.settings.overdue_s, 4 * link.jitter_s)

    def _death(self, link: _Link) -> float:
        """When it is dead if nothing comes."""
        settings = self.settings
        if link.estimate is None:
            return link.waiting_since + settings.dead_unmeasured_s
        return link.waiting_since + settings.dead_after_s + 4 * link.estimate

    def _gap(self, link: _Link) -> float:
        return max(self.settings.quick_s, min((link.estimate or 0.0) / 4, 0.25))

    def _due(self, link: _Link) -> float:
        due = min(link.next_at, link.quick_at)
        if link.waiting_since < inf:
            if link.quick_at == inf:
                due = min(due, link.waiting_since + self._patience(link))
            due = min(due, self._death(link))
        return due

    def handle_timer(self, now: float, *, due: float | None = None) -> list[Effect]:
        """`due`: when this was to be called. If it is much later, it was this process that stood still: what came in
        meanwhile has not been read, and silence proves nothing."""
        effects: list[Effect] = []
        soonest = inf
        by = now + _EARLY_S
        stood_still = now - due if due is not None and now - due > 0.1 else 0.0
        self._tokens = min(
            self.settings.budget_per_s,
            self._tokens + (now - self._tokens_at) * self.settings.budget_per_s,
        )
        self._tokens_at = now
        for neighbor, link in list(self._links.items()):
            if stood_still and link.waiting_since < inf:
                link.waiting_since += stood_still
                link.due = self._due(link)
            if link.due > by:
                if link.due < soonest:
                    soonest = link.due
                continue
            if by >= self._death(link):
                heard = self.received(neighbor)
                if heard == link.heard:
                    effects.append(Dead(neighbor, now - link.waiting_since))
                    del self._links[neighbor]
                    continue
                link.heard = heard
                link.waiting_since = now
            self._probe(neighbor, link, now, effects)
            link.due = due_next = self._due(link)
            if due_next < soonest:
                soonest = due_next
        self._next_at = soonest
        return effects

    def _probe(self, neighbor: str, link: _Link, now: float, effects: list[Effect]) -> None:
        by = now + _EARLY_S
        if link.estimate is None:
            if by >= link.quick_at:
                link.burst_left -= 1
                link.quick_at = now + self.settings.burst_gap_s if link.burst_left else inf
                self._send(neighbor, link, now, effects)
            return
        if link.quick_at == inf and by >= link.waiting_since + self._patience(link):
            link.quick_at = now
        if by >= link.quick_at:
            if self._tokens >= 1 and len(link.outstanding) < _MOST_OUTSTANDING:
                self._send(neighbor, link, now, effects)
                link.quick_left = max(0, link.quick_left - 1)
            overdue = by >= link.waiting_since + self._patience(link)
            link.quick_at = now + self._gap(link) if overdue or link.quick_left else inf
        if by >= link.next_at:
            # The phase is kept, and what was missed is not made up for.
            period = self.period_s
            link.next_at += period
            if link.next_at <= now:
                link.next_at = now + period
            if len(link.outstanding) < _MOST_OUTSTANDING:
                self._send(neighbor, link, now, effects)

    def _send(self, neighbor: str, link: _Link, now: float, effects: list[Effect]) -> None:
        self._number += 1
        self.sent += 1
        self._tokens -= 1
        link.outstanding[self._number] = now
        if link.waiting_since == inf:
            link.waiting_since = now
            link.heard = self.received(neighbor)
        effects.append(SendProbe(neighbor, self._number))

"""One direction between two nodes, or one node's access: what happens to a packet.

`judge(size, now)` answers with the time of delivery (a float), two of them when the packet is duplicated
(a tuple), or the reason why it is lost (a string). It neither waits nor holds packets: a queue is the time
at which the line will be free. Seconds, bytes, bits per second; delays are one-way.

Where we differ from netem, and why:

* FIFO. netem lets every jittered packet overtake; reordering then hits TCP harder than the delay variation
  that was asked for. Real queues vary in length and keep order (RFC 4737 section 1 calls reordering the
  exception), so here a packet never arrives before one sent earlier, unless `reorder` says so. The price:
  packets closer to each other than the jitter wait for each other, and their mean delay rises.
* A reordered packet is late, it does not travel faster than light: it arrives up to twice the jitter (at
  least a tenth of the delay, at least 1 ms) after its time, and those behind it do not wait for it.
* Losses and duplicates happen on the line, behind the queue: a lost packet has used its share of the rate.
* Jitter is a standard deviation, for each distribution. Correlation is that of an underlying normal
  process, so that it changes the order of the delays and not their distribution.
* The chain of Gilbert and Elliott is one per flow, begun in its stationary state: see `wan.dice`.
"""

from __future__ import annotations

import math

from topology.spec import LinkSpec
from wan.dice import Dealer, Dice

Layers = dict[str, dict[str, object]]
Verdict = float | tuple[float, float] | str

# A Pareto variable of shape 3 and scale 1 has these; netem's table has the same shape.
_PARETO_MEAN, _PARETO_DEVIATION = 1.5, math.sqrt(0.75)


class Link:
    """State and counters of one direction. `spec` is what holds now, `declared` what the world file says."""

    __slots__ = (
        "_byte_s",
        "_chancy",
        "_free_at",
        "_last_at",
        "_layers",
        "_one_way_s",
        "_queue_s",
        "bytes",
        "declared",
        "delivered",
        "drops",
        "duplicates",
        "name",
        "packets",
        "spec",
    )

    def __init__(self, name: str, declared: LinkSpec) -> None:
        self.name = name
        self.declared = declared
        self.packets = self.bytes = self.delivered = self.duplicates = 0
        self.drops: dict[str, int] = {}
        self._free_at = self._last_at = -math.inf
        self._layers: Layers = {}
        self._take(declared)

    def _take(self, spec: LinkSpec) -> None:
        self.spec = spec
        self._one_way_s = spec.one_way_s
        self._byte_s = 8 / spec.rate_bps if spec.rate_bps else 0.0
        self._queue_s = spec.queue_s
        chances = (spec.jitter_s, spec.loss, spec.burst, spec.reorder, spec.duplicate, spec.down)
        self._chancy = any(chances)

    def judge(self, size: int, now: float, dealer: Dealer) -> Verdict:
        """The fate of a packet of `size` bytes that enters at `now`."""
        self.packets += 1
        self.bytes += size
        if self._chancy:
            return self._chance(size, now, dealer)
        if self._byte_s:
            free = self._free_at
            if free > now:
                if free - now > self._queue_s:
                    return self.drop("queue")
                now = free
            self._free_at = now = now + size * self._byte_s
        at = now + self._one_way_s
        if at < self._last_at:
            return self._last_at
        self._last_at = at
        return at

    def _chance(self, size: int, now: float, dealer: Dealer) -> Verdict:
        spec = self.spec
        if spec.down:
            return self.drop("down")
        # All luck is drawn before the queue is looked at: whether a queue is full is a matter of other
        # flows and of the clock, and must not shift the stream.
        dice = dealer.dice(self.name)
        lost = self._lost(dice)
        twice = bool(spec.duplicate) and dice.random() < spec.duplicate
        late = self._lateness(dice) if spec.reorder and dice.random() < spec.reorder else 0.0
        delay = max(0.0, self._one_way_s + self._jitter(dice)) if spec.jitter_s else self._one_way_s

        times = self._enqueue(size, now, delay, late)
        if times is None:
            return self.drop("queue")
        if lost:
            return self.drop(lost)
        if not twice:
            return times
        second = self._enqueue(size, now, delay, 0.0)
        if second is None:
            return times
        self.duplicates += 1
        return times, second

    def _enqueue(self, size: int, now: float, delay: float, late: float) -> float | None:
        """When a packet arrives that has to queue and to travel; None when the queue is full."""
        if self._byte_s:
            if self._free_at - now > self._queue_s:
                return None
            self._free_at = now = max(now, self._free_at) + size * self._byte_s
        at = max(now + delay, self._last_at)
        if late:
            return at + late
        self._last_at = at
        return at

    def _lost(self, dice: Dice) -> str:
        burst = self.spec.burst
        if burst is not None:
            if dice.bad is None:
                sum_ = burst.enter + burst.leave
                dice.bad = bool(sum_) and dice.random() < burst.enter / sum_
            elif dice.random() < (burst.leave if dice.bad else burst.enter):
                dice.bad = not dice.bad
            if dice.random() < (burst.loss_bad if dice.bad else burst.loss_good):
                return "burst"
        if self.spec.loss and dice.random() < self.spec.loss:
            return "loss"
        return ""

    def _lateness(self, dice: Dice) -> float:
        return dice.random() * max(2 * self.spec.jitter_s, self._one_way_s / 10, 0.001)

    def _jitter(self, dice: Dice) -> float:
        spec = self.spec
        z = dice.gauss(0.0, 1.0)
        if spec.jitter_correlation:
            if dice.z is not None:
                rho = spec.jitter_correlation
                z = rho * dice.z + math.sqrt(1 - rho * rho) * z
            dice.z = z
        if spec.jitter_distribution == "normal":
            return spec.jitter_s * z
        above: float = max(
            math.erfc(z / math.sqrt(2)) / 2, 1e-12
        )  # chance of more, uniform in 0..1
        if spec.jitter_distribution == "uniform":
            return spec.jitter_s * math.sqrt(12) * (0.5 - above)
        return spec.jitter_s * (math.pow(above, -1 / 3) - _PARETO_MEAN) / _PARETO_DEVIATION

    def drop(self, reason: str) -> str:
        self.drops[reason] = self.drops.get(reason, 0) + 1
        return reason

    def refuse(self, size: int, reason: str) -> None:
        """Count a packet that something else than this link lets go no further."""
        self.packets += 1
        self.bytes += size
        self.drop(reason)

    def plan(self, owner: str, fields: dict[str, object] | None) -> tuple[LinkSpec, Layers]:
        """What would hold if `owner` asked for `fields` (None: for nothing more). Changes nothing.

        Later wishes win over earlier ones; who takes back what he asked for uncovers the others'.
        Raises msgspec.ValidationError.
        """
        layers = {name: wish for name, wish in self._layers.items() if name != owner}
        if fields is not None:
            layers[owner] = {**self._layers.get(owner, {}), **fields}
        merged: dict[str, object] = {}
        for wish in layers.values():
            merged.update(wish)
        return self.declared.patched(merged), layers

    def change(self, spec: LinkSpec, layers: Layers) -> None:
        """Carry out what `plan` said. Packets on their way keep their fate.

        A new delay is a new route: what takes it owes nothing to packets that are still on the old one,
        so the only reordering that was not asked for is that at the moment of such a change.
        """
        if spec.one_way_s != self._one_way_s:
            self._last_at = -math.inf
        self._layers = layers
        self._take(spec)

    def reset(self) -> None:
        """Back to what the world file says, whoever asked for something else."""
        self.change(self.declared, {})

    @property
    def changed(self) -> bool:
        return bool(self._layers)

    def queued_bytes(self, now: float) -> int:
        """What waits for the line, that on it included. A line so slow that it never ends counts as empty."""
        waiting = (self._free_at - now) / self._byte_s if self._byte_s else 0.0
        return int(waiting) if 0 < waiting < math.inf else 0

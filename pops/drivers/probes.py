"""Sends the probes of `core/probing` as PINGs on control connections, and its verdicts to whom they concern.

One timer for all neighbours. It is set for the first thing that is due and not touched by answers: when it rings for
something that has been settled meanwhile, nothing happens but the next look.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from math import inf
from typing import assert_never

from pops.core.probing import Dead, Prober, SendProbe
from runtime.clock import Clock
from runtime.http2 import Http2Connection


class Probes:
    """`on_measured(neighbor, first)` after a new measurement; `on_dead(neighbor, silent_s)` once per life of a link."""

    def __init__(
        self,
        prober: Prober,
        *,
        on_measured: Callable[[str, bool], None],
        on_dead: Callable[[str, float], None],
        clock: Clock,
    ) -> None:
        self.prober = prober
        prober.received = self.received
        self._on_measured = on_measured
        self._on_dead = on_dead
        self._clock = clock
        self._controls: dict[str, Http2Connection] = {}
        # Kept, for asyncio.get_running_loop() asks the kernel for our pid each time, and this is done for every probe.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = inf

    def received(self, neighbor: str) -> int:
        control = self._controls.get(neighbor)
        return 0 if control is None else control.bytes_in

    def up(self, neighbor: str, control: Http2Connection) -> None:
        self._controls[neighbor] = control
        self._loop = asyncio.get_running_loop()
        self.prober.up(neighbor, self._clock())
        self._look()

    def down(self, neighbor: str) -> None:
        self._controls.pop(neighbor, None)
        self.prober.down(neighbor)

    def answered(self, neighbor: str, payload: bytes) -> None:
        first = not self.prober.measured(neighbor)
        (number,) = struct.unpack("!Q", payload)
        if self.prober.answered(neighbor, number, self._clock()):
            self._on_measured(neighbor, first)
        if self.prober.due(neighbor) < self._armed_for:
            self._arm()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed_for = inf

    def _ring(self) -> None:
        due, self._armed_for, self._timer = self._armed_for, inf, None
        self._look(due)

    def _look(self, due: float | None = None) -> None:
        for effect in self.prober.handle_timer(self._clock(), due=due):
            match effect:
                case SendProbe(neighbor, number):
                    self._controls[neighbor].ping(struct.pack("!Q", number))
                case Dead(neighbor, silent_s):
                    self._on_dead(neighbor, silent_s)
                case _:
                    assert_never(effect)
        self._arm()

    def _arm(self) -> None:
        due = self.prober.next_at
        if due == self._armed_for:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed_for = due
        if due < inf and self._loop is not None:
            wait = max(0.0, due - self._clock())
            self._timer = self._loop.call_later(wait, self._ring)

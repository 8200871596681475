"""The hot path: reads packets from the nodes' devices, asks the router, writes them when they are due.

`Carrier` is what the rest of the wan process relies on, so that a core in C could take the place of
`SelectCarrier`. That one is a single thread around `select()` on an epoll descriptor: epoll's own
timeouts are whole milliseconds in Python 3.11, select's are microseconds, and an epoll descriptor is
itself selectable. RTT error (p50) measured: 0.33 ms so, 1.2 ms with epoll timeouts, 1.3 ms with asyncio.
"""

from __future__ import annotations

import errno
import math
import os
import select
import time
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Protocol

from wan.lateness import FINE_BINS, FINE_PER_S, Lateness
from wan.router import MOST_PENDING, Router
from wan.ways import Door, Path

# A read buffer that is too small truncates silently.
_READ_BYTES = 65536
# At most so many packets of one device before others, and deliveries, have their turn (about 0.15 ms).
_BURST = 16
_DELIVERIES = 64
_EVENTS = 64
# What is due within this time is delivered at once: a sleep and its wake-up would cost more, and miss by more.
_GRACE_S = 20e-6
# The device is gone, not just busy.
_GONE = frozenset({errno.EBADF, errno.EBADFD, errno.ENODEV})

# select() may oversleep by a thousandth of its timeout: sleep most of a long time, then the rest.
_LONG_S = 0.005
_LONGEST_S = 3600.0
_MARGIN_S, _MARGIN_SHARE = 0.0005, 0.02
# A sleeping CPU takes 40 to 150 us to wake, fewer when it is busy: get up earlier by what it takes at least. That
# follows what is seen down faster than up (about its tenth percentile), for getting up too early is spinning.
_DOWN, _UP = 4, 40
_MOST_OVERSLEEP_S = 0.0001


class Carrier(Protocol):
    """Carries packets between doors; also the clock and the loop of the wan process."""

    lateness: Lateness

    def now(self) -> float: ...

    def carry(self, door: Door) -> None:
        """Read packets from `door.tun` from now on. The descriptor stays the caller's to close."""

    def release(self, tun: int) -> None:
        """Do not touch this descriptor again."""

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call back with what is ready (select.EPOLL*); replaces what was watched for on `fd`."""

    def unwatch(self, fd: int) -> None: ...

    def call_at(self, when: float, callback: Callable[[], None]) -> None: ...

    def run(self) -> None:
        """Until `stop`."""

    def stop(self) -> None: ...


class SelectCarrier:
    """See the module. `on_lost` is told when a door's device is no more."""

    def __init__(self, router: Router, on_lost: Callable[[Door], None]) -> None:
        self.lateness = Lateness()
        self.now = time.monotonic
        self._router = router
        self._on_lost = on_lost
        self._epoll = select.epoll()
        self._doors: dict[int, Door] = {}
        self._bursts: dict[int, int] = {}
        self._watched: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._ordinal = count()
        self._stopped = self._busy = False
        self._oversleep_s = 0.0

    def carry(self, door: Door) -> None:
        self._epoll.register(door.tun, select.EPOLLIN)
        self._doors[door.tun] = door
        self._bursts[door.tun] = 1

    def release(self, tun: int) -> None:
        if self._doors.pop(tun, None) is not None:
            del self._bursts[tun]
            self._epoll.unregister(tun)

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        if fd in self._watched:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._watched[fd] = callback

    def unwatch(self, fd: int) -> None:
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        heappush(self._timers, (when, next(self._ordinal), callback))

    def stop(self) -> None:
        self._stopped = True

    def run(self) -> None:
        while not self._stopped:
            self.turn()

    def close(self) -> None:
        self._epoll.close()

    def turn(self) -> None:
        """Do what there is to do; sleep first if that is nothing."""
        events = self._ready()
        pending = self._router.pending
        clock = self.now
        for fd, event in events:
            if pending and pending[0][0] <= clock() + _GRACE_S:
                self._deliver()
            door = self._doors.get(fd)
            if door is not None:
                self._read(door, fd)
            elif (callback := self._watched.get(fd)) is not None:
                callback(event)
        if pending and pending[0][0] <= clock() + _GRACE_S:
            self._deliver()
        while self._timers and self._timers[0][0] <= clock():
            heappop(self._timers)[2]()

    def _ready(self) -> list[tuple[int, int]]:
        """What can be read; unless there was more than that, wait for it or for the next thing due."""
        if not self._busy and self._slept():
            return []
        self._busy = False
        return self._epoll.poll(0, _EVENTS)

    def _slept(self) -> bool:
        """Sleep until something can be read (then False) or until something is about to be due."""
        pending, now = self._router.pending, self.now()
        when = pending[0][0] if pending else math.inf
        if self._timers and self._timers[0][0] < when:
            when = self._timers[0][0]
        left = min(when - now - self._oversleep_s, _LONGEST_S)
        if left <= _GRACE_S:
            return False
        long = left > _LONG_S
        if long:
            left -= max(_MARGIN_S, left * _MARGIN_SHARE)
        if select.select([self._epoll], [], [], left)[0]:
            return False
        if not long:
            over = min(self.now() - now - left, _MOST_OVERSLEEP_S)
            self._oversleep_s += (over - self._oversleep_s) / (
                _DOWN if over < self._oversleep_s else _UP
            )
        return True

    def _read(self, door: Door, fd: int) -> None:
        """Read a burst. Its length follows what was there last time, to spare the read that finds nothing."""
        submit, clock, read = self._router.submit, self.now, os.read
        if len(self._router.pending) > MOST_PENDING:
            submit = self._router.overloaded
        burst = self._bursts[fd]
        done = 0
        try:
            while done < burst:
                packet = read(fd, _READ_BYTES)
                if not packet:
                    raise OSError(errno.ENODEV, "end of file")
                submit(door, packet, clock())
                done += 1
        except BlockingIOError:
            self._bursts[fd] = done or 1
        except OSError:
            # Every other error means that the device is gone (EBADFD, EIO): it would be reported for ever.
            self._lost(door, fd)
        else:
            self._busy = burst > 1
            self._bursts[fd] = min(2 * burst, _BURST)

    def _deliver(self) -> None:
        pending, clock, write = self._router.pending, self.now, os.write
        lateness = self.lateness
        fine = lateness.fine
        now = clock()
        for _ in range(_DELIVERIES):
            if not pending or pending[0][0] > now + _GRACE_S:
                return
            at, _, target, packet = heappop(pending)
            if isinstance(target, Path):
                late = now - at if now > at else at - now
                bin_ = int(late * FINE_PER_S)
                if bin_ < FINE_BINS:
                    fine[bin_] += 1
                else:
                    lateness.coarse(late)
                if late > lateness.max_s:
                    lateness.max_s = late
                door = target.destination
                try:
                    write(door.fd, packet)
                except OSError as error:
                    self._failed(target, error)
                else:
                    target.link.delivered += 1
                    if door.taps:
                        for tap in door.taps:
                            tap(packet, now)
            else:
                target.due(at, packet)
            now = clock()

    def _failed(self, path: Path, error: OSError) -> None:
        door = path.destination
        if door.fd < 0:
            path.link.drop("vanished" if door.vanished else "detached")
            return
        path.link.drop("tx")
        if error.errno in _GONE:
            self._lost(door, door.fd)

    def _lost(self, door: Door, fd: int) -> None:
        self.release(fd)
        self._on_lost(door)

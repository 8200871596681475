"""The wan process: a plan becomes a fabric, a carrier moves its packets, a socket lets people act on it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from topology.plan import Plan
from wan.carrier import SelectCarrier
from wan.control import Control
from wan.events import Events
from wan.fabric import Fabric
from wan.operations import Operations
from wan.router import Router

_PR_SET_TIMERSLACK = 29
_REALTIME_PRIORITY = 10


class Process:
    """Everything of one wan process. `run` returns after SIGTERM or SIGINT, or `stop`."""

    def __init__(self, plan: Plan, socket_path: str, events_path: str | None) -> None:
        self.events = Events(events_path)
        self.fabric = Fabric(plan)
        self.router = Router(self.fabric)
        self.carrier = SelectCarrier(self.router, lambda door: self.operations.lost(door))
        self.operations = Operations(self.fabric, self.router, self.events, self.carrier.now)
        self.operations.use(self.carrier)
        self.control = Control(socket_path, self.carrier, self.operations.handle)

    @classmethod
    def of(cls, world: Path, socket_path: str, events_path: str | None) -> Process:
        return cls(Plan.from_json(world.read_bytes()), socket_path, events_path)

    def run(self, *, realtime: bool = False) -> None:
        exact_timers()
        many_descriptors()
        if realtime:
            self.events.emit("realtime", granted=realtime_priority())
        # Everything made so far stays: the collector need not look at it again, and packets make no cycles.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 50, 100)
        with self._signals():
            self.events.emit("wan_started", nodes=len(self.fabric.doors), pid=os.getpid())
            notify("READY=1")
            self.carrier.run()
            notify("STOPPING=1")
        self.events.emit("wan_stopped")
        self.close()

    def close(self) -> None:
        self.control.close()
        self.carrier.close()
        self.events.close()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """A signal becomes a readable descriptor: a handler alone would not end the sleep."""
        ours, woken = socket.socketpair()
        ours.setblocking(False)
        woken.setblocking(False)
        before = {
            number: signal.signal(number, lambda *_: None)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        old = signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        self.carrier.watch(ours.fileno(), select.EPOLLIN, lambda _: self.carrier.stop())
        try:
            yield
        finally:
            self.carrier.unwatch(ours.fileno())
            signal.set_wakeup_fd(old)
            for number, handler in before.items():
                signal.signal(number, handler)
            ours.close()
            woken.close()


def exact_timers() -> bool:
    """Let the kernel wake us when asked, not up to 50 us later to save power. Best effort."""
    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def many_descriptors() -> None:
    """A device and a connection per node: the usual soft limit of 1024 ends at 500 nodes."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def realtime_priority() -> bool:
    """SCHED_FIFO cut the p99 of the error to a third where it is allowed; it can also starve a small machine."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_REALTIME_PRIORITY))
    except OSError:
        return False
    return True


def notify(state: str) -> None:
    """Tell whoever started us (sd_notify(3)); without $NOTIFY_SOCKET there is nobody to tell."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        sender.setblocking(False)
        sender.sendto(state.encode(), address)

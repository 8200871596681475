"""Requests in a running lab: one asking process inside each visitor, all started at the same moment.

`Asking` is the lab's side. `python -m lab.load_real` is the process: it reads its requests as one JSON object
from the first line of stdin, answers "ready", starts at the next line, prints a sample a line as soon as there is
one, and plans no more of them after a third line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from lab.driver import Lab, LabError
from lab.load import Arrival, Sample, arrivals
from lab.load_client import Visitor
from lab.resolving import LabResolver
from topology.plan import Plan

_CHUNK = 1 << 16


class Asking:
    """The asking processes of one load, ready to `go`. Times of samples count from there. Use it as a context."""

    def __init__(
        self,
        lab: Lab,
        requests: Iterable[Arrival],
        *,
        timeout_s: float,
        keep_alive: bool = False,
    ) -> None:
        self._timeout_s = timeout_s
        self._last_s = 0.0
        self._begun = 0.0
        # All that ever came in: what interrupts the waiting for more loses nothing.
        self.collected: list[Sample] = []
        self._pending: dict[int, bytes] = {}
        self._programs: dict[str, subprocess.Popen[bytes]] = {}
        self._selector = selectors.DefaultSelector()
        by_visitor: dict[str, list[Arrival]] = {}
        for arrival in requests:
            by_visitor.setdefault(lab.visitor(arrival.visitor), []).append(arrival)
            self._last_s = arrival.at_s
        try:
            for visitor in by_visitor:
                self._programs[visitor] = lab.popen(
                    visitor,
                    [sys.executable, "-m", "lab.load_real"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            for visitor in by_visitor:
                task = {
                    "ca": str(lab.dir.pki / "ca.pem"),
                    "timeout_s": timeout_s,
                    "keep_alive": keep_alive,
                    "visitor": visitor,
                    "arrivals": [[one.at_s, one.url, one.method] for one in by_visitor[visitor]],
                }
                self._tell(visitor, json.dumps(task).encode())
            for visitor, program in self._programs.items():
                assert program.stdout is not None
                # Unbuffered: what follows is read when there is something to read.
                if os.read(program.stdout.fileno(), 6) != b"ready\n":
                    raise LabError(f"{visitor}: the asking process did not start")
                self._selector.register(program.stdout, selectors.EVENT_READ)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _tell(self, visitor: str, line: bytes) -> None:
        stdin = self._programs[visitor].stdin
        assert stdin is not None
        stdin.write(line + b"\n")
        stdin.flush()

    def go(self) -> None:
        for visitor in self._programs:
            self._tell(visitor, b"go")
        self._begun = time.monotonic()

    @property
    def now_s(self) -> float:
        """Since `go`."""
        return time.monotonic() - self._begun

    def collect(self, until_s: float) -> list[Sample]:
        """Samples that come in until then, or until all is over."""
        found: list[Sample] = []
        while self._selector.get_map() and (left := until_s - self.now_s) > 0:
            for key, _ in self._selector.select(left):
                data = os.read(key.fd, _CHUNK)
                if not data:
                    self._selector.unregister(key.fileobj)
                    continue
                *lines, rest = (self._pending.get(key.fd, b"") + data).split(b"\n")
                self._pending[key.fd] = rest
                found += [Sample(**json.loads(line)) for line in lines]
                self.collected += found[len(found) - len(lines) :]
        return found

    def stop(self) -> None:
        """Ask for nothing more; what is under way still ends."""
        for visitor in self._programs:
            # One that has asked everything is gone.
            with contextlib.suppress(BrokenPipeError):
                self._tell(visitor, b"stop")

    def rest(self) -> list[Sample]:
        """All that is still to come. LabError when the processes do not end."""
        patience_s = max(self._last_s, self.now_s) + 2 * self._timeout_s + 30
        found = self.collect(patience_s)
        if self._selector.get_map():
            raise LabError("the asking processes do not end")
        return found

    def close(self) -> None:
        for program in self._programs.values():
            if program.poll() is None:
                program.kill()
            program.wait()
            for pipe in (program.stdin, program.stdout):
                if pipe is not None:
                    pipe.close()
        self._selector.close()


def send(
    lab: Lab,
    plan: Plan,
    seconds: float,
    *,
    on_go: Callable[[], None] = lambda: None,
    on_interrupt: Callable[[float], None] | None = None,
) -> list[Sample]:
    """Ask what `plan` wants to have asked, for so long; all samples, in the order of their start.

    `on_go` is called at the moment from which times count. With `on_interrupt` the first Ctrl-C only ends the asking,
    and is told with its time.
    """
    load = plan.world.load
    if load is None:
        raise LabError("this world has no `load` section; give a world file that has one")
    planned = arrivals(load, plan, seconds)
    with Asking(lab, planned, timeout_s=load.timeout, keep_alive=load.keep_alive) as asking:
        asking.go()
        on_go()
        try:
            asking.rest()
        except KeyboardInterrupt:
            if on_interrupt is None:
                raise
            on_interrupt(asking.now_s)
            asking.stop()
            asking.rest()
        samples = asking.collected
    return sorted(samples, key=lambda sample: (sample.t_s, sample.visitor))


async def ask(task: dict[str, Any]) -> None:
    visitor = Visitor(
        LabResolver(),
        task["ca"],
        clock=time.monotonic,
        timeout_s=task["timeout_s"],
        keep=task["keep_alive"],
    )
    _print("ready")
    sys.stdin.readline()
    begin = time.monotonic()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        # The third line, or the end of whoever would have written it.
        loop.remove_reader(sys.stdin.fileno())
        stopped.set()

    loop.add_reader(sys.stdin.fileno(), stop)

    async def one(arrival: Arrival) -> None:
        visit = await visitor.get(arrival.url, method=arrival.method, body=arrival.body)
        _print(json.dumps(asdict(Sample.of(arrival, visit, visit.started - begin))))

    async with asyncio.TaskGroup() as tasks:
        for at_s, url, method in task["arrivals"]:
            arrival = Arrival(at_s, task["visitor"], url, method)
            try:
                async with asyncio.timeout(max(0.0, begin + at_s - time.monotonic())):
                    await stopped.wait()
            except TimeoutError:
                tasks.create_task(one(arrival), name=f"get {url}")
            else:
                break
    visitor.close()


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    # Ctrl-C at a terminal reaches everybody at it. The lab's side says what to do then; without it stdin is at its end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(ask(json.loads(sys.stdin.readline())))


if __name__ == "__main__":
    main()

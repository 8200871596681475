"""Whoever waits for a run in virtual time sees how far it is, and ends it early without losing what there is.

The clock on the wall is asked by a thread that only reads: nothing of it can reach the run.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from lab.drivers.virtual_run import Course

_EVERY_S = 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Watch:
    """A context around a run, which calls `begin` when it begins.

    From then on the first Ctrl-C (or SIGTERM) ends it between two events; a second one at once.
    """

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._before: dict[signal.Signals, Any] = {}

    def begin(self, course: Course) -> None:
        asked = False

        def stop(*_: object) -> None:
            nonlocal asked
            if asked:
                raise KeyboardInterrupt
            asked = True
            course.stop()

        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, stop) for number in _SIGNALS}
        if sys.stderr.isatty():
            self._thread = threading.Thread(target=self._tell, args=(course,), daemon=True)
            self._thread.start()

    def _tell(self, course: Course) -> None:
        while not self._over.wait(_EVERY_S):
            at_s = min(course.now_s, course.until_s)
            sys.stderr.write(f"\r\x1b[K... {at_s:.0f} of {course.until_s:g} s")
            sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


@contextlib.contextmanager
def terminated() -> Iterator[None]:
    """Inside, SIGTERM does what Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before: Callable[..., Any] | int | None = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

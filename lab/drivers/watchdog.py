"""A watchdog for plug-ins in virtual time: it ends the run when one does not come back, and touches nothing else.

In virtual time a plug-in decides in the one process that everything happens in. How long it takes by the clock on the
wall must not change what happens, or two runs of one seed would differ; but a decision that never ends would never end
the run. So one that takes longer than `limit_s` is made to raise `Overdue`, which `except Exception` does not catch;
the run ends with exit code 4. One that swallows even that, or sleeps, is ended with the whole process after as long
again. Some loops inside C code let no other thread run: then faulthandler ends the process, with the lines it is at.

A thread does it, which sleeps almost always: signals would need the main thread, and not every system has their timers.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

LIMIT_S = 5.0
_ABORTED = 4


class Overdue(BaseException):
    """A decision took too long by the clock on the wall."""


class Watchdog:
    """`deciding` surrounds each decision. After an `Overdue` `bitten` is the algorithm's name."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self.bitten: str | None = None
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._since: float | None = None
        self._name = ""
        self._ident = 0
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    @contextmanager
    def deciding(self, name: str) -> Iterator[None]:
        """Raises Overdue inside. What the algorithm prints goes to stderr: stdout is the command's own."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        self._name, self._ident = name, threading.get_ident()
        self._since = time.monotonic()
        if sys.__stderr__ is not None:
            faulthandler.dump_traceback_later(3 * self._limit_s, exit=True, file=sys.__stderr__)
        try:
            with redirect_stdout(sys.stderr):
                yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            with self._lock:
                self._since = None
                if self.bitten is not None:
                    # It may have come back in the very moment: then nothing more shall be raised.
                    _raise_in(self._ident, None)
            if self.bitten is not None:
                raise Overdue

    def close(self) -> None:
        self._closed.set()

    @property
    def said(self) -> str:
        return (
            f"algorithm {self._name!r} has not decided within {self._limit_s:g} s; the run is ended"
        )

    def _watch(self) -> None:
        while not self._closed.wait(self._limit_s / 10):
            with self._lock:
                since = self._since
                if since is None:
                    continue
                late_s = time.monotonic() - since - self._limit_s
                if late_s > 0 and self.bitten is None:
                    self.bitten = self._name
                    _raise_in(self._ident, Overdue)
                elif late_s > self._limit_s:
                    os.write(2, f"popnet: {self.said}\n".encode())
                    os._exit(_ABORTED)


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Raise in another thread, between two of its bytecodes; None takes it back."""
    what = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), what)

"""The WAN's events: appended to the lab's event file, and handed to whoever subscribed.

One JSON object a line, written at once to a descriptor opened with O_APPEND, so that lines of several
processes do not mix. An event that cannot be written is counted and dropped: a log must not take down
what it describes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import msgspec

Listener = Callable[[bytes], None]


class Events:
    """`emit` tells the file at `path` (None: nobody) and all listeners, which must not block."""

    def __init__(self, path: str | None) -> None:
        self.dropped = 0
        self.listeners: list[Listener] = []
        self._fd = -1
        if path is not None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o644)

    def emit(self, event: str, node: str = "wan", **fields: object) -> None:
        """`node` is whom it is about; fields must be JSON values or structs."""
        fact = {"t": round(time.time(), 6), "node": node, "event": event, **fields}
        line = msgspec.json.encode(fact) + b"\n"
        if self._fd >= 0:
            try:
                os.write(self._fd, line)
            except OSError:
                self.dropped += 1
        for listener in tuple(self.listeners):
            listener(line)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

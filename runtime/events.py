"""The event log: one JSON object a line, appended by every process of a lab to the same file.

A line is one `write` to a descriptor opened with O_APPEND, so lines of several processes never mix
on a local file system. Writing is best effort: an event that cannot be written (disk full,
directory gone) is counted and dropped, for a log must never take down what it describes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from runtime.clock import Clock, wall

Value = str | int | float | bool | None | list[str] | list[float] | Mapping[str, object]


class EventLog:
    """Appends `{"t", "node", "event", ...}` to `path`; with no path it is off."""

    def __init__(self, path: str | None, node: str, *, clock: Clock = wall) -> None:
        self.node = node
        self.dropped = 0
        self._clock = clock
        self._fd: int | None = None
        if path:
            try:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._fd = os.open(path, flags, 0o644)
            except OSError:
                self.dropped += 1

    @property
    def on(self) -> bool:
        return self._fd is not None

    def emit(self, event: str, **fields: Value) -> None:
        """Append one event. `fields` must be JSON values."""
        if self._fd is None:
            return
        record = {"t": round(self._clock(), 6), "node": self.node, "event": event, **fields}
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        try:
            written = os.write(self._fd, line)
        except OSError:
            self.dropped += 1
            return
        if written != len(line):
            self.dropped += 1

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

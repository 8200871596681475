"""Lines for people on standard error, in cloudflared's shape: time, level, message, fields.

2026-01-31T12:00:00Z INF Registered tunnel connection connIndex=0 location=LHR ip=198.18.1.3
"""

from __future__ import annotations

import datetime
import json
from typing import TextIO

from runtime.clock import Clock, wall

_LEVELS = {"debug": 0, "info": 1, "warn": 2, "error": 3, "fatal": 4}
_SHORT = {"debug": "DBG", "info": "INF", "warn": "WRN", "error": "ERR", "fatal": "FTL"}

Value = str | int | float


class Log:
    """Writes to `stream` what is at least `level`."""

    def __init__(
        self,
        stream: TextIO | None,
        *,
        level: str = "info",
        as_json: bool = False,
        clock: Clock = wall,
    ) -> None:
        self._stream = stream
        self._least = _LEVELS[level]
        self._as_json = as_json
        self._clock = clock

    def debug(self, message: str, **fields: Value) -> None:
        self._write("debug", message, fields)

    def info(self, message: str, **fields: Value) -> None:
        self._write("info", message, fields)

    def warn(self, message: str, **fields: Value) -> None:
        self._write("warn", message, fields)

    def error(self, message: str, **fields: Value) -> None:
        self._write("error", message, fields)

    @property
    def debugging(self) -> bool:
        """Whether debug lines are written: making one costs something."""
        return self._stream is not None and self._least == 0

    def _write(self, level: str, message: str, fields: dict[str, Value]) -> None:
        if self._stream is None or _LEVELS[level] < self._least:
            return
        when = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC)
        stamp = when.strftime("%Y-%m-%dT%H:%M:%SZ")
        if self._as_json:
            line = json.dumps({"level": level, **fields, "time": stamp, "message": message})
        else:
            said = "".join(f" {key}={_quoted(value)}" for key, value in sorted(fields.items()))
            line = f"{stamp} {_SHORT[level]} {message}{said}"
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # Nobody reads the log any more; that is no reason to stop serving.
            self._stream = None


def _quoted(value: Value) -> str:
    text = str(value)
    plain = text.isprintable() and not any(c in text for c in ' "=')
    return text if text and plain else json.dumps(text)

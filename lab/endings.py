"""The signals that end a command. Windows has no SIGHUP, and there the commands of virtual time work too."""

from __future__ import annotations

import signal

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
ENDINGS: tuple[signal.Signals, ...] = tuple(
    signal.Signals[name] for name in _NAMES if hasattr(signal, name)
)

"""What a virtual world tells: one log for all its programs, by the world's own clock."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from runtime.events import EventLog, Value
from runtime.notify import Notifier
from wan.virtual.loop import VirtualLoop


class Events:
    """What happened, in order. A line is JSON without spaces; the log's digest names the run."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.lines: list[dict[str, Any]] = []
        self.watchers: list[Callable[[dict[str, Any]], None]] = []
        self.closed = False
        self._loop = loop

    def emit(self, node: str, event: str, **fields: Any) -> None:
        if self.closed:
            return
        fact = {"t": round(self._loop.now, 6), "node": node, "event": event, **fields}
        self.lines.append(fact)
        for watcher in tuple(self.watchers):
            watcher(fact)

    def to_bytes(self) -> bytes:
        return b"".join(
            json.dumps(fact, separators=(",", ":")).encode() + b"\n" for fact in self.lines
        )

    def sha256(self) -> str:
        return hashlib.sha256(self.to_bytes()).hexdigest()


class ProgramEvents(EventLog):
    """What one program tells."""

    def __init__(self, events: Events, node: str) -> None:
        super().__init__(None, node)
        self._events = events

    @property
    def on(self) -> bool:
        return True

    def emit(self, event: str, **fields: Value) -> None:
        self._events.emit(self.node, event, **fields)


class ProgramNotifier(Notifier):
    def __init__(self, on_ready: Callable[[], None], on_stopping: Callable[[], None]) -> None:
        super().__init__(None)
        self._on_ready, self._on_stopping = on_ready, on_stopping

    def ready(self) -> None:
        self._on_ready()

    def stopping(self) -> None:
        self._on_stopping()

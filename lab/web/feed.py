"""The lab as a stream of server-sent events (WHATWG HTML, section 9.2): its state once a second, its events at once.

    event: state      data: the account of observer.py, when it was made
    event: happened   data: one line of events.jsonl with its words as `told`; the last ones first when somebody comes

Nothing is gathered or read while nobody looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from pathlib import Path
from typing import Final

import msgspec

from lab.happened import Teller
from lab.web.observer import Observer
from runtime.streams import HIGH_WATER, Headers, Stream
from topology.plan import Plan

_TAIL_BYTES: Final = 64 * 1024
_MOST_AT_ONCE: Final = 1 << 20
_REMEMBERED: Final = 60
_LOOK_S: Final = 0.25
_MOST_VIEWERS: Final = 64
# A browser's tab that does not read is let go, and will come again by itself.
_MOST_UNREAD: Final = 4 * 1024 * 1024


class EventTail:
    """What is appended to a file of JSON lines, in words. It keeps the last ones for those who come later."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self._path = path
        self._teller = Teller(plan)
        self._position: int | None = None
        self.last: deque[bytes] = deque(maxlen=_REMEMBERED)

    def read(self) -> list[bytes]:
        """New whole lines. The first time, and after a long sleep, only what stands near the end."""
        try:
            size = self._path.stat().st_size
            start = self._position
            if start is None or size - start > _MOST_AT_ONCE or size < start:
                start = max(0, size - _TAIL_BYTES)
            if size == start:
                return []
            with open(self._path, "rb") as file:
                file.seek(start)
                data = file.read(_MOST_AT_ONCE)
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        lines = whole.splitlines()
        if start and self._position != start:
            lines = lines[1:]  # it began in the middle of a line
            self._teller = Teller(None)  # and knows nothing of the links before
        self._position = start + len(whole)
        lines = [told for line in lines if (told := self._told(line)) is not None]
        self.last.extend(lines)
        return lines

    def _told(self, line: bytes) -> bytes | None:
        """None for what is no news; and for a torn line (disk full), where all write one object a line."""
        try:
            event = json.loads(line)
            told = self._teller.tell(event)
        except (ValueError, AttributeError, KeyError, TypeError):
            return None
        return None if told is None else json.dumps({**event, "told": told}).encode()


class Feed:
    def __init__(self, observer: Observer, events: Path) -> None:
        self._observer = observer
        self._tail = EventTail(events, observer.plan)
        self._viewers: dict[Stream, None] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    def add(self, stream: Stream) -> bool:
        """Begin to send to this one; False when there are too many."""
        if len(self._viewers) >= _MOST_VIEWERS:
            return False
        headers: Headers = [
            (b":status", b"200"),
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-store"),
        ]
        stream.send_headers(headers)
        self._tail.read()
        for line in self._tail.last:
            stream.send_data(_message("happened", line))
        self._viewers[stream] = None
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="feed")
        return True

    def remove(self, stream: Stream) -> None:
        self._viewers.pop(stream, None)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        try:
            while self._viewers:
                if loop.time() >= due:
                    due = loop.time() + self._observer.interval_s
                    await self._send_state()
                for line in self._tail.read():
                    self._send("happened", line)
                await asyncio.sleep(_LOOK_S)
        finally:
            self._task = None

    async def _send_state(self) -> None:
        try:
            state = msgspec.json.encode(await self._observer.state(0.5))
        except Exception as error:  # noqa: BLE001  one bad account is no reason to show no more of them
            asyncio.get_running_loop().call_exception_handler(
                {"message": "no account of the lab", "exception": error}
            )
            return
        self._send("state", state, or_skip=True)

    def _send(self, event: str, data: bytes, *, or_skip: bool = False) -> None:
        message = _message(event, data)
        for stream in list(self._viewers):
            if or_skip and stream.backlog > HIGH_WATER:
                continue
            if stream.backlog > _MOST_UNREAD:
                self.remove(stream)
                stream.reset(0)
                continue
            stream.send_data(message)


def _message(event: str, data: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event.encode(), data)

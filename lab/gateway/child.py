"""The gateway as its parent sees it: started, started again when it dies, and never a reason for the lab to end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

from lab.children import Child, execute
from lab.gateway.ports import Wanted, Where, read
from lab.rundir import RunDir

_RETRY_S = (0.1, 0.5, 2.0, 10.0)
_MESSAGE_BYTES = 4096


class GatewayProcess:
    """`ready` or, when it could not start at all, `trouble` is set, and then `on_change` called."""

    def __init__(
        self,
        run: RunDir,
        wanted: Wanted,
        on_change: Callable[[], None],
        record: Callable[..., Any],
    ) -> None:
        self._run = run
        self._wanted = wanted
        self._on_change = on_change
        self._record = record
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._notice_path = run.path / "gateway.notify"
        self._notices.bind(str(self._notice_path))
        asyncio.get_running_loop().add_reader(self._notices, self._noticed)
        self._child: Child | None = None
        self._stopping = False
        self.failures = 0
        self.ready = False
        self.trouble: str | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    @property
    def log(self) -> list[str]:
        with contextlib.suppress(OSError):
            return (self._run.path / "gateway.log").read_text(errors="replace").splitlines()[-5:]
        return []

    @property
    def where(self) -> Where | None:
        return read(self._run.path) if self.ready else None

    def start(self) -> None:
        arguments = ["-m", "lab.gateway", *self._wanted.arguments()]
        environment = {"NOTIFY_SOCKET": str(self._notice_path)}
        process = execute(self._run, arguments, "gateway.log", environment)
        self._child = Child(process, self._ended)

    def stop(self) -> None:
        """It dies with its parent anyhow; this only keeps it from being started again."""
        self._stopping = True

    def _noticed(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if b"READY=1" in self._notices.recv(_MESSAGE_BYTES).split(b"\n"):
                self.ready = True
                self.failures = 0
                # When it must be started again it shall be found where it was.
                if (where := read(self._run.path)) is not None:
                    self._wanted = where.again(self._wanted)
                self._on_change()

    def _ended(self, how: str) -> None:
        self._child = None
        if self._stopping:
            return
        was_ready, self.ready = self.ready, False
        self._record("gateway_ended", how=how)
        self.failures += 1
        if not was_ready and self.failures == 1:
            self.trouble = f"the gateway ended ({how})"
        elif self.failures <= len(_RETRY_S):
            asyncio.get_running_loop().call_later(_RETRY_S[self.failures - 1], self.start)
        self._on_change()

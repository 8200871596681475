"""The supervisor's own children: the wan process and the zygote. Each dies with the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.rundir import RunDir
from wan.agent import linux

_MESSAGE_BYTES = 65536

# numpy starts a thread per core on import, and a process with threads may not be forked into namespaces.
_SINGLE_THREADED = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(slots=True)
class Child:
    """A process started by exec; `on_end(how)` is called once, from the event loop."""

    process: subprocess.Popen[bytes]
    on_end: Callable[[str], None]
    _pidfd: int = field(init=False)

    def __post_init__(self) -> None:
        self._pidfd = os.pidfd_open(self.process.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._ended)

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    def _ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self.process.wait()
        self.on_end(f"exit {code}" if code >= 0 else signal.Signals(-code).name)


def execute(
    run: RunDir,
    arguments: list[str],
    log: str,
    environment: Mapping[str, str],
    keep: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    """Start `python arguments`, dying with this process, its output in `log`."""
    parent = os.getpid()
    with open(run.path / log, "ab") as output:
        return subprocess.Popen(
            # -P: a directory named like one of ours where the user stands is none of ours.
            [sys.executable, "-P", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
            pass_fds=keep,
            preexec_fn=lambda: linux.die_with_parent(parent),
        )


def start_zygote(run: RunDir) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Called before the event loop runs: its imports are the longest part of bringing a lab up."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = execute(
            run,
            ["-m", "lab.zygote", str(theirs.fileno())],
            "zygote.log",
            _SINGLE_THREADED,
            (theirs.fileno(),),
        )
    ours.setblocking(False)
    return process, ours


class Zygote:
    """The zygote as the supervisor sees it. `on_message` gets what it says (see lab/zygote.py)."""

    def __init__(
        self,
        started: tuple[subprocess.Popen[bytes], socket.socket],
        on_message: Callable[[dict[str, Any]], None],
        on_end: Callable[[str], None],
    ) -> None:
        process, self._socket = started
        self._on_message = on_message
        self.child = Child(process, on_end)
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    def fork(self, node: str) -> None:
        self._socket.setblocking(True)
        try:
            self._socket.send(json.dumps({"node": node}).encode())
        finally:
            self._socket.setblocking(False)

    def _readable(self) -> None:
        try:
            message = self._socket.recv(_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if message:
            self._on_message(json.loads(message))
        else:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()


class WanProcess:
    """Starts `python -m wan` and learns from its READY=1 that it listens."""

    def __init__(
        self, run: RunDir, on_ready: Callable[[], None], on_end: Callable[[str], None]
    ) -> None:
        self._run = run
        self._on_ready = on_ready
        self._on_end = on_end
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._notices.bind(str(run.wan_notify))
        asyncio.get_running_loop().add_reader(self._notices, self._noticed)
        self.child: Child | None = None
        self.starts = 0

    def start(self) -> None:
        self.starts += 1
        arguments = ["-m", "wan", "--world", str(self._run.world)]
        arguments += ["--socket", str(self._run.wan_socket), "--events", str(self._run.events)]
        environment = {"NOTIFY_SOCKET": str(self._run.wan_notify)}
        process = execute(self._run, arguments, self._run.wan_log.name, environment)
        self.child = Child(process, self._on_end)

    def _noticed(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if b"READY=1" in self._notices.recv(_MESSAGE_BYTES).split(b"\n"):
                self._on_ready()

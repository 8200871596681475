"""Starting and ending a lab from outside: runs the supervisor, hands it the world, listens to how it goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lab import jsonlines
from lab.jsonlines import UnreachableError
from lab.rundir import RUN_VARIABLE, RunDir, RunDirError
from topology.plan import Plan
from topology.problems import WorldError

_ABORTED = 4
_LEAVE_S = 15.0


class UpError(Exception):
    """The lab did not come up: why, exit code, the end of the log that tells more."""

    def __init__(self, why: str, code: int, log: list[str]) -> None:
        super().__init__(why)
        self.why, self.code, self.log = why, code, log


class Launch:
    """One lab being brought up. The supervisor starts at once, so that its imports and our reading overlap."""

    def __init__(self, run: RunDir) -> None:
        if _answers(run):
            raise RunDirError(
                f"a lab named {run.name} is running already; end it by `popnet down -n {run.name}`, "
                "or give this one another name by -n"
            )
        if run.path.exists():
            # What a crash left behind; nobody answers in it any more.
            run.sweep()
        run.create()
        self.run = run
        environ = {**os.environ, RUN_VARIABLE: str(run.path), "PYTHONUNBUFFERED": "1"}
        with open(run.log, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "lab.supervisor"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environ,
                # Ctrl-C is ours to translate: the lab shall end in order, not all at once.
                start_new_session=True,
            )

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def pid(self) -> int:
        return self._process.pid

    def go(self, plan: Plan, *, detach: bool, gateway: Mapping[str, Any] | None = None) -> None:
        self.run.check_lengths(list(plan.nodes))
        self.run.world.write_bytes(plan.to_json())
        assert self._process.stdin is not None
        try:
            orders = {"go": True, "detach": detach, "gateway": dict(gateway or {})}
            self._process.stdin.write(json.dumps(orders).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            # It ended before it was told anything, and said why on its stdout.
            return

    def progress(self) -> Iterator[dict[str, Any]]:
        """What the supervisor tells, until it is ready; UpError when it fails."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if "failed" in message:
                self._process.wait()
                raise UpError(message["failed"], message["code"], message["log"])
            yield message
            if "ready" in message:
                return
        log = _tail(self.run.log)
        code = self._process.wait()
        raise UpError(f"the supervisor ended (exit {code})", _ABORTED, log)

    def wait(self) -> str | None:
        """Until the lab ends by itself or by `popnet down`; why it failed, if it did."""
        assert self._process.stdout is not None
        failed = None
        for line in self._process.stdout:
            failed = json.loads(line).get("failed", failed)
        self._process.wait()
        return failed

    def end(self) -> None:
        """End the lab, in whatever state it is, and remove what is left of it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.terminate()
            self._process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.run.sweep()

    def let_go(self) -> None:
        """A detached lab lives on without us."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def up(
    file: Path,
    name: str | None,
    *,
    detach: bool,
    gateway: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] = lambda _: None,
    idle: bool = False,
    algorithm: str | None = None,
) -> Launch:
    """Bring a world up, all or nothing. Raises WorldError, UpError, RunDirError, KeyboardInterrupt.

    `gateway` holds fields of lab.gateway.ports.Wanted. `idle`: the timeline waits for whoever plays it. `algorithm`:
    instead of the file's own.

    Without a name the lab has that of its world, which is known only when the file has been read: the
    supervisor is then started a little later.
    """
    # Here, and not above: it brings networkx, and most commands bring nothing up.
    from lab.worlds import load_world

    if name is None:
        plan = Plan.of(load_world(file, algorithm))
        launch = Launch(RunDir.of(plan.name))
    else:
        launch = Launch(RunDir.of(name))
        try:
            plan = Plan.of(load_world(file, algorithm))
        except BaseException:
            launch.end()
            raise
    try:
        launch.go(plan.idle() if idle else plan, detach=detach, gateway=gateway)
        for message in launch.progress():
            if "say" in message:
                progress(message["say"])
    except BaseException:
        launch.end()
        raise
    return launch


def down(run: RunDir) -> list[int] | None:
    """End a lab and remove its directory. None: there was none. Else the pids that did not end by themselves."""
    if not run.path.exists():
        left = run.processes()
        return run.sweep() if left else None
    try:
        pid = jsonlines.ask(run.lab_socket, {"op": "down"}, timeout=5.0)["pid"]
        _await_end(int(pid))
    except (UnreachableError, jsonlines.RefusedError):
        pass
    return run.sweep()


def _await_end(pid: int) -> None:
    import select

    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        select.select([pidfd], [], [], _LEAVE_S)
    finally:
        os.close(pidfd)


def _answers(run: RunDir) -> bool:
    try:
        jsonlines.ask(run.lab_socket, {"op": "status"}, timeout=5.0)
    except UnreachableError:
        # Between its start and its first answer a supervisor can be known by its lock alone.
        return _locked(run)
    except jsonlines.RefusedError:
        return True
    return True


def _locked(run: RunDir) -> bool:
    import fcntl

    try:
        fd = os.open(run.lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _tail(path: Path, lines: int = 12) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


__all__ = ["Launch", "UpError", "WorldError", "down", "up"]

"""Where a lab lives on disk, and how to find what belongs to it: RUN/..., one directory per lab name.

Every process of a lab carries POPNET_RUN=<its run directory> in the environment it was executed with, so what a
crash left behind is found by reading /proc, exactly and without a pid file that could be out of date.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import stat
import time
from dataclasses import dataclass
from pathlib import Path

RUN_VARIABLE = "POPNET_RUN"
# The lab that commands mean which name none.
LAB_VARIABLE = "POPNET_LAB"
BASE_VARIABLE = "POPNET_RUN_DIR"

# sun_path holds 108 bytes with the final zero; some programs stop at fewer.
SOCKET_PATH_LIMIT = 104

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,30}[A-Za-z0-9])?")
_GONE_WITHIN_S = 5.0


class RunDirError(Exception):
    """The run directory cannot be used; the text says why and what to do."""


def base() -> Path:
    """The directory of all labs of this user; POPNET_RUN_DIR overrides it.

    Inside `popnet exec` the user may look like root (user namespace): there the lab's own directory tells.
    """
    if chosen := os.environ.get(BASE_VARIABLE):
        return Path(chosen).absolute()
    if inside := os.environ.get(RUN_VARIABLE):
        return Path(inside).parent
    if os.geteuid() == 0:
        return Path("/run/popnet")
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime, "popnet")
    return Path("/tmp", f"popnet-{os.geteuid()}")  # noqa: S108 ownership is checked in `create`


@dataclass(frozen=True, slots=True)
class RunDir:
    path: Path

    @classmethod
    def of(cls, name: str) -> RunDir:
        if not _NAME.fullmatch(name):
            raise RunDirError(f"{name!r} cannot name a lab: letters, digits, - _ . (at most 32)")
        return cls(base() / name)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def world(self) -> Path:
        return self.path / "world.json"

    @property
    def wan_socket(self) -> Path:
        return self.path / "wan.sock"

    @property
    def wan_notify(self) -> Path:
        return self.path / "wan.notify"

    @property
    def lab_socket(self) -> Path:
        return self.path / "lab.sock"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "lab.log"

    @property
    def wan_log(self) -> Path:
        return self.path / "wan.log"

    @property
    def lock(self) -> Path:
        return self.path / "lab.lock"

    @property
    def pki(self) -> Path:
        return self.path / "pki"

    @property
    def policy(self) -> Path:
        """The security policy in force: PoPs read it when they start."""
        return self.path / "policy.json"

    def algorithm(self, name: str) -> Path:
        """The text of a routing algorithm that is a plug-in."""
        return self.path / "algorithm" / f"{Path(name).name.removesuffix('.py')}.py"

    @property
    def records(self) -> Path:
        """DNS records that were changed since the lab came up: PoPs read them when they start."""
        return self.path / "records.json"

    @property
    def etc(self) -> Path:
        """Files that every node sees in place of the machine's own."""
        return self.path / "etc"

    def node(self, name: str) -> Path:
        return self.path / "nodes" / name

    def agent_socket(self, node: str) -> Path:
        return self.node(node) / "agent.sock"

    def create(self) -> None:
        """Make the directory, for this user alone."""
        parent = self.path.parent
        try:
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = parent.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                raise RunDirError(f"{parent} is not a directory of this user; set {BASE_VARIABLE}")
            self.path.mkdir(mode=0o700)
        except FileExistsError:
            raise RunDirError(f"{self.path} exists already") from None
        except OSError as error:
            raise RunDirError(
                f"{error.filename}: {error.strerror}; set {BASE_VARIABLE} to a directory you can write"
            ) from error

    def check_lengths(self, nodes: list[str]) -> None:
        longest = max((str(self.node(node) / "connector.notify") for node in nodes), key=len)
        if len(longest.encode()) > SOCKET_PATH_LIMIT:
            raise RunDirError(
                f"{longest} is too long for a Unix socket ({SOCKET_PATH_LIMIT} bytes): "
                f"choose a shorter lab name, or a shorter directory by {BASE_VARIABLE}"
            )

    def serves(self) -> bool:
        """Whether a supervisor answers here: a directory alone may be what a crash left."""
        with socket.socket(socket.AF_UNIX) as door:
            door.setblocking(False)
            try:
                door.connect(str(self.lab_socket))
            except BlockingIOError:
                pass  # It is there, and has more to do than it can.
            except OSError:
                return False
        return True

    def processes(self) -> list[int]:
        """Every live process of this lab, apart from this one and those it was started by."""
        wanted = f"{RUN_VARIABLE}={self.path}".encode()
        spared = _ancestry()
        # A container has a directory of the same name for itself, and its processes are its engine's to end.
        here = os.readlink("/proc/self/ns/pid")
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) in spared:
                continue
            # Others' processes cannot be read, and some end while we look. A zombie has an empty environment.
            with contextlib.suppress(OSError):
                marks = Path("/proc", entry, "environ").read_bytes().split(b"\0")
                if wanted in marks and os.readlink(f"/proc/{entry}/ns/pid") == here:
                    found.append(int(entry))
        return sorted(found)

    def sweep(self) -> list[int]:
        """End whatever of this lab still runs, then remove the directory; the pids that had to be ended."""
        ended: set[int] = set()
        give_up = time.monotonic() + _GONE_WITHIN_S
        while left := self.processes():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            ended.update(left)
            if time.monotonic() > give_up:
                raise RunDirError(f"processes of {self.name} do not end: {left}")
            time.sleep(0.01)
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()
        return sorted(ended)


def _ancestry() -> set[int]:
    """This process and its parents: `popnet down` may be typed in a shell inside the lab."""
    pids = {os.getpid()}
    pid = os.getppid()
    while pid > 1 and pid not in pids:
        pids.add(pid)
        try:
            stat_line = Path("/proc", str(pid), "stat").read_text()
        except OSError:
            break
        # The command, in parentheses, may contain anything; the parent is the second field after it.
        pid = int(stat_line.rpartition(")")[2].split()[1])
    return pids


def serving() -> list[RunDir]:
    """The labs of this user that can be asked."""
    return [lab for lab in labs() if lab.serves()]


def labs() -> list[RunDir]:
    """All labs of this user that have a directory, running or not."""
    try:
        return [RunDir(path) for path in sorted(base().iterdir()) if path.is_dir()]
    except OSError:
        return []

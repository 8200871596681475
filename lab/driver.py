"""A running lab as a program sees it: open it by name, ask its processes, run commands inside its nodes.

    lab = Lab.open("default")
    lab.plan.landing("tokyo")
    lab.wan("links", pairs=[["LHR", "NRT"]])
    lab.agent("LHR", "status")
    lab.admin("LHR", "GET", "/status").json()
    lab.run("tokyo", ["ping", "-c1", "NRT"], capture_output=True)

Blocking, and safe to use from one thread at a time. Raises LabError.
"""

from __future__ import annotations

import difflib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lab import adminhttp, configs, inside, isolation, jsonlines
from lab.jsonlines import Connection, Message, UnreachableError
from lab.rundir import RUN_VARIABLE, RunDir, serving
from topology.plan import Plan
from wan.agent import linux

DEFAULT_NAME = "default"


class LabError(Exception):
    """What was asked cannot be done; the text is for people, `code` is what a command exits with."""

    code = 2


class NoLabError(LabError):
    """There is no such lab. `only`: the name that was taken for want of one, where no other lab may stand in."""

    def __init__(self, text: str, only: str | None = None) -> None:
        super().__init__(text)
        self.only = only


class Lab:
    """One running lab."""

    def __init__(self, run: RunDir) -> None:
        self.dir = run

    @classmethod
    def open(cls, name: str | None = None, *, tell: Callable[[str], None] | None = None) -> Lab:
        """The lab of this name; without a name the one we are in, or the one named `default`.

        With `tell`, for what only looks: if there is no such lab, the only one that runs, and its name is told.
        """
        served = [run.name for run in serving()]
        named = name is not None
        name = name or choose()
        if not named and tell is not None and name not in served and len(served) == 1:
            (name,) = served
            tell(f"lab {name}, the only one that runs")
        lab = cls(RunDir.of(name))
        try:
            jsonlines.ask(lab.dir.lab_socket, {"op": "status"}, timeout=10.0)
        except UnreachableError:
            others = ", ".join(other for other in served if other != name)
            hint = f"running: {others}; choose by -n" if others else "`popnet up` starts one"
            if lab.dir.path.exists() and not lab.dir.processes():
                hint = f"a crash left its files: `popnet down -n {name}` clears them away"
            only = name if not named and tell is None else None
            raise NoLabError(f"no lab named {name} is running ({hint})", only) from None
        return lab

    @property
    def name(self) -> str:
        return self.dir.name

    @cached_property
    def plan(self) -> Plan:
        return Plan.from_json(self.dir.world.read_bytes())

    # Who is asked

    def status(self) -> Message:
        """The supervisor's account: phase, wan, every node with its programs."""
        return self.supervisor("status")

    def supervisor(self, operation: str, timeout: float = 60.0, **fields: Any) -> Message:
        return self._ask(self.dir.lab_socket, {"op": operation, **fields}, timeout)

    def wan(self, operation: str, timeout: float = 30.0, **fields: Any) -> Message:
        """One request to the wan process."""
        return self._ask(self.dir.wan_socket, {"op": operation, **fields}, timeout)

    def agent(self, node: str, operation: str, timeout: float = 15.0, **fields: Any) -> Message:
        return self._ask(
            self.dir.agent_socket(self.node(node)), {"op": operation, **fields}, timeout
        )

    def admin(
        self,
        node: str,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        program: str = "pop",
    ) -> adminhttp.Answer:
        """The admin socket of a PoP, or of a connector by its program's name."""
        try:
            return adminhttp.request(self.admin_socket(node, program), method, target, body)
        except UnreachableError as error:
            raise LabError(f"{node}: {error}") from error

    def admin_socket(self, node: str, program: str = "pop") -> Path:
        return self.dir.node(self.node(node)) / (
            "admin.sock" if program == "pop" else f"{program}.sock"
        )

    def wan_connection(self) -> Connection:
        """For what answers with a stream: subscribe, capture."""
        try:
            return Connection(self.dir.wan_socket)
        except UnreachableError as error:
            raise LabError(str(error)) from error

    def _ask(self, path: Path, message: Message, timeout: float) -> Message:
        try:
            return jsonlines.ask(path, message, timeout)
        except (jsonlines.RefusedError, UnreachableError) as error:
            raise LabError(str(error)) from error

    # Names

    def node(self, name: str) -> str:
        """The name itself, if there is such a node; LabError with the near miss if not."""
        return known(name, self.plan.nodes, "node")

    def pop(self, name: str) -> str:
        return known(name, self.plan.pops, "PoP")

    def visitor(self, name: str) -> str:
        return known(name, self.plan.world.visitors, "visitor")

    # Programs inside a node

    def node_pid(self, node: str) -> int:
        """The agent's: its namespaces are the node's."""
        node = self.node(node)
        for entry in self.status()["nodes"]:
            if entry["name"] == node and entry["pid"] is not None:
                return int(entry["pid"])
        raise LabError(f"{node} has no agent running; `popnet start {node}` makes one")

    def environment(self, node: str) -> dict[str, str]:
        environ = dict(os.environ)
        isolation.environment(self.dir.etc, node, environ)
        environ[RUN_VARIABLE] = str(self.dir.path)
        environ.update(configs.node_environment(self.plan, node))
        return environ

    def popen(self, node: str, arguments: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program inside a node; options as of subprocess.Popen. Call it from a process with one thread."""
        node = self.node(node)
        if self.in_containers:
            return subprocess.Popen(
                self.by_agent(node, arguments, options.pop("env", None) or {}), **options
            )
        pid = self.node_pid(node)
        environ = {**self.environment(node), **(options.pop("env", None) or {})}
        return subprocess.Popen(
            list(arguments), env=environ, preexec_fn=lambda: enter(pid), **options
        )

    @cached_property
    def in_containers(self) -> bool:
        """True if nodes are containers: their namespaces are out of reach, their agents are not."""
        return self.status().get("driver") == "containers"

    def by_agent(
        self, node: str, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> list[str]:
        """The command that has a node's agent run a program, and lends it its own standard streams."""
        environment = {**configs.node_environment(self.plan, node), **environment}
        # Nothing of ours is imported (-S, -E): it starts in a third of the time.
        helper = [sys.executable, "-S", "-E", "-P", inside.__file__]
        path = str(self.dir.agent_socket(node))
        return [*helper, path, json.dumps(environment), "--", *arguments]

    def run(
        self,
        node: str,
        arguments: Sequence[str],
        *,
        input: bytes | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> subprocess.CompletedProcess[Any]:
        """As subprocess.run, inside a node."""
        if options.pop("capture_output", False):
            options.update(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if input is not None:
            options["stdin"] = subprocess.PIPE
        with self.popen(node, arguments, **options) as process:
            try:
                output, errors = process.communicate(input, timeout)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)

    # What happened

    def events(self, *, follow: bool = False, since: int = 0) -> Iterator[Message]:
        """Lines of events.jsonl from a byte offset on; with `follow` they never end."""
        with open(self.dir.events, "rb") as file:
            file.seek(since)
            pending = b""
            while True:
                pending += file.readline()
                if pending.endswith(b"\n"):
                    yield json.loads(pending)
                    pending = b""
                elif not follow or not self.dir.path.exists():
                    return
                else:
                    time.sleep(0.05)

    def events_so_far(self) -> int:
        """An offset for `events(since=...)`: only what happens from now on."""
        return self.dir.events.stat().st_size


def choose() -> str:
    """The lab that is meant when none is named: the one this command runs in, else the default one."""
    inside = os.environ.get(RUN_VARIABLE)
    return Path(inside).name if inside else DEFAULT_NAME


def enter(pid: int) -> None:
    """Move this (single-threaded) process into the namespaces of a node's agent. Raises OSError.

    The user namespace comes first, where it is another one: in it, an ordinary user has the rights to enter the rest.
    """
    kinds = {
        "user": linux.CLONE_NEWUSER,
        "net": linux.CLONE_NEWNET,
        "uts": linux.CLONE_NEWUTS,
        "mnt": linux.CLONE_NEWNS,
    }
    directory = os.getcwd()
    opened = []
    for kind, flag in kinds.items():
        path = f"/proc/{pid}/ns/{kind}"
        if os.readlink(path) != os.readlink(f"/proc/self/ns/{kind}"):
            opened.append((os.open(path, os.O_RDONLY | os.O_CLOEXEC), flag))
    for fd, flag in opened:
        linux.setns(fd, flag)
        os.close(fd)
    # Entering a mount namespace leaves one at its root.
    os.chdir(directory)


def known(name: str, names: Iterable[str], kind: str) -> str:
    candidates = list(names)
    if name in candidates:
        return name
    folded = {candidate.casefold(): candidate for candidate in candidates}
    if (other := folded.get(name.casefold())) is not None:
        return other
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    hint = f"did you mean {folded[near[0]]}?" if near else f"known: {', '.join(candidates)}"
    raise LabError(f"no {kind} {name!r} in this world; {hint}")

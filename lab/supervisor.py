"""`python -m lab.supervisor`: the parent of everything of one lab.

    popnet up (or nobody any more)
      supervisor       this process; an ordinary user's is root of a user namespace of its own
        wan            carries packets; restarted when it dies, and every agent attaches again
        zygote         forks the nodes
          agent NRT    one a node, in its own network and mount namespace
            pop        the node's programs

Every one of them asks the kernel to be killed when its parent dies, so the end of the supervisor, however it comes,
is the end of the lab. It is told what to do by whoever started it: one JSON line on stdin, {"go": true, "detach": ...};
the end of stdin ends a lab that is not detached. It tells how it goes in JSON lines on stdout:
{"say": "..."}, then {"ready": {...}} or {"failed": "...", "code": 5, "log": [...]}.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lab import configs, isolation, jsonlines, pki, supervisor_control
from lab.bringup import BringUpError, bring_up
from lab.children import WanProcess, Zygote, start_zygote
from lab.gateway.child import GatewayProcess
from lab.gateway.ports import Wanted
from lab.jsonlines import Message, RefusedError, UnreachableError
from lab.rundir import RUN_VARIABLE, RunDir
from lab.supervisor_links import LinkFollower
from lab.supervisor_nodes import Changes, NodeHandle, handles, summary
from topology.plan import Plan
from wan.agent import linux

_ABORTED = 4
_MACHINE_CANNOT = 5
_WAN_RETRY_S = (0.0, 0.1, 0.5, 2.0)
_WAN_STEADY_S = 10.0
_READY_PATIENCE_S = 30.0


class Supervisor:
    def __init__(
        self, run: RunDir, zygote: tuple[subprocess.Popen[bytes], socket.socket], telling: int
    ) -> None:
        self.run = run
        self.changes = Changes()
        self.preloaded = False
        self.wan_ready = False
        self.phase = "starting"
        self.nodes: dict[str, NodeHandle] = {}
        self._started_zygote = zygote
        self._telling: int | None = telling
        self._leaving = asyncio.Event()
        self._detached = False
        self._started = time.time()
        self._tasks: set[asyncio.Task[None]] = set()
        self._wan_failures = 0
        self._wan_started_at = 0.0
        self._events = os.open(
            run.events, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644
        )

    # The life of a lab

    async def live(self) -> None:
        """From the first word on stdin until the lab is to end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._leaving.set)
        self.zygote = Zygote(self._started_zygote, self._zygote_said, self._zygote_ended)
        self.wan = WanProcess(self.run, self._wan_is_ready, self._wan_ended)
        orders = await self._orders()
        if orders is None:
            return
        self._detached = bool(orders.get("detach"))
        self.plan = Plan.from_json(self.run.world.read_bytes())
        self.follower = LinkFollower(self.plan, self.run, self._node_action, self.record)
        wanted = Wanted(**orders.get("gateway", {}))
        self.gateway = GatewayProcess(self.run, wanted, self.changes.notify, self.record)
        self.nodes = handles(self.plan.nodes, self.run, self.changes, lambda name: None)
        server = await supervisor_control.serve(
            self.run.lab_socket, {"status": self._status, "node": self._node, "down": self._down}
        )
        bringing = asyncio.create_task(self._bring_up(), name="bring up")
        await self._leaving.wait()
        self.phase = "stopping"
        self.gateway.stop()
        bringing.cancel()
        server.close()

    async def _bring_up(self) -> None:
        try:
            await bring_up(self)
        except BringUpError as failure:
            self.record("lab_failed", why=failure.why)
            self.tell(failed=failure.why, code=failure.code, log=failure.log)
            self._leaving.set()
            return
        except Exception as error:
            self.tell(failed=f"{type(error).__name__}: {error}", code=_ABORTED, log=[])
            self._leaving.set()
            raise
        self.phase = "ready"
        self.record("lab_ready", seconds=round(time.time() - self._started, 3))
        self.tell(ready=summary(self.nodes))
        await jsonlines.ask_async(self.run.wan_socket, {"op": "start_timeline"})

    async def _orders(self) -> Message | None:
        """The one line on stdin; None when whoever started us has changed its mind."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        line = await reader.readline()
        if not line:
            return None
        self._keep(self._until_left_alone(reader), "stdin")
        orders: Message = json.loads(line)
        return orders

    async def _until_left_alone(self, reader: asyncio.StreamReader) -> None:
        await reader.read()
        if not self._detached:
            self._leaving.set()

    def write_files(self) -> None:
        """All that processes of this lab read at their start."""
        pki.write(
            self.run.pki, self.plan.world.dns, self.plan.pops, self.plan.world.access.certificates
        )
        isolation.write_files(self.run.etc, self.run.pki / "ca.pem", self.plan.nodes.values())
        configs.write(self.plan, self.run)

    # What children report

    def _zygote_said(self, message: Message) -> None:
        if message["event"] == "preloaded":
            self.preloaded = True
            self.changes.notify()
            return
        handle = self.nodes[message["node"]]
        match message["event"]:
            case "forked":
                handle.forked(message["pid"])
            case "listening":
                handle.listening()
            case "ended" if handle.pid == message["pid"]:
                handle.has_ended(message["how"])
                self.record("node_ended", of=handle.name, how=message["how"])

    def _zygote_ended(self, how: str) -> None:
        if self._leaving.is_set():
            return
        self.record("zygote_ended", how=how)
        for handle in self.nodes.values():
            handle.has_ended("zygote died")
        if self.phase != "ready":
            self.tell(failed=f"the zygote ended ({how})", code=_ABORTED, log=[])
            self._leaving.set()
            return
        # The nodes are gone with their parent; `popnet start NODE` can bring each back.
        self.preloaded = False
        self.zygote = Zygote(start_zygote(self.run), self._zygote_said, self._zygote_ended)

    def start_wan(self) -> None:
        self._wan_started_at = time.monotonic()
        self.wan.start()

    def _wan_is_ready(self) -> None:
        self._keep(self._follow_wan(), "follow wan")

    async def _follow_wan(self) -> None:
        try:
            await self.follower.wan_is_ready()
        except (RefusedError, UnreachableError) as error:
            self.record("wan_not_followed", error=str(error))
            return
        self.wan_ready = True
        self.record("wan_ready", starts=self.wan.starts)
        self.changes.notify()

    def _wan_ended(self, how: str) -> None:
        if self._leaving.is_set():
            return
        self.wan_ready = False
        self.record("wan_ended", how=how)
        if time.monotonic() - self._wan_started_at > _WAN_STEADY_S:
            self._wan_failures = 0
        self._wan_failures += 1
        if self._wan_failures > len(_WAN_RETRY_S):
            self.tell(
                failed=f"the wan process keeps ending ({how})", code=_ABORTED, log=self.log_of_wan()
            )
            self._leaving.set()
            return
        delay = _WAN_RETRY_S[self._wan_failures - 1]
        asyncio.get_running_loop().call_later(delay, self.start_wan)

    def log_of_wan(self) -> list[str]:
        with contextlib.suppress(OSError):
            return self.run.wan_log.read_text(errors="replace").splitlines()[-12:]
        return []

    async def _node_action(self, node: str, action: str) -> None:
        """The timeline's wish for a node."""
        try:
            await self._do(node, action, None)
        except (RefusedError, UnreachableError) as error:
            self.record("action_failed", of=node, action=action, error=str(error))

    # What people ask

    async def _status(self, _message: Message) -> Message:
        return {
            "name": self.run.name,
            "world": self.plan.name,
            "phase": self.phase,
            "pid": os.getpid(),
            "since": self._started,
            "wan": {
                "pid": self.wan.child.pid if self.wan.child is not None else None,
                "ready": self.wan_ready,
                "starts": self.wan.starts,
            },
            "gateway": {"pid": self.gateway.pid, "ready": self.gateway.ready},
            "summary": summary(self.nodes),
            "nodes": [handle.as_json() for handle in self.nodes.values()],
        }

    async def _node(self, message: Message) -> Message:
        return await self._do(message["node"], message["do"], message.get("program"))

    async def _down(self, _message: Message) -> Message:
        self._leaving.set()
        return {"pid": os.getpid()}

    async def _do(self, node: str, action: str, program: str | None) -> Message:
        handle = self.nodes.get(node)
        if handle is None:
            raise RefusedError(f"no node {node!r}")
        if action != "start" or handle.state is not None:
            return await handle.ask(action, program)
        if not self.preloaded:
            async with asyncio.timeout(_READY_PATIENCE_S):
                await self.changes.until(lambda: self.preloaded)
        self.zygote.fork(node)
        return {"changed": True}

    # Telling

    def tell(self, **message: Any) -> None:
        """To whoever started us, as long as it listens."""
        if self._telling is None:
            return
        try:
            os.write(self._telling, json.dumps(message).encode() + b"\n")
        except OSError:
            self._telling = None

    def record(self, event: str, **fields: Any) -> None:
        entry = {"t": time.time(), "node": "lab", "event": event, **fields}
        os.write(self._events, json.dumps(entry).encode() + b"\n")

    def _keep(self, coroutine: Any, name: str) -> None:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _fail(why: str, code: int) -> int:
    print(json.dumps({"failed": why, "code": code, "log": []}), flush=True)  # noqa: T201
    return code


def _clean(run: RunDir) -> None:
    """End everything below us, then forget the lab. The pids that end here are our own descendants."""
    run.sweep()
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main() -> int:
    run = RunDir(Path(os.environ[RUN_VARIABLE]))
    lock = os.open(run.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return _fail(f"a lab named {run.name} is running already", 2)
    # A broken pipe is how we notice that nobody listens; it must not end us.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if not isolation.has_privileges():
        try:
            isolation.become_user_root()
        except OSError as error:
            shutil.rmtree(run.path, ignore_errors=True)
            return _fail(
                f"this user may not make user namespaces ({error.strerror}); `popnet doctor` tells why",
                _MACHINE_CANNOT,
            )
    linux.adopt_orphans()
    linux.set_name(f"popnet {run.name}")
    telling = os.dup(sys.stdout.fileno())
    zygote = start_zygote(run)

    async def live() -> None:
        await Supervisor(run, zygote, telling).live()

    try:
        asyncio.run(live())
    finally:
        _clean(run)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m lab.zygote FD`: the parent of all nodes. Imports what they need once, then forks one per request.

Imports cost a second of CPU and 50 MB; a fork shares both. The zygote itself stays simple: one thread, no event
loop, no socket but the one to the supervisor (SEQPACKET, one JSON object a message):

    supervisor to zygote    {"node": "NRT"}
    zygote to supervisor    {"event": "preloaded"}
                            {"event": "forked", "node", "pid"}, {"event": "ended", "node", "pid", "how"}
    a node to supervisor    {"event": "listening", "node"}: its agent.sock answers

A node's life: fork, own namespaces, own files, wan0, agent; the agent then forks the node's programs.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from lab import isolation
from lab.rundir import RUN_VARIABLE, RunDir
from wan import tun
from wan.agent import config, linux
from wan.agent.driver import AgentDriver
from wan.attach import interface

# What nodes run, loaded with everything that it imports. A room that is not there yet fails when it is started.
PRELOAD = ("uvloop", "pops.__main__", "tunnel_client.__main__", "lab.origin")

_MESSAGE_BYTES = 65536
_MACHINE_CANNOT = 5


def preload() -> None:
    for name in PRELOAD:
        try:
            importlib.import_module(name)
        except ImportError:
            traceback.print_exc()
    # What lives now lives on: the collector of a child shall not touch, and thereby copy, every page of it.
    gc.collect()
    gc.freeze()


class Zygote:
    def __init__(self, control: socket.socket, run: RunDir) -> None:
        self._control = control
        self._run = run
        self._nodes: dict[int, str] = {}

    def serve(self) -> None:
        """Until the supervisor is gone."""
        reading, writing = socket.socketpair()
        reading.setblocking(False)
        writing.setblocking(False)
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            selector.register(reading, selectors.EVENT_READ)
            selector.register(self._control, selectors.EVENT_READ)
            self._say(event="preloaded")
            while True:
                for key, _ in selector.select():
                    if key.fileobj is reading:
                        reading.recv(4096)
                        self._reap()
                        continue
                    request = self._control.recv(_MESSAGE_BYTES)
                    if not request:
                        return
                    self._fork(json.loads(request)["node"], (selector, reading, writing))

    def _fork(self, node: str, inherited: tuple[Any, ...]) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._nodes[pid] = node
            self._say(event="forked", node=node, pid=pid)
            return
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for one in inherited:
                one.close()
            code = self._be(node, parent)
        except BaseException:  # noqa: BLE001 whatever it is, this child ends here
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _be(self, node: str, parent: int) -> int:
        log = os.open(
            self._run.node(node) / "agent.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644
        )
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        settings = config.load(self._run.node(node) / "agent.json")
        try:
            isolation.become_node(self._run.etc, node)
            linux.die_with_parent(parent)
            linux.set_name(f"{node} agent")
            isolation.environment(self._run.etc, node, os.environ)
            device, refused = tun.set_up(interface(settings))
        except OSError as error:
            print(f"{node}: {error}", file=sys.stderr)  # noqa: T201
            return _MACHINE_CANNOT
        for problem in refused:
            print(f"{node}: {problem}", file=sys.stderr, flush=True)  # noqa: T201
        return AgentDriver(settings, device, listening=lambda: self._listening(node)).run()

    def _listening(self, node: str) -> None:
        self._say(event="listening", node=node)
        self._control.close()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
            how = f"exit {code}" if code >= 0 else signal.Signals(-code).name
            if (node := self._nodes.pop(pid, None)) is not None:
                self._say(event="ended", node=node, pid=pid, how=how)

    def _say(self, **message: object) -> None:
        self._control.send(json.dumps(message).encode())


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    linux.set_name("popnet zygote")
    preload()
    Zygote(control, RunDir(Path(os.environ[RUN_VARIABLE]))).serve()


if __name__ == "__main__":
    main()

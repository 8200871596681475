"""What the supervisor knows of each node, from the agent's own words, and how it asks agents to do things."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import jsonlines
from lab.jsonlines import Message, UnreachableError
from lab.rundir import RunDir
from topology.spec import Node


class Changes:
    """Lets tasks wait until something holds, checked whenever anything in the lab changes."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future


@dataclass(slots=True)
class NodeHandle:
    """`state` is the agent's last word (see AgentState.as_json); None while no agent answers."""

    node: Node
    directory: Path
    changes: Changes
    on_ready: Callable[[str], None]
    pid: int | None = None
    state: Message | None = None
    ended: str | None = None
    _watch: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def agent_socket(self) -> Path:
        return self.directory / "agent.sock"

    @property
    def ready(self) -> bool:
        return self.state is not None and bool(self.state["ready"])

    @property
    def trouble(self) -> str | None:
        """Why this node will not become ready by itself; None while it may."""
        if self.ended is not None:
            return f"the agent of {self.name} ended ({self.ended})"
        for program in (self.state or {}).get("programs", ()):
            if program["state"] == "dead":
                return f"{self.name}: {program['name']} ended ({program['ended']})"
        return None

    def log_of_trouble(self) -> Path:
        for program in (self.state or {}).get("programs", ()):
            if program["state"] == "dead":
                return self.directory / f"{program['name']}.log"
        return self.directory / "agent.log"

    def as_json(self) -> Message:
        state = self.state or {"attached": False, "announced": False, "programs": []}
        return {
            "name": self.name,
            "kind": self.node.kind,
            "address": self.node.address,
            "region": self.node.region,
            "country": self.node.country,
            "pid": self.pid,
            "ended": self.ended,
            "ready": self.ready,
            "attached": state["attached"],
            "announced": state["announced"],
            "programs": state["programs"],
        }

    # What the zygote reports

    def forked(self, pid: int) -> None:
        self.pid, self.ended, self.state = pid, None, None
        self.changes.notify()

    def listening(self) -> None:
        self._watch = asyncio.create_task(self.follow(), name=f"watch {self.name}")

    def has_ended(self, how: str) -> None:
        self.pid, self.ended, self.state = None, how, None
        self.changes.notify()

    async def follow(self) -> None:
        """Keep `state` up to date for as long as the agent lives."""
        try:
            reader, writer = await jsonlines.connect(self.agent_socket)
        except UnreachableError:
            return
        writer.write(b'{"op": "watch"}\n')
        try:
            while line := await reader.readline():
                was_ready = self.ready
                self.state = json.loads(line)
                self.changes.notify()
                if self.ready and not was_ready:
                    self.on_ready(self.name)
        except OSError:
            pass
        finally:
            writer.close()
            self.state = None
            self.changes.notify()

    async def ask(self, operation: str, program: str | None = None) -> Message:
        return await jsonlines.ask_async(
            self.agent_socket, {"op": operation, "program": program}, within_s=15.0
        )


def handles(
    nodes: dict[str, Node], run: RunDir, changes: Changes, on_ready: Callable[[str], None]
) -> dict[str, NodeHandle]:
    return {
        name: NodeHandle(node, run.node(name), changes, on_ready) for name, node in nodes.items()
    }


def tail(path: Path, lines: int = 12) -> list[str]:
    """The end of a log, for an error message."""
    try:
        return path.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def summary(nodes: dict[str, NodeHandle]) -> dict[str, Any]:
    by_kind: dict[str, list[bool]] = {}
    for handle in nodes.values():
        by_kind.setdefault(handle.node.kind, []).append(handle.ready)
    return {kind: {"ready": sum(ready), "all": len(ready)} for kind, ready in by_kind.items()}

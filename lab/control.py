"""`python -m lab.control`: the control of a lab whose nodes are containers; what the supervisor is for a local lab.

It starts and ends no process: a container engine does. It watches the agents, keeps PoPs told of the links and the
wan process told of what people changed, carries out the timeline, and answers lab.sock. Everybody comes and goes
as they like, so it looks for those that are missing, and whatever returns is told what it has missed.

    wan.sock, nodes/*/agent.sock   in the volume that all containers share
    health.sock                    GET /health: 200 when everything runs, for the engine's health check
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from lab import adminhttp, configs, jsonlines, supervisor_control
from lab.compose import ALL_OR_NOTHING
from lab.gateway.child import GatewayProcess
from lab.gateway.ports import SOCKS_PORT, WEB_PORT, Wanted
from lab.jsonlines import Message, RefusedError, UnreachableError
from lab.routed import routed, settled
from lab.rundir import RUN_VARIABLE, RunDir
from lab.supervisor_links import LinkFollower
from lab.supervisor_nodes import Changes, NodeHandle, handles, summary
from runtime.admin import TEXT, AdminRequest, AdminServer, Answer
from topology.plan import Plan

_ABORTED = 4
_LOOK_STARTING_S = 0.05
_LOOK_S = 0.5
# A health check costs the engine far more than it costs us: it is answered at once when there is news, else late.
_HEALTH_PATIENCE_S = 60.0

# The engine publishes these ports, on the machine's loopback address alone.
_GATEWAY = Wanted(web=str(WEB_PORT), socks=str(SOCKS_PORT), listen="0.0.0.0")


class Control:
    def __init__(self, run: RunDir, city: str | None = None) -> None:
        self.run = run
        self.failed = False
        self._city = city
        self.plan = Plan.from_json(run.world.read_bytes())
        self.changes = Changes()
        self.phase = "starting"
        self.wan_ready = False
        self.wan_starts = 0
        self._started = time.time()
        self._leaving = asyncio.Event()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._events = os.open(run.events, flags, 0o644)
        self.nodes = handles(self.plan.nodes, run, self.changes, self._node_is_ready)
        self.follower = LinkFollower(self.plan, run, self._node_action, self.record)
        # What an engine thinks of a container that has just started.
        self._told_health = False
        self.gateway: GatewayProcess | None = None

    async def live(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._leaving.set)
        self.run.lab_socket.unlink(missing_ok=True)
        server = await supervisor_control.serve(
            self.run.lab_socket, {"status": self._status, "node": self._node, "down": self._down}
        )
        health = AdminServer(str(self.run.path / "health.sock"), {("GET", "/health"): self._health})
        await health.start()
        # Left by a control that ended before this one.
        (self.run.path / "gateway.notify").unlink(missing_ok=True)
        gateway = msgspec.structs.replace(_GATEWAY, city=self._city)
        self.gateway = GatewayProcess(self.run, gateway, self.changes.notify, self.record)
        self.gateway.start()
        tasks = [
            asyncio.create_task(self._keep_wan(), name="wan"),
            asyncio.create_task(self._until_ready(), name="until ready"),
            *(asyncio.create_task(self._keep(one), name=one.name) for one in self.nodes.values()),
        ]
        leaving = asyncio.create_task(self._leaving.wait(), name="leaving")
        # A task that ends is a task that failed.
        await asyncio.wait([*tasks[:1], *tasks[2:], leaving], return_when=asyncio.FIRST_COMPLETED)
        self.phase = "stopping"
        self.gateway.stop()
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error
            task.cancel()
        server.close()
        health.close()
        self.run.lab_socket.unlink(missing_ok=True)

    # Who comes and goes

    async def _keep(self, handle: NodeHandle) -> None:
        while True:
            await handle.follow()
            if self.phase == "ready" and handle.ended is None:
                handle.has_ended("its container is not running")
                self.record("node_ended", of=handle.name, how="gone")
            await asyncio.sleep(self._look())

    async def _keep_wan(self) -> None:
        while True:
            try:
                if not self.wan_starts:
                    await self.follower.learn()
                await self.follower.wan_is_ready()
            except (RefusedError, UnreachableError):
                await asyncio.sleep(self._look())
                continue
            self.wan_ready = True
            self.wan_starts += 1
            self.record("wan_ready", starts=self.wan_starts)
            self.changes.notify()
            await self.follower.wan_is_gone()
            self.wan_ready = False
            self.record("wan_ended", how="gone")
            self.changes.notify()

    def _look(self) -> float:
        return _LOOK_S if self.phase == "ready" else _LOOK_STARTING_S

    async def _until_ready(self) -> None:
        await self.changes.until(lambda: self._all_run() or self._trouble() is not None)
        if (why := self._trouble()) is not None:
            self.record("lab_failed", why=why)
            print(why, flush=True)  # noqa: T201
            if os.environ.get(ALL_OR_NOTHING):
                self.failed = True
                self._leaving.set()
                return
            await self.changes.until(self._all_run)
        while not await self._all_connected():  # noqa: ASYNC110 connectors have no way of calling us
            await asyncio.sleep(_LOOK_STARTING_S)
        self.phase = "ready"
        self.record("lab_ready", seconds=round(time.time() - self._started, 3))
        self.changes.notify()
        with contextlib.suppress(RefusedError, UnreachableError):
            await jsonlines.ask_async(self.run.wan_socket, {"op": "start_timeline"})
        print(self._welcome(), flush=True)  # noqa: T201 the log of the container is for people

    def _trouble(self) -> str | None:
        return next((one.trouble for one in self.nodes.values() if one.trouble is not None), None)

    def _all_run(self) -> bool:
        return self.wan_ready and all(one.ready for one in self.nodes.values())

    async def _all_connected(self) -> bool:
        tunnels, connectors = set(), []
        for site in self.plan.world.sites:
            programs = {
                one.name: one for one in configs.agent_config(self.plan, self.run, site).programs
            }
            for name, (tunnel, wanted) in configs.connector_names(self.plan, site).items():
                if programs[name].entry is None:
                    continue
                tunnels.add(tunnel)
                try:
                    path = self.run.node(site) / f"{name}.sock"
                    answer = await adminhttp.request_async(path, "GET", "/ready")
                    if json.loads(answer.body).get("readyConnections", 0) < wanted:
                        return False
                except (UnreachableError, ValueError):
                    return False
                connectors.append((site, name))
        if not await routed(self.run, self.plan.pops, tunnels):
            return False
        return all([await settled(self.run, site, name) for site, name in connectors])

    def _welcome(self) -> str:
        port = os.environ.get("POPNET_WEB_PORT") or "8080"
        return f"{self.run.name} is ready: http://localhost:{port}/   docker compose exec lab popnet status"

    def _node_is_ready(self, name: str) -> None:
        self.nodes[name].ended = None

    # What people ask

    async def _node_action(self, node: str, action: str) -> None:
        """The timeline's wish for a node."""
        try:
            await self._do(node, action, None)
        except (RefusedError, UnreachableError) as error:
            self.record("action_failed", of=node, action=action, error=str(error))

    async def _do(self, node: str, action: str, program: str | None) -> Message:
        handle = self.nodes.get(node)
        if handle is None:
            raise RefusedError(f"no node {node!r}")
        if handle.state is None:
            raise RefusedError(
                f"the container of {node} is not running: `docker compose start {node}` brings it back"
            )
        return await handle.ask(action, program)

    async def _node(self, message: Message) -> Message:
        return await self._do(message["node"], message["do"], message.get("program"))

    async def _down(self, _message: Message) -> Message:
        raise RefusedError(
            "the containers of this lab are ended from outside: docker compose down -v"
        )

    async def _status(self, _message: Message) -> Message:
        return {
            "name": self.run.name,
            "driver": "containers",
            "world": self.plan.name,
            "phase": self.phase,
            "pid": os.getpid(),
            "since": self._started,
            "wan": {"pid": None, "ready": self.wan_ready, "starts": self.wan_starts},
            "summary": summary(self.nodes),
            "nodes": [handle.as_json() for handle in self.nodes.values()],
        }

    async def _health(self, _request: AdminRequest) -> Answer:
        """Answers when the state of health is another than last told, or after a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HEALTH_PATIENCE_S):
                await self.changes.until(lambda: self._healthy() is not self._told_health)
        self._told_health = self._healthy()
        if self._told_health:
            return 200, TEXT, b"all nodes run\n"
        missing = [one.name for one in self.nodes.values() if not one.ready]
        missing += [] if self.wan_ready else ["wan"]
        return 503, TEXT, f"{self.phase}; not running: {' '.join(missing) or '-'}\n".encode()

    def _healthy(self) -> bool:
        return self.phase == "ready" and self._all_run()

    def record(self, event: str, **fields: Any) -> None:
        entry = {"t": time.time(), "node": "lab", "event": event, **fields}
        os.write(self._events, json.dumps(entry).encode() + b"\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.control", description=__doc__)
    parser.add_argument("--city", help="visitor that a proxy user is who names none")
    city: str | None = parser.parse_args().city
    run = RunDir(Path(os.environ[RUN_VARIABLE]))
    if not run.world.exists():
        why = "no world is prepared here; the container `world` does that"
        print(f"control: {why}", file=sys.stderr)  # noqa: T201
        return 3
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    async def live() -> int:
        control = Control(run, city)
        await control.live()
        return _ABORTED if control.failed else 0

    return asyncio.run(live())


if __name__ == "__main__":
    sys.exit(main())

"""The nodes of a virtual world: their programs, started and killed as agents do it with processes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from lab import configs, origin
from lab.driver import LabError
from lab.drivers.virtual_events import Events, ProgramEvents, ProgramNotifier
from lab.resolving import LabResolver
from lab.rundir import RunDir
from pops.drivers.algorithm import Guard
from pops.process import PopProcess
from topology.plan import Plan
from tunnel_client.config import load as load_settings
from tunnel_client.drivers.log import Log
from tunnel_client.process import Connector
from wan.virtual.network import Network
from wan.virtual.programs import Program

# The time of day at which a virtual world begins, whenever it is run: 2027-01-15, seconds since 1970.
_EPOCH_S = 1_800_000_000.0


class VirtualWorldError(LabError):
    """This world cannot be had in virtual time; the text says why."""


class Node:
    """A PoP or a site: its programs of this life."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lives = 0
        self.programs: list[Program] = []
        self.waiting: set[str] = set()
        self.pop: PopProcess | None = None
        self.connectors: dict[str, Connector] = {}
        self.ledger: Counter[str] = Counter()  # of its service, whatever befalls that

    @property
    def alive(self) -> bool:
        return bool(self.programs)

    @property
    def ready(self) -> bool:
        return self.alive and not self.waiting


class Nodes:
    """All PoPs and sites. `announce` hears of a PoP that serves, or does no longer; `broke` of a program that failed;
    `guard` surrounds what a plug-in decides."""

    def __init__(
        self,
        plan: Plan,
        directory: RunDir,
        network: Network,
        events: Events,
        *,
        announce: Callable[[str, bool], None],
        broke: Callable[[dict[str, Any]], None],
        guard: Guard,
    ) -> None:
        self.all = {name: Node(name) for name, node in plan.nodes.items() if node.kind != "visitor"}
        self._plan = plan
        self._dir = directory
        self._network = network
        self._loop = network.loop
        self._events = events
        self._announce = announce
        self._broke = broke
        self._guard = guard

    def act(self, name: str, action: str) -> None:
        """What the timeline wants of a node."""
        if name not in self.all:
            raise VirtualWorldError(f"{name} is a visitor: there is nothing to {action}")
        match action:
            case "kill":
                self.kill(name)
            case "start":
                self.start(name)
            case "pause" | "resume":
                self._events.emit(name, f"{action}d")
                for program in self.all[name].programs:
                    getattr(program, action)()
            case _:
                raise VirtualWorldError(f"no action {action!r} for {name}")

    def start(self, name: str) -> None:
        node = self.all[name]
        if node.alive:
            return
        node.lives += 1
        self._events.emit(name, "started", life=node.lives)
        if self._plan.nodes[name].kind == "pop":
            self._start_pop(node)
        else:
            self._start_site(node)

    def _start_pop(self, node: Node) -> None:
        program = self._network.program(node.name, "pop")
        config = configs.pop_config(self._plan, self._dir, node.name)
        node.programs, node.waiting = [program], {"pop"}

        def ready() -> None:
            node.waiting.discard("pop")
            self._announce(node.name, True)

        async def run() -> None:
            node.pop = PopProcess(
                config,
                clock=self._loop.time,
                wall=lambda: _EPOCH_S + self._loop.time(),
                notifier=ProgramNotifier(ready, lambda: self._announce(node.name, False)),
                events=ProgramEvents(self._events, node.name),
                guard=self._guard,
            )
            await node.pop.run(asyncio.Event())

        self._watch_task(program.start(run()))

    def _start_site(self, node: Node) -> None:
        site = self._plan.world.sites[node.name]
        if site.service.command is not None or site.service.url is not None:
            raise VirtualWorldError(f"sites.{node.name}.service: only `hello` runs in virtual time")
        service = self._network.program(node.name, "service")
        node.programs, node.waiting = [service], {"service"}

        # Not in the task below: what serves a connection is no child of it.
        service.context.run(origin.NAME.set, node.name)
        service.context.run(origin.LEDGER.set, node.ledger)

        async def serve() -> None:
            server = await origin.start("127.0.0.1", 8000)
            node.waiting.discard("service")
            await server.serve_forever()

        self._watch_task(service.start(serve()))
        for name, (tunnel, wanted) in configs.connector_names(self._plan, node.name).items():
            self._start_connector(node, name, tunnel, wanted)

    def _start_connector(self, node: Node, name: str, tunnel: str, wanted: int) -> None:
        program = self._network.program(node.name, name)
        node.programs.append(program)
        node.waiting.add(name)
        arguments = [
            "tunnel",
            "--ha-connections",
            str(wanted),
            "--cacert",
            str(self._dir.pki / "ca.pem"),
        ]
        arguments += ["--admin", str(self._dir.node(node.name) / f"{name}.sock"), "run"]
        settings = load_settings(
            arguments, configs.connector_environment(self._plan, node.name, tunnel)
        )

        def ready() -> None:
            node.waiting.discard(name)
            self._events.emit(node.name, "connector_ready", connector=name)

        async def run() -> None:
            connector = node.connectors[name] = Connector(
                settings,
                resolver=LabResolver(),
                clock=self._loop.time,
                rng=random.Random(f"{self._plan.seed}/{node.name}/{name}/{node.lives}"),
                log=Log(None),
                events=ProgramEvents(self._events, node.name),
                notifier=ProgramNotifier(ready, lambda: None),
            )
            await connector.run()

        self._watch_task(program.start(run()))

    def _watch_task(self, task: asyncio.Task[None]) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None:
                self._broke({"message": f"{task.get_name()} ended", "exception": task.exception()})

        task.add_done_callback(ended)

    def kill(self, name: str) -> None:
        """As SIGKILL to all its programs."""
        node = self.all[name]
        if not node.alive:
            return
        self._events.emit(name, "killed")
        for program in node.programs:
            program.kill()
        node.programs, node.waiting, node.pop, node.connectors = [], set(), None, {}
        self._announce(name, False)

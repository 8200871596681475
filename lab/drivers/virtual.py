"""A whole world in one process and in virtual time: the same PoPs and connectors on the loop of `wan.virtual`.

    with VirtualWorld(plan) as world:
        world.start()
        visit = world.get("tokyo", "https://app.example.com/")
        world.run_for(60.0)

What the local driver does by processes, sockets and namespaces is done here by programs, contexts and calls:
announcing a PoP when it is ready, killing it. Times are seconds since the start.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import json
import math
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, assert_never

from lab import configs, origin, policy
from lab.driver import LabError
from lab.drivers import virtual_pki
from lab.drivers.watchdog import Overdue, Watchdog
from lab.load_client import Visit, Visitor
from lab.resolving import LabResolver
from lab.rundir import RunDir
from pops.process import PopProcess
from runtime.events import EventLog, Value
from runtime.notify import Notifier
from topology.happenings import Happening
from topology.plan import Plan
from tunnel_client.config import load as load_settings
from tunnel_client.drivers.log import Log
from tunnel_client.process import Connector
from wan.changes import grant
from wan.fabric import Fabric
from wan.timeline import NodeAction, Partitioning, Step, Timeline, Vanishing, Wishes
from wan.virtual.flights import Flights
from wan.virtual.loop import VirtualLoop
from wan.virtual.network import Network
from wan.virtual.programs import Program

T = TypeVar("T")
Tls = Literal["real", "flights"]
# The time of day at which a virtual world begins, whenever it is run: 2027-01-15, seconds since 1970.
_EPOCH_S = 1_800_000_000.0
_READY_WITHIN_S = 120.0
_LOOK_EVERY_S = 0.05


class VirtualWorldError(LabError):
    """This world cannot be had in virtual time; the text says why."""


class RunAbortedError(LabError):
    """A plug-in did not come back; the run is of no use."""

    code = 4


class Events:
    """What happened, in order. A line is JSON without spaces; the log's digest names the run."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.lines: list[dict[str, Any]] = []
        self.watchers: list[Callable[[dict[str, Any]], None]] = []
        self.closed = False
        self._loop = loop

    def emit(self, node: str, event: str, **fields: Any) -> None:
        if self.closed:
            return
        fact = {"t": round(self._loop.now, 6), "node": node, "event": event, **fields}
        self.lines.append(fact)
        for watcher in tuple(self.watchers):
            watcher(fact)

    def to_bytes(self) -> bytes:
        return b"".join(
            json.dumps(fact, separators=(",", ":")).encode() + b"\n" for fact in self.lines
        )

    def sha256(self) -> str:
        return hashlib.sha256(self.to_bytes()).hexdigest()


class _ProgramEvents(EventLog):
    """What one program tells."""

    def __init__(self, events: Events, node: str) -> None:
        super().__init__(None, node)
        self._events = events

    @property
    def on(self) -> bool:
        return True

    def emit(self, event: str, **fields: Value) -> None:
        self._events.emit(self.node, event, **fields)


class _ProgramNotifier(Notifier):
    def __init__(self, on_ready: Callable[[], None], on_stopping: Callable[[], None]) -> None:
        super().__init__(None)
        self._on_ready, self._on_stopping = on_ready, on_stopping

    def ready(self) -> None:
        self._on_ready()

    def stopping(self) -> None:
        self._on_stopping()


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


class VirtualWorld:
    """See the module. `keep_alive` visitors reuse their connections. Close it, or use it as a context."""

    def __init__(self, plan: Plan, *, tls: Tls = "flights", keep_alive: bool = False) -> None:
        self.plan = plan
        self.loop = VirtualLoop()
        self.fabric = Fabric(plan)
        flights = Flights() if tls == "flights" else None
        self.network = Network(self.loop, self.fabric, flights)
        self.events = Events(self.loop)
        self.timeline = Timeline(plan.timeline)
        self.nodes = {
            name: Node(name) for name, node in plan.nodes.items() if node.kind != "visitor"
        }
        self._directory = tempfile.TemporaryDirectory(prefix="popnet-virtual-")
        self.dir = RunDir(Path(self._directory.name))
        self._keep_alive = keep_alive
        self._visitors: dict[str, tuple[Program, Visitor]] = {}
        self._settling = self._stepping = math.inf
        self._landings: dict[tuple[str, str], str | None] = {}
        self.closed = False
        self.watchdog = Watchdog()
        self.loop.set_exception_handler(self._failed)
        self.failures: list[dict[str, Any]] = []
        configs.write_algorithm(plan, self.dir)
        virtual_pki.write(self.dir.pki, plan.world.dns, plan.pops, plan.world.access.certificates)
        policy.write(self.dir.policy, policy.of_plan(plan))

    # Life

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Bring every node up, and run until all are ready."""
        # Nearly all that is made now stays until the end: nothing for the collector of cycles to look through.
        collects = gc.isenabled()
        gc.disable()
        try:
            self.run(self._start())
        finally:
            gc.freeze()
            if collects:
                gc.enable()

    async def _start(self) -> None:
        self.events.emit("lab", "lab_started", world=self.plan.name, seed=self.plan.seed)
        for name in self.nodes:
            self.start_node(name)
        try:
            await self.until(self._all_ready, _READY_WITHIN_S)
            async with asyncio.timeout(_READY_WITHIN_S):
                # What a connector announced has to reach every PoP, and nothing in the log says that it has.
                while not self._all_know():  # noqa: ASYNC110 virtual time costs nothing
                    await asyncio.sleep(_LOOK_EVERY_S)
        except TimeoutError:
            waiting = [name for name, node in self.nodes.items() if not node.ready]
            raise VirtualWorldError(
                f"not ready within {_READY_WITHIN_S:g} s: {', '.join(waiting) or 'routes are missing'}"
            ) from None
        self.events.emit("lab", "lab_ready")

    def _all_ready(self) -> bool:
        return all(node.ready for node in self.nodes.values())

    def _all_know(self) -> bool:
        """Every connector has all its connections, and every PoP knows a way to each of their tunnels."""
        served = set()
        for name, node in self.nodes.items():
            for connector, (tunnel, _) in (
                configs.connector_names(self.plan, name).items()
                if self.plan.nodes[name].kind == "site"
                else ()
            ):
                supervisor = node.connectors[connector].supervisor
                if supervisor.ready < supervisor.expected:
                    return False
                served.add(configs.tunnel_identity(self.plan, tunnel).id)
        return all(
            node.pop is None or all(node.pop.routes(tunnel) for tunnel in served)
            for node in self.nodes.values()
        )

    def start_timeline(self, happenings: tuple[Happening, ...] | None = None) -> None:
        """From now on the plan's timeline happens, or these instead."""
        if happenings is not None:
            self.timeline = Timeline(happenings)
        self.timeline.start(self.loop.now)
        self._watch()

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run the world until `main`, which is on no node, is done."""
        asyncio.set_event_loop(self.loop)
        try:
            result = self.loop.run_until_complete(main)
        except RuntimeError as error:
            if self.watchdog.bitten is None:
                raise
            self.failures.clear()
            raise RunAbortedError(self.watchdog.said) from error
        finally:
            asyncio.set_event_loop(None)
        self._raise_failures()
        return result

    @contextlib.contextmanager
    def _deciding(self, algorithm: str) -> Iterator[None]:
        """Surrounds what a plug-in decides: when it does not come back, the run ends."""
        try:
            with self.watchdog.deciding(algorithm):
                yield
        except Overdue:
            self.loop.stop()
            raise

    def run_for(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    async def until(self, true: Callable[[], bool], within_s: float) -> None:
        """Wait for a state: looked at after every event of the log. TimeoutError when it does not come."""
        changed = asyncio.Event()

        def look(_: object) -> None:
            changed.set()

        self.events.watchers.append(look)
        try:
            async with asyncio.timeout(within_s):
                while not true():
                    changed.clear()
                    await changed.wait()
        finally:
            self.events.watchers.remove(look)

    def close(self) -> None:
        """End everything. What programs would do at their end is no part of the run."""
        if self.closed:
            return
        self.closed = self.events.closed = True
        self.watchdog.close()
        self.loop.discard()
        self.nodes.clear()
        self._visitors.clear()
        self._directory.cleanup()
        gc.unfreeze()  # see start

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.failures.append(context)

    def _raise_failures(self) -> None:
        """A program that breaks must not look like a network that does."""
        if self.failures:
            context, self.failures = self.failures[0], []
            error = context.get("exception")
            raise VirtualWorldError(str(context.get("message"))) from error

    # Nodes

    def start_node(self, name: str) -> None:
        node = self.nodes[name]
        if node.alive:
            return
        node.lives += 1
        self.events.emit(name, "started", life=node.lives)
        if self.plan.nodes[name].kind == "pop":
            self._start_pop(node)
        else:
            self._start_site(node)

    def _start_pop(self, node: Node) -> None:
        program = self.network.program(node.name, "pop")
        config = configs.pop_config(self.plan, self.dir, node.name)
        node.programs, node.waiting = [program], {"pop"}

        def ready() -> None:
            node.waiting.discard("pop")
            self.announce(node.name, True)

        async def run() -> None:
            node.pop = PopProcess(
                config,
                clock=self.loop.time,
                wall=lambda: _EPOCH_S + self.loop.time(),
                notifier=_ProgramNotifier(ready, lambda: self.announce(node.name, False)),
                events=_ProgramEvents(self.events, node.name),
                guard=self._deciding,
            )
            await node.pop.run(asyncio.Event())

        self._watch_task(program.start(run()))

    def _start_site(self, node: Node) -> None:
        site = self.plan.world.sites[node.name]
        if site.service.command is not None or site.service.url is not None:
            raise VirtualWorldError(f"sites.{node.name}.service: only `hello` runs in virtual time")
        service = self.network.program(node.name, "service")
        node.programs, node.waiting = [service], {"service"}

        # Not in the task below: what serves a connection is no child of it.
        service.context.run(origin.NAME.set, node.name)
        service.context.run(origin.LEDGER.set, node.ledger)

        async def serve() -> None:
            server = await origin.start("127.0.0.1", 8000)
            node.waiting.discard("service")
            await server.serve_forever()

        self._watch_task(service.start(serve()))
        for name, (tunnel, wanted) in configs.connector_names(self.plan, node.name).items():
            self._start_connector(node, name, tunnel, wanted)

    def _start_connector(self, node: Node, name: str, tunnel: str, wanted: int) -> None:
        program = self.network.program(node.name, name)
        node.programs.append(program)
        node.waiting.add(name)
        arguments = [
            "tunnel",
            "--ha-connections",
            str(wanted),
            "--cacert",
            str(self.dir.pki / "ca.pem"),
        ]
        arguments += ["--admin", str(self.dir.node(node.name) / f"{name}.sock"), "run"]
        settings = load_settings(
            arguments, configs.connector_environment(self.plan, node.name, tunnel)
        )

        def ready() -> None:
            node.waiting.discard(name)
            self.events.emit(node.name, "connector_ready", connector=name)

        async def run() -> None:
            connector = node.connectors[name] = Connector(
                settings,
                resolver=LabResolver(),
                clock=self.loop.time,
                rng=random.Random(f"{self.plan.seed}/{node.name}/{name}/{node.lives}"),
                log=Log(None),
                events=_ProgramEvents(self.events, node.name),
                notifier=_ProgramNotifier(ready, lambda: None),
            )
            await connector.run()

        self._watch_task(program.start(run()))

    def _watch_task(self, task: asyncio.Task[None]) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None:
                self.failures.append(
                    {"message": f"{task.get_name()} ended", "exception": task.exception()}
                )

        task.add_done_callback(ended)

    def kill_node(self, name: str) -> None:
        """As SIGKILL to all its programs."""
        node = self.nodes[name]
        if not node.alive:
            return
        self.events.emit(name, "killed")
        for program in node.programs:
            program.kill()
        node.programs, node.waiting, node.pop, node.connectors = [], set(), None, {}
        self.announce(name, False)

    def announce(self, name: str, up: bool) -> None:
        if self.fabric.doors[name].announced != up:
            self.fabric.announce(name, up, self.loop.now)
            self.events.emit(name, "announced" if up else "withdrawing")
            self._moved()

    # The WAN

    def _watch(self) -> None:
        """Ask to be called when the timeline or the routes have something to do."""
        for due, armed, call in (
            (self.fabric.catchment.next_at, "_settling", self._settle),
            (self.timeline.next_at, "_stepping", self._step),
        ):
            if due < getattr(self, armed):
                setattr(self, armed, due)
                self.loop.at(due, call, due)

    def _settle(self, when: float) -> None:
        if when == self._settling:
            self._settling = math.inf
        for name in self.fabric.settle(self.loop.now):
            self.events.emit(name, "withdrawn")
        self._moved()

    def _step(self, when: float) -> None:
        if when == self._stepping:
            self._stepping = math.inf
        for step in self.timeline.due(self.loop.now):
            self.apply(step)
        self._watch()

    def apply(self, step: Step) -> None:
        """What the timeline, or a test, wants to happen now."""
        now = self.loop.now
        match step:
            case Wishes(owner, wishes):
                changed = grant(self.fabric, owner, list(wishes), now)
                for wish in changed:
                    self.events.emit(
                        "wan",
                        "link_changed",
                        source=wish.source,
                        destination=wish.destination,
                        set=wish.fields,
                    )
            case Vanishing(name, on):
                if self.fabric.doors[name].vanished != on:
                    self.fabric.vanish(name, on, now)
                    self.events.emit(name, "vanished" if on else "returned")
            case Partitioning(groups):
                self.fabric.partition(groups, now)
                self.events.emit("wan", "partition_changed", groups=[list(g) for g in groups])
            case NodeAction(name, action):
                self._act(name, action)
            case _:
                assert_never(step)
        self._moved()

    def _act(self, name: str, action: str) -> None:
        if name not in self.nodes:
            raise VirtualWorldError(f"{name} is a visitor: there is nothing to {action}")
        match action:
            case "kill":
                self.kill_node(name)
            case "start":
                self.start_node(name)
            case "pause" | "resume":
                self.events.emit(name, f"{action}d")
                for program in self.nodes[name].programs:
                    getattr(program, action)()
            case _:
                raise VirtualWorldError(f"no action {action!r} for {name}")

    def _moved(self) -> None:
        """Compare catchments with what they were."""
        address = self.fabric.catchment.addresses[0]
        for visitor in self.plan.world.visitors:
            lands = self.fabric.catchment.lands(visitor, address)
            if self._landings.get((visitor, address)) != lands:
                self._landings[visitor, address] = lands
                self.events.emit("wan", "catchment_changed", visitor=visitor, lands=lands)
        self._watch()

    def rtt_s(self, a: str, b: str) -> float:
        return self.fabric.rtt(a, b)

    def lands(self, visitor: str) -> str | None:
        return self.fabric.catchment.lands(visitor, self.fabric.catchment.addresses[0])

    # Visitors

    def visitor(self, name: str) -> tuple[Program, Visitor]:
        """The program of a city that asks, and what it asks by."""
        found = self._visitors.get(name)
        if found is None:
            program = self.network.program(name, "visitor")
            asking = Visitor(
                LabResolver(),
                str(self.dir.pki / "ca.pem"),
                clock=self.loop.time,
                keep=self._keep_alive,
            )
            found = self._visitors[name] = (program, asking)
        return found

    def asking(self, visitor: str, url: str, **options: Any) -> asyncio.Task[Visit]:
        """A request that is on its way when this returns."""
        program, asking = self.visitor(visitor)
        return program.start(asking.get(url, **options), name=f"get {url}")

    def get(self, visitor: str, url: str, **options: Any) -> Visit:
        """Make a request and run the world until it is answered."""

        async def main() -> Visit:
            return await self.asking(visitor, url, **options)

        return self.run(main())

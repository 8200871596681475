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
import math
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, assert_never

from lab import configs, policy
from lab.driver import LabError
from lab.drivers import virtual_pki
from lab.drivers.virtual_events import Events
from lab.drivers.virtual_nodes import Nodes, VirtualWorldError
from lab.drivers.watchdog import Overdue, Watchdog
from lab.load_client import Visit, Visitor
from lab.resolving import LabResolver
from lab.rundir import RunDir
from topology.happenings import Happening
from topology.plan import Plan
from wan.changes import grant
from wan.fabric import Fabric
from wan.timeline import NodeAction, Partitioning, Step, Timeline, Vanishing, Wishes
from wan.virtual.flights import Flights
from wan.virtual.loop import VirtualLoop
from wan.virtual.network import Network
from wan.virtual.programs import Program

T = TypeVar("T")
Tls = Literal["real", "flights"]
_READY_WITHIN_S = 120.0
_LOOK_EVERY_S = 0.05


class RunAbortedError(LabError):
    """A plug-in did not come back; the run is of no use."""

    code = 4


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
        self._nodes = Nodes(
            plan,
            self.dir,
            self.network,
            self.events,
            announce=self.announce,
            broke=lambda context: self.failures.append(context),
            guard=self._deciding,
        )
        self.nodes = self._nodes.all
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
            self._nodes.start(name)
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
                self._nodes.act(name, action)
            case _:
                assert_never(step)
        self._moved()

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

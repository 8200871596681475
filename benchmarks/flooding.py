"""Link state in a world of a hundred PoPs, and how soon routes follow what happens to links. All in virtual time.

Delays are by the clock of the world and the same on every machine; CPU seconds are those of this process, which is all
PoPs and the network between them, so a share of them is an upper bound of what one PoP would use.
"""

from __future__ import annotations

import sys
import time
from statistics import median

import networkx as nx

from benchmarks.report import Row
from benchmarks.virtual import DEFAULT, POPS, hundred_world
from lab.drivers.virtual import VirtualWorld
from lab.drivers.virtual_run import calm
from pops.process import PopProcess
from topology.load import load_world
from topology.plan import Plan
from wan.changes import Wish
from wan.timeline import NodeAction, Vanishing, Wishes

IDLE_S = 40.0
TOLD = 12  # PoPs whose news is followed


def _pops(world: VirtualWorld) -> dict[str, PopProcess]:
    return {name: node.pop for name, node in world.nodes.items() if node.pop is not None}


def _diameter_s(world: VirtualWorld) -> float:
    """The longest of the shortest ways between two PoPs over the links of the overlay, one way."""
    graph: nx.Graph[str] = nx.Graph()
    for name, pop in _pops(world).items():
        for neighbor in pop.overlay.up():
            graph.add_edge(name, neighbor, delay=world.rtt_s(name, neighbor) / 2)
    lengths = nx.all_pairs_dijkstra_path_length(graph, weight="delay")
    return max(max(ways.values()) for _, ways in lengths)


def _spread_s(world: VirtualWorld, origin: str) -> float:
    """From new words of a PoP until everybody has them."""
    pops = _pops(world)
    pop, begun = pops[origin], world.loop.now

    def speak() -> None:
        own = pop.lsdb.own
        assert own is not None
        links = [link for link in own.links if link.to != own.links[0].to]
        pop.lsdb.set_local(links, own.exits, own.load, world.loop.now)
        pop.link_state.flooding.look()

    async def main() -> None:
        world.nodes[origin].programs[0].call(speak)

    world.run(main())
    own = pop.lsdb.own
    assert own is not None
    while not all((lsa := one.lsdb.get(origin)) and lsa.seq >= own.seq for one in pops.values()):
        world.run_for(0.005)
    return world.loop.now - begun


def _hundred() -> list[Row]:
    begun = time.process_time()
    with VirtualWorld(Plan.of(hundred_world())) as world, calm():
        world.start()
        started = time.process_time() - begun
        world.run_for(5)
        begun = time.process_time()
        before = _totals(world)
        world.run_for(IDLE_S)
        used = time.process_time() - begun
        probes, posts, originated = (
            (after - was) / IDLE_S for after, was in zip(_totals(world), before, strict=True)
        )
        diameter = _diameter_s(world)
        spreads = []
        names = list(_pops(world))
        for origin in names[:: len(names) // TOLD]:
            spreads.append(_spread_s(world, origin))
            world.run_for(3)
        # Their next words put things right; what each costs is counted over all of it.
        sent = posts / originated if originated else 0.0
    share = used / IDLE_S / POPS * 100
    return [
        Row(f"start of {POPS} PoPs", started, "s CPU", 10.0),
        Row(
            "probing and flooding, a PoP of a hundred",
            share,
            "% core",
            3.0,
            f"{probes / POPS:.1f} probes/s, {posts / POPS:.2f} messages/s each",
        ),
        Row("an LSA, messages for a hundred PoPs", sent, "posts", None, "full mesh: 99 at least"),
        Row(
            "an LSA reaches all of a hundred PoPs, worst",
            max(spreads) / diameter,
            "diameters",
            2.0,
            f"{max(spreads) * 1e3:.0f} ms, median {median(spreads) * 1e3:.0f} ms; "
            f"diameter {diameter * 1e3:.0f} ms one way",
        ),
    ]


def _totals(world: VirtualWorld) -> tuple[int, int, int]:
    pops = _pops(world).values()
    return (
        sum(pop.link_state.probes.prober.sent for pop in pops),
        sum(pop.link_state.flooding.posts for pop in pops),
        sum(pop.link_state.flooding.originated for pop in pops),
    )


def _noticed(world: VirtualWorld, since: float, pop: str) -> list[float]:
    return [
        fact["t"] - since
        for fact in world.events.lines
        if fact["t"] >= since and fact["event"] == "overlay_down" and fact["neighbor"] == pop
    ]


def _default_world() -> list[Row]:
    silent: list[float] = []
    reset: list[float] = []
    slower: list[float] = []
    for offset in range(6):
        with VirtualWorld(Plan.of(load_world(DEFAULT))) as world, calm():
            world.start()
            world.run_for(20 + offset * 0.17)
            since = world.loop.now
            for here, there in (("IAD", "NRT"), ("NRT", "IAD")):
                world.apply(Wishes("bench", (Wish(here, there, {"one_way_s": 0.25}),)))
            world.run_for(10)
            moved = [
                fact["t"] - since
                for fact in world.events.lines
                if fact["t"] >= since and fact["event"] == "route_changed"
            ]
            slower += moved[:1]
            for here, there in (("IAD", "NRT"), ("NRT", "IAD")):
                world.apply(Wishes("bench", (Wish(here, there, None),)))
            world.run_for(10)
            since = world.loop.now
            world.apply(Vanishing("SJC", True))
            world.run_for(10)
            silent += _noticed(world, since, "SJC")
            since = world.loop.now
            world.apply(NodeAction("IAD", "kill"))
            world.run_for(5)
            reset += _noticed(world, since, "IAD")
    return [
        Row("a PoP vanishes: its neighbours notice, worst", max(silent), "s", 3.5, _middle(silent)),
        Row("a PoP is killed: its neighbours notice, worst", max(reset), "s", 0.2, _middle(reset)),
        Row(
            "a link becomes slow: the first route moves, worst",
            max(slower, default=99.0),
            "s",
            3.0,
            _middle(slower),
        ),
    ]


def _middle(values: list[float]) -> str:
    return f"median {median(values):.2f} of {len(values)}" if values else "nothing was seen"


def run() -> list[Row]:
    return [*_default_world(), *_hundred()]


if __name__ == "__main__":
    from benchmarks.report import show

    show(run(), as_json="json" in sys.argv)

"""Every algorithm against brute force on random graphs of up to 6 PoPs.

What "never worse than direct" means is written beside each: for most of them by their own cost, for those that learn
by what requests really take, for load-aware within what it calls near.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise, permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.algorithms.hubs import k_median
from routing.api import Exit, MeasuredLink, Outcome, Path, Routes, RoutingState
from routing.catalogue import CATALOGUE, algorithm
from routing.damping import Damping
from routing.errors import UnknownParameterError
from routing.graph import latency_graph
from routing.table import RouteTable

ME = "A"
TUNNEL = "app"
Pops = tuple[str, ...]


@dataclass(frozen=True)
class World:
    links: Mapping[tuple[str, str], MeasuredLink]
    exits: tuple[Exit, ...]
    loads: Mapping[str, float]

    @property
    def pops(self) -> list[str]:
        return sorted({ME, *(pop for link in self.links for pop in link)})

    def ways(self, most_relays: int = 4) -> list[tuple[Pops, Exit]]:
        """Every loop-free way to every exit, the slow way."""
        found = []
        for leave in self.exits:
            if leave.pop == ME:
                found.append(((ME,), leave))
                continue
            between = [pop for pop in self.pops if pop not in (ME, leave.pop)]
            for count in range(most_relays + 1):
                for relays in permutations(between, count):
                    pops = (ME, *relays, leave.pop)
                    if all(hop in self.links for hop in pairwise(pops)):
                        found.append((pops, leave))
        return found

    def along(self, pops: Pops) -> list[MeasuredLink]:
        return [self.links[hop] for hop in pairwise(pops)]

    def state(self, name: str, now: float = 0.0, **more: Any) -> RoutingState:
        graph = latency_graph(
            ME, self.links.values(), {pop: (load, 0.0) for pop, load in self.loads.items()}
        )
        params = algorithm(name).with_params(more.pop("params", {}))
        given = {"previous": {}, "outcomes": (), "memory": {}, "rng": random.Random(7), **more}
        return RoutingState(
            me=ME, now=now, seq=1, graph=graph, tunnels={TUNNEL: self.exits}, params=params, **given
        )


@st.composite
def worlds(draw: st.DrawFn, lossy: bool = True) -> World:
    """Links may be missing, one-way, lossy and worse than a detour. RTTs are odd enough not to tie."""
    pops = "ABCDEF"[: draw(st.integers(2, 6))]
    rng = random.Random(draw(st.integers(0, 2**32)))
    share = draw(st.sampled_from([0.4, 0.8, 1.0]))
    links = {
        (a, b): MeasuredLink(
            a,
            b,
            rng.choice([0.005, 0.05, 0.3]) * rng.uniform(0.5, 1.5),
            jitter_s=rng.choice([0.0, 0.002, 0.04]) if lossy else 0.0,
            loss=rng.choice([0.0, 0.0, 0.005, 0.1]) if lossy else 0.0,
            samples=9,
        )
        for a, b in permutations(pops, 2)
        if rng.random() < share
    }
    exits = tuple(
        Exit(rng.choice(pops), f"c{index}", rng.uniform(0.0, 0.03), load=float(rng.randint(0, 9)))
        for index in range(draw(st.integers(1, 3)))
    )
    loads = {pop: float(rng.randint(0, 20)) for pop in pops}
    return World(links, exits, loads)


def decided(name: str, world: World, **more: Any) -> list[Path]:
    return list(algorithm(name).decide(world.state(name, **more))[TUNNEL])


# What a way costs, in the words of each algorithm's page


def rtt_cost(world: World, pops: Pops, leave: Exit) -> float:
    return sum(x.rtt_s for x in world.along(pops)) + 0.001 * max(0, len(pops) - 2) + leave.rtt_s


def ttfb_cost(world: World, pops: Pops, leave: Exit) -> float:
    lost = sum(x.loss * max(0.2, x.rtt_s + 4 * x.jitter_s) for x in world.along(pops))
    return rtt_cost(world, pops, leave) + lost


def loss_cost(world: World, pops: Pops, leave: Exit) -> float:
    paces = [1448 / (x.rtt_s * math.sqrt(2 * x.loss / 3)) for x in world.along(pops) if x.loss]
    return rtt_cost(world, pops, leave) + (100_000 / min(paces) if paces else 0.0)


Cost = Callable[[World, Pops, Exit], float]
COSTS: Mapping[str, tuple[Cost, int]] = {
    "direct": (lambda world, pops, leave: rtt_cost(world, pops, leave), 0),
    "one-relay": (rtt_cost, 1),
    "lowest-rtt": (rtt_cost, 4),
    "ttfb": (ttfb_cost, 1),
    "loss-aware": (loss_cost, 1),
}


def brute(world: World, cost: Cost, relays: int) -> dict[tuple[Pops, str], float]:
    return {
        (pops, leave.connection): cost(world, pops, leave) for pops, leave in world.ways(relays)
    }


@pytest.mark.parametrize("name", sorted(COSTS))
@given(world=worlds())
def test_the_best_path_is_that_of_brute_force(name: str, world: World) -> None:
    cost, relays = COSTS[name]
    every = brute(world, cost, relays)
    paths = decided(name, world)
    assert [path.cost_s for path in paths[:1]] == pytest.approx(sorted(every.values())[:1])
    assert all(path.cost_s == pytest.approx(every[path.way]) for path in paths)


@pytest.mark.parametrize("name", ["direct", "one-relay", "ttfb", "loss-aware"])
@given(world=worlds())
def test_the_whole_ranking_is_that_of_brute_force(name: str, world: World) -> None:
    cost, relays = COSTS[name]
    ranking = [path.cost_s for path in decided(name, world)]
    assert ranking == pytest.approx(sorted(brute(world, cost, relays).values()))


@given(world=worlds(), most=st.integers(0, 3))
def test_lowest_rtt_keeps_to_its_number_of_relays(world: World, most: int) -> None:
    paths = decided("lowest-rtt", world, params={"max_relays": most})
    every = brute(world, rtt_cost, most)
    assert [path.cost_s for path in paths[:1]] == pytest.approx(sorted(every.values())[:1])
    assert all(len(path.pops) - 2 <= most for path in paths)


def test_a_chain_that_is_longer_than_allowed_is_cut_short() -> None:
    chain = {(a, b): MeasuredLink(a, b, 0.01) for a, b in pairwise("ABCDEF")}
    world = World({**chain, ("A", "E"): MeasuredLink("A", "E", 0.3)}, (Exit("F", "c", 0.0),), {})
    assert [path.pops for path in decided("lowest-rtt", world)] == [tuple("ABCDEF")]
    (short,) = decided("lowest-rtt", world, params={"max_relays": 3})
    assert short.pops == ("A", "E", "F")


def test_the_hop_limit_bounds_what_lowest_rtt_looks_for() -> None:
    links = [MeasuredLink(a, b, 0.01) for a, b in pairwise("ABCD")] + [MeasuredLink("A", "C", 0.1)]
    table = RouteTable(ME, algorithm("lowest-rtt"), {}, max_relays=1, rng=random.Random(7))
    table.set_links(links)
    table.set_exits({TUNNEL: (Exit("D", "c0", 0.0),)})
    table.recompute(0.0)
    assert table.snapshot(0.0).error is None
    assert [path.pops for path in table.routes(TUNNEL)] == [("A", "C", "D")]


@given(world=worlds(), k=st.integers(1, 4))
def test_k_disjoint_shares_as_little_as_brute_force_can(world: World, k: int) -> None:
    every = brute(world, rtt_cost, 1)
    paths = decided("k-disjoint", world, params={"k": k})
    assert {path.way for path in paths} == set(every)
    chosen: list[tuple[Pops, str]] = []
    left = [way for way in every if every[way] <= 3.0 * min(every.values())]

    def shared(one: tuple[Pops, str]) -> int:
        pops = {pop for way in chosen for pop in way[0][1:]}
        return len(pops & set(one[0][1:])) + (one[1] in {way[1] for way in chosen})

    while left and len(chosen) < k:
        fewest = min(shared(one) for one in left)
        best = min((one for one in left if shared(one) == fewest), key=lambda one: every[one])
        chosen.append(best)
        left.remove(best)
    assert [path.way for path in paths[: len(chosen)]] == chosen
    rest = [path.cost_s for path in paths[len(chosen) :]]
    assert rest == sorted(rest)


def broken(world: World, pops: Pops, leave: Exit) -> int:
    links = world.along(pops)
    kept = 1.0
    for link in links:
        kept *= 1.0 - link.loss
    return (
        (sum(x.rtt_s for x in links) + leave.rtt_s > 0.3)
        + (sum(x.jitter_s for x in links) > 0.03)
        + (1.0 - kept > 0.02)
    )


@given(world=worlds(), seed=st.integers(0, 99))
def test_sla_stays_while_the_path_keeps_its_level_and_else_takes_the_best(
    world: World, seed: int
) -> None:
    every = world.ways(1)
    if not every:
        assert decided("sla", world) == []
        return
    pops, leave = random.Random(seed).choice(every)
    old = Path(pops, leave.connection, {"overlay": 1.0})
    front = decided("sla", world, previous={TUNNEL: (old,)})[0]
    if broken(world, pops, leave) == 0:
        assert front.way == old.way
    else:
        best = min(every, key=lambda way: (broken(world, *way), rtt_cost(world, *way)))
        assert front.way == (best[0], best[1].connection)


@given(world=worlds(), count=st.integers(1, 3))
def test_hubs_relays_over_hubs_only(world: World, count: int) -> None:
    state = world.state("hubs")
    hubs = brute_hubs(world, count)
    assert k_median(state.graph, count) == hubs
    every = {
        way: cost
        for way, cost in brute(world, rtt_cost, 1).items()
        if len(way[0]) < 3 or way[0][1] in hubs
    }
    paths = decided("hubs", world, params={"count": count})
    assert [path.cost_s for path in paths] == pytest.approx(sorted(every.values()))
    named = decided("hubs", world, params={"hubs": hubs})
    assert named == paths


def brute_hubs(world: World, count: int) -> list[str]:
    """The greedy k-median by its definition."""

    def away(pop: str, hub: str) -> float:
        link = world.links.get((pop, hub))
        return 0.0 if pop == hub else link.rtt_s if link else 10.0

    hubs: list[str] = []
    while len(hubs) < min(count, len(world.pops)):
        sums = {
            hub: sum(min(10.0, *(away(pop, one) for one in [*hubs, hub])) for pop in world.pops)
            for hub in world.pops
            if hub not in hubs
        }
        hubs.append(min(sums, key=lambda hub: (sums[hub], hub)))
    return hubs


def test_one_hub_is_the_best_there_is() -> None:
    rng = random.Random(3)
    pops = "ABCDEF"
    links = [MeasuredLink(a, b, rng.uniform(0.01, 0.3)) for a, b in permutations(pops, 2)]
    rtt = {(link.source, link.destination): link.rtt_s for link in links}
    sums = {hub: sum(rtt[pop, hub] for pop in pops if pop != hub) for hub in pops}
    assert k_median(latency_graph(ME, links), 1) == [min(sums, key=lambda hub: sums[hub])]


@given(world=worlds(lossy=False), other=worlds(lossy=False))
def test_static_keeps_what_it_has_learnt(world: World, other: World) -> None:
    memory: dict[str, Any] = {}
    first = decided("static", world, memory=memory)
    assert first[:1] == [] or first[0].cost_s == pytest.approx(
        min(brute(world, rtt_cost, 1).values())
    )
    later = decided("static", replace(other, exits=world.exits), memory=memory, now=31.0)
    if first and all(hop in other.links for hop in pairwise(first[0].pops)):
        assert later[0].way == first[0].way
    else:
        assert all(len(path.pops) <= 2 or not first for path in later)


def test_static_takes_the_first_declared_path_that_is_there() -> None:
    links = [("A", "B", 0.01), ("A", "C", 0.2), ("C", "B", 0.2), ("A", "D", 0.1), ("D", "B", 0.1)]
    all_links = {(a, b): MeasuredLink(a, b, rtt) for a, b, rtt in links}
    world = World(all_links, (Exit("B", "far", 0.02), Exit("B", "near", 0.01)), {})
    params = {"paths": ["C>A>B", "A>C>B", "A>D>B"]}
    paths = decided("static", world, params=params)
    assert paths[0].way == (("A", "C", "B"), "near")
    assert paths[0].cost_s <= paths[1].cost_s
    del all_links["C", "B"]
    assert decided("static", world, params=params)[0].pops == ("A", "D", "B")
    del all_links["A", "D"]
    assert decided("static", world, params=params)[0].pops == ("A", "B")


@given(world=worlds(), seed=st.integers(0, 99))
def test_load_aware_takes_the_less_loaded_of_two_near_paths(world: World, seed: int) -> None:
    every = brute(world, rtt_cost, 1)
    paths = decided("load-aware", world, rng=random.Random(seed))
    if not every:
        assert paths == []
        return
    best = min(every.values())
    near = sorted(
        (way for way, cost in every.items() if cost <= best + max(0.1 * best, 0.002)),
        key=lambda way: every[way],
    )
    last = {leave.connection: leave.load for leave in world.exits}
    load = {way: last[way[1]] + sum(world.loads[pop] for pop in way[0][1:]) for way in near}
    first = near[0]
    allowed = {way if load[way] < 0.8 * load[first] else first for way in near[1:]} or {first}
    assert paths[0].way in allowed
    # The path in use is one of the two choices.
    kept = min(near, key=lambda way: load[way])
    old = Path(*kept, {"overlay": 1.0})
    assert decided("load-aware", world, previous={TUNNEL: (old,)})[0].way == kept


def raced(
    world: World, name: str, took: Callable[[Path], float], rounds: int, **params: Any
) -> list[Path]:
    """The best path of each round, when every request takes what `took` says."""
    memory: dict[str, Any] = {}
    rng = random.Random(7)
    outcomes: tuple[Outcome, ...] = ()
    fronts = []
    for round_ in range(rounds):
        paths = decided(
            name,
            world,
            now=float(round_),
            memory=memory,
            rng=rng,
            outcomes=outcomes,
            params=params,
        )
        if not paths:
            return []
        fronts.append(paths[0])
        pops, connection = paths[0].way
        outcomes = (Outcome(TUNNEL, pops, connection, took(paths[0]), True),)
    return fronts


@given(world=worlds(), seed=st.integers(0, 99))
def test_race_ends_with_the_fastest_entrant(world: World, seed: int) -> None:
    """Whatever probes said, after the heats the winner is what requests found, never worse than direct."""
    truth = {
        way: random.Random(f"{seed}{way}").uniform(0.05, 0.5) for way in brute(world, rtt_cost, 1)
    }
    fronts = raced(world, "race", lambda path: truth[path.way], 6)
    if not fronts:
        return
    measured = brute(world, rtt_cost, 1)
    entrants = sorted(measured, key=lambda way: measured[way])[:3]
    direct = [way for way in measured if len(way[0]) <= 2]
    if direct:
        straight = min(direct, key=lambda way: measured[way])
        if straight not in entrants:
            entrants[-1] = straight
        assert truth[fronts[-1].way] <= truth[straight]
    assert {path.way for path in fronts[: len(entrants)]} == set(entrants)
    assert truth[fronts[-1].way] == min(truth[way] for way in entrants)


def test_a_heat_without_requests_ends_and_a_failure_loses() -> None:
    links = {(a, b): MeasuredLink(a, b, 0.05) for a, b in permutations("ABC", 2)}
    world = World(links, (Exit("B", "c0", 0.0),), {})
    memory: dict[str, Any] = {}

    def front(now: float, *outcomes: Outcome) -> Pops:
        return decided("race", world, now=now, memory=memory, outcomes=outcomes)[0].pops

    assert front(0.0) == ("A", "B")
    assert front(1.0, Outcome(TUNNEL, ("A", "B"), "c0", 0.02, False)) == ("A", "C", "B")
    assert front(15.9) == ("A", "C", "B")
    assert front(16.0) == ("A", "B")  # the only one with an outcome, bad as it is
    assert front(60.0, Outcome(TUNNEL, ("A", "B"), "c0", 0.06, True)) == ("A", "C", "B")
    assert front(61.0, Outcome(TUNNEL, ("A", "C", "B"), "c0", 0.11, True)) == ("A", "C", "B")


@given(world=worlds(), seed=st.integers(0, 99))
def test_bandit_learns_what_a_look_at_all_outcomes_says(world: World, seed: int) -> None:
    rng = random.Random(seed)
    predicted = brute(world, rtt_cost, 1)
    if not predicted:
        return
    arms = sorted(predicted, key=lambda way: predicted[way])[:4]
    rounds = [
        [Outcome(TUNNEL, *rng.choice(arms), rng.uniform(0.05, 0.9), rng.random() < 0.9)]
        for _ in range(6)
    ]
    memory: dict[str, Any] = {}
    paths: list[Path] = decided("bandit", world, memory=memory)
    for now, outcomes in enumerate(rounds, 1):
        paths = decided("bandit", world, now=float(now), memory=memory, outcomes=tuple(outcomes))
    weighted = [
        (
            (one.pops, one.connection),
            0.5 ** ((6 - now) / 60),
            (one.ttfb_s if one.ok else max(one.ttfb_s, 1.0)) - predicted[one.pops, one.connection],
        )
        for now, outcomes in enumerate(rounds, 1)
        for one in outcomes
    ]
    total = sum(weight for _, weight, _ in weighted)
    mean = sum(weight * beyond for _, weight, beyond in weighted) / total
    expected = {}
    for arm in arms:
        count = sum(weight for way, weight, _ in weighted if way == arm)
        beyond = sum(weight * (beyond - mean) for way, weight, beyond in weighted if way == arm)
        scale = 0.03 * (predicted[arms[0]] + max(0.0, mean))
        bonus = scale * math.sqrt(math.log1p(total) / (1 + count))
        expected[arm] = predicted[arm] + beyond / (count + 2) - bonus
    assert [path.cost_s for path in paths[: len(arms)]] == pytest.approx(sorted(expected.values()))


@pytest.mark.parametrize("rule", ["ucb", "thompson"])
def test_bandit_finds_the_path_that_probes_misjudge(rule: str) -> None:
    links = {(a, b): MeasuredLink(a, b, 0.05) for a, b in permutations("ABCD", 2)}
    links["A", "B"] = MeasuredLink("A", "B", 0.11)
    world = World(links, (Exit("B", "c0", 0.0),), {})
    # Relay C is slow for requests; its probes are as good as those of D.
    fronts = raced(
        world, "bandit", lambda path: 0.4 if "C" in path.pops else path.cost_s + 0.2, 40, rule=rule
    )
    assert sum("C" in path.pops for path in fronts[-20:]) <= 2


@given(world=worlds(lossy=False))
def test_bandit_with_true_predictions_stays_with_the_best(world: World) -> None:
    """Without exploring and when requests take what was predicted plus the origin's time: never worse than direct."""
    predicted = brute(world, rtt_cost, 1)
    fronts = raced(world, "bandit", lambda path: predicted[path.way] + 0.1, 5, explore=0.0)
    assert all(predicted[path.way] == min(predicted.values()) for path in fronts)


def test_words_of_a_bandit_are_checked() -> None:
    world = World({}, (Exit("A", "c0", 0.0),), {})
    with pytest.raises(UnknownParameterError, match="ucb, thompson"):
        decided("bandit", world, params={"rule": "luck"})


# All of them


def cheapest_direct(paths: Iterable[Path]) -> Path | None:
    return min(
        (path for path in paths if len(path.pops) <= 2), key=lambda path: path.cost_s, default=None
    )


@pytest.mark.parametrize("name", sorted(CATALOGUE))
@given(world=worlds())
def test_no_loops_no_nonsense_and_never_worse_than_direct(name: str, world: World) -> None:
    """By its own cost no path is better than the first, so none of the direct ones either."""
    table = RouteTable(
        ME, algorithm(name), {}, max_relays=5 if name == "lowest-rtt" else 1, rng=random.Random(7)
    )
    table.set_links(world.links.values())
    table.set_loads({pop: (load, 0.0) for pop, load in world.loads.items()})
    table.set_exits({TUNNEL: world.exits})
    table.recompute(0.0)
    table.recompute(1.0)
    assert table.snapshot(1.0).error is None
    paths = table.routes(TUNNEL)
    reachable = world.ways(4 if name == "lowest-rtt" else 1)
    assert bool(paths) == bool(reachable) or name in ("direct", "hubs")
    if paths:
        assert paths[0].cost_s <= min(path.cost_s for path in paths) + 1e-12
        direct = cheapest_direct(paths)
        straight = [rtt_cost(world, *way) for way in reachable if len(way[0]) <= 2]
        assert (direct is None) == (not straight)
        if straight and name in ("one-relay", "lowest-rtt", "hubs", "k-disjoint", "static"):
            assert rtt_cost_of(world, paths[0]) <= min(straight) + 1e-12
        if straight and name == "load-aware":
            assert rtt_cost_of(world, paths[0]) <= max(1.1 * min(straight), min(straight) + 0.002)


def rtt_cost_of(world: World, path: Path) -> float:
    (leave,) = (one for one in world.exits if one.connection == path.connection)
    return rtt_cost(world, path.pops, leave)


@pytest.mark.parametrize("name", sorted(CATALOGUE))
@given(world=worlds(), seed=st.integers(0, 99))
def test_the_same_state_and_luck_give_the_same_answer(name: str, world: World, seed: int) -> None:
    def play(links: Iterable[MeasuredLink]) -> list[Routes]:
        shuffled = replace(world, links={(x.source, x.destination): x for x in links})
        memory: dict[str, Any] = {}
        rng = random.Random(seed)
        return [
            algorithm(name).decide(shuffled.state(name, now=now, memory=memory, rng=rng, params={}))
            for now in (0.0, 20.0, 70.0)
        ]

    assert play(world.links.values()) == play(reversed(world.links.values()))


def test_a_parameter_of_the_wrong_kind_is_refused() -> None:
    for name, value in (
        ("static", {"paths": "A>B"}),
        ("bandit", {"rule": 3}),
        ("hubs", {"count": "x"}),
    ):
        with pytest.raises(UnknownParameterError, match="is needed"):
            algorithm(name).with_params(value)
    assert algorithm("hubs").with_params({"hubs": ["LHR"]})["hubs"] == ["LHR"]


@pytest.mark.parametrize("name", ["race", "bandit"])
def test_what_learns_leaves_a_path_that_probes_misjudge_under_usual_damping(name: str) -> None:
    links = [MeasuredLink(a, b, 0.05) for a, b in permutations("ACD", 2)]
    links += [MeasuredLink("C", "B", 0.02), MeasuredLink("D", "B", 0.03)]
    links += [MeasuredLink("A", "B", 0.12)]
    damping = Damping(min_gain_pct=5.0, hold_s=10.0)
    table = RouteTable(ME, algorithm(name), {}, max_relays=1, rng=random.Random(7), damping=damping)
    table.set_links(links)
    table.set_exits({TUNNEL: (Exit("B", "c0", 0.01),)})
    relays = []
    for now in range(120):
        table.recompute(float(now))
        best = table.routes(TUNNEL)[0]
        relays.append(best.pops[1])
        took = 0.5 if "C" in best.pops else best.terms["overlay"] + 0.05
        table.outcome(Outcome(TUNNEL, *best.way, took, True))
    assert relays[0] == "C"
    assert set(relays[-10:]) == {"D"}

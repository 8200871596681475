"""The world that `popnet up` brings up: what people are promised of it."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import networkx as nx
import pytest

from topology.load import load_world
from topology.plan import Plan

FILE = Path(__file__).parents[2] / "topology.yaml"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan.of(load_world(FILE))


def overlay(plan: Plan) -> nx.DiGraph[str]:
    graph: nx.DiGraph[str] = nx.DiGraph()
    for a, b in permutations(plan.pops, 2):
        graph.add_edge(a, b, rtt=plan.rtt(a, b))
    return graph


def test_eight_pops_in_two_regions_and_eight_visitors_on_six_continents(plan: Plan) -> None:
    kinds = [node.kind for node in plan.nodes.values()]
    assert kinds == ["pop"] * 8 + ["visitor"] * 8 + ["site"]
    assert [plan.nodes[pop].region for pop in plan.pops] == [1, 2] * 4
    countries = {node.country for node in plan.nodes.values() if node.kind == "visitor"}
    assert countries == {"JP", "BR", "US", "GB", "SG", "AU", "ZA"}


def test_it_says_that_its_numbers_are_not_measured() -> None:
    assert "Plausible for the public Internet, not measured" in FILE.read_text("utf-8")


def test_every_pop_pair_has_a_declared_rtt(plan: Plan) -> None:
    table = plan.world.internet.rtt_ms
    assert all(
        (b in table.get(a, {})) != (a in table.get(b, {})) for a, b in permutations(plan.pops, 2)
    )


def test_some_direct_paths_are_worse_than_a_detour(plan: Plan) -> None:
    gains = {
        (a, b): plan.rtt(a, b)
        - min(plan.rtt(a, r) + plan.rtt(r, b) for r in plan.pops if r not in (a, b))
        for a, b in permutations(plan.pops, 2)
        if a < b
    }
    violated = [pair for pair, gain in gains.items() if gain > 0.005]
    assert len(violated) >= 2
    assert ("FRA", "NRT") in violated
    assert ("LHR", "NRT") in violated
    # In most of the world the direct path is right: a relay must be able to lose.
    assert len(violated) < len(gains) / 2


def test_the_best_path_from_tokyo_goes_by_a_relay(plan: Plan) -> None:
    assert plan.landing("tokyo") == "NRT"
    graph = overlay(plan)
    costs = {
        pop: nx.shortest_path_length(graph, "NRT", pop, "rtt") + plan.rtt("dublin", pop)
        for pop in plan.pops
        if pop != "NRT"
    }
    egress = min(("LHR", "FRA"), key=costs.__getitem__)
    path = nx.shortest_path(graph, "NRT", egress, "rtt")
    assert path == ["NRT", "IAD", "LHR"]
    assert costs["LHR"] + 0.02 < plan.rtt("NRT", "LHR") + plan.rtt("LHR", "dublin")


def test_dublin_is_close_to_a_pop_of_each_region(plan: Plan) -> None:
    closest = {
        region: min(
            (pop for pop in plan.pops if plan.nodes[pop].region == region),
            key=lambda pop: plan.rtt("dublin", pop),
        )
        for region in (1, 2)
    }
    assert closest == {1: "LHR", 2: "FRA"}
    assert plan.nodes["dublin"].private


def test_johannesburg_is_pinned_badly_and_the_others_land_at_their_nearest(plan: Plan) -> None:
    assert plan.landing("johannesburg") == "LHR"
    assert plan.nearest("johannesburg") == "GRU"
    assert plan.rtt("johannesburg", "LHR") - plan.rtt("johannesburg", "GRU") > 0.02
    others = [name for name in plan.world.visitors if name != "johannesburg"]
    assert [plan.landing(name) for name in others] == [
        "NRT",
        "GRU",
        "IAD",
        "SJC",
        "LHR",
        "SIN",
        "SYD",
    ]
    assert all(plan.rtt(name, plan.landing(name)) < 0.01 for name in others)


def test_links_are_as_the_file_says(plan: Plan) -> None:
    link = plan.link("NRT", "LHR")
    assert link.one_way_s == 0.135
    assert (link.rate_bps, link.queue_s, link.mtu, link.loss, link.jitter_s) == (
        1e9,
        0.05,
        1500,
        0,
        0,
    )
    assert plan.congestion == "cubic"
    assert plan.convergence_s == 3.0


def test_app_example_com_leads_to_dublin(plan: Plan) -> None:
    world = plan.world
    tunnel = world.dns["app.example.com"].tunnel
    assert tunnel is not None
    assert world.tunnels[tunnel].sites == ("dublin",)
    assert world.sites["dublin"].service.hello
    assert [c.connections for c in world.sites["dublin"].connectors] == [4]


def test_the_example_of_the_world_file_with_every_section_loads(tmp_path: Path) -> None:
    text = FILE.read_text("utf-8")
    for empty, full in (
        ("timeline: []", "timeline: [{at: 30s, for: 10s, kill: LHR}]"),
        ("assert: []", 'assert: ["availability >= 99.9%", p99 <= 300 ms]'),
    ):
        assert empty in text
        text = text.replace(empty, full)
    (tmp_path / "w.yaml").write_text(text)
    world = load_world(tmp_path / "w.yaml")
    assert world.load_balancers["www"].health.every == 5.0
    assert world.security[0].require == "service_token"
    assert world.load is not None
    assert world.load.rate_per_s == 10
    assert world.assert_ == ("availability >= 99.9%", "p99 <= 300 ms")
    assert Plan.from_json(Plan.of(world).to_json()) == Plan.of(world)

"""What a world resolves to: links, addresses, regions, neighbours, and its way through JSON."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import ip_address, ip_network
from itertools import permutations
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topology import addresses
from topology.load import parse_world
from topology.model import World
from topology.plan import Burst, LinkSpec, Plan


def plan(text: str = "", pops: str = "[LHR, FRA, NRT, SIN]") -> Plan:
    return Plan.of(parse_world(f"popnet: 1\npops: {pops}\n{text}"))


# Links


def test_distance_in_fibre_with_inflation_and_no_last_mile_between_pops() -> None:
    world = plan("internet: {missing: {inflation: 2, last_mile_rtt_ms: 50}}")
    # 9,583 km as the crow flies, at two thirds of c, twice.
    assert world.rtt("LHR", "NRT") == pytest.approx(2 * 9_583e3 / 199_861_639 * 2, rel=0.002)
    assert world.link("LHR", "NRT") == world.link("NRT", "LHR")


@pytest.mark.parametrize(
    ("pair", "ends"), [(("LHR", "a"), 1), (("a", "b"), 2), (("LHR", "LHR2"), 0)]
)
def test_last_mile_counts_once_for_each_end_that_is_no_pop(
    pair: tuple[str, str], ends: int
) -> None:
    spot = "at: [51.4706, -0.46194]"
    world = plan(
        f"visitors: {{a: {{{spot}}}, b: {{{spot}}}}}\ninternet: {{missing: {{last_mile_rtt_ms: 6}}}}",
        pops=f"{{LHR: , LHR2: {{{spot}}}}}",
    )
    assert world.rtt(*pair) == pytest.approx(0.006 * ends)


def test_what_wins_for_a_pair() -> None:
    world = plan("""internet:
  rtt_ms: {LHR: {FRA: 14, NRT: 200}}
  one_way_ms: {NRT: {LHR: 150}}
  links: [{from: LHR, to: FRA, one_way_ms: 9}, {from: FRA, to: LHR, loss_pct: 1}]
""")
    assert world.link("LHR", "FRA").one_way_s == 0.009
    assert world.link("FRA", "LHR") == LinkSpec(one_way_s=0.007, loss=0.01)
    assert world.link("LHR", "NRT").one_way_s == 0.1
    assert world.link("NRT", "LHR").one_way_s == 0.15
    assert world.rtt("NRT", "LHR") == 0.25


def test_a_link_entry_with_an_rtt_or_both_shapes_both_directions() -> None:
    world = plan("""internet:
  links:
    - {from: LHR, to: FRA, rtt_ms: 30, loss_pct: 2}
    - {from: LHR, to: NRT, both: true, one_way_ms: 80, mtu: 1400}
    - {from: FRA, to: LHR, loss_pct: 5}
""")
    assert world.link("LHR", "FRA") == LinkSpec(one_way_s=0.015, loss=0.02)
    assert world.link("FRA", "LHR") == LinkSpec(one_way_s=0.015, loss=0.05)
    assert (
        world.link("LHR", "NRT") == world.link("NRT", "LHR") == LinkSpec(one_way_s=0.08, mtu=1400)
    )


def test_every_impairment_in_si_units() -> None:
    world = plan("""internet:
  rtt_ms: {LHR: {FRA: 14}}
  defaults: {rate_mbit: 1000, queue_ms: 20, jitter_ms: 1}
  links:
    - from: LHR
      to: FRA
      jitter_ms: 0.1
      jitter_distribution: pareto
      jitter_correlation: 0.25
      burst: {enter_pct: 1, leave_pct: 20}
      rate_mbit: unlimited
      reorder_pct: 0.5
      duplicate_pct: 0.1
      down: true
""")
    assert world.link("LHR", "FRA") == LinkSpec(
        one_way_s=0.007,
        jitter_s=0.0001,
        jitter_distribution="pareto",
        jitter_correlation=0.25,
        burst=Burst(enter=0.01, leave=0.2, loss_good=0.0, loss_bad=1.0),
        rate_bps=None,
        queue_s=0.02,
        reorder=0.005,
        duplicate=0.001,
        down=True,
    )
    assert world.link("FRA", "LHR") == LinkSpec(
        one_way_s=0.007, jitter_s=0.001, rate_bps=1e9, queue_s=0.02
    )
    assert world.rtt("FRA", "LHR") == float("inf")


def test_access_lines() -> None:
    world = plan("visitors: [tokyo]\ninternet: {access: {tokyo: {rate_mbit: 20, one_way_ms: 8}}}")
    assert world.access("tokyo") == LinkSpec(rate_bps=2e7, one_way_s=0.008)
    assert world.access("LHR") is None
    with pytest.raises(KeyError):
        world.access("osaka")


def test_unknown_nodes_and_a_node_and_itself() -> None:
    world = plan()
    with pytest.raises(KeyError):
        world.link("LHR", "XXX")
    assert world.link("LHR", "LHR").one_way_s == 0.0


def test_links_are_worked_out_once() -> None:
    world = plan()
    assert world.link("LHR", "FRA") is world.link("LHR", "FRA")


def test_patched_takes_what_control_messages_say_and_nothing_else() -> None:
    burst = {"enter": 0.1, "leave": 0.5}
    spec = LinkSpec(one_way_s=0.1, burst=Burst(enter=0.2, leave=0.3))
    assert spec.patched({"loss": 0.5}) == LinkSpec(one_way_s=0.1, loss=0.5, burst=spec.burst)
    assert spec.patched({"burst": burst}).burst == Burst(enter=0.1, leave=0.5)
    assert spec.patched({"burst": None, "rate_bps": 1000}) == LinkSpec(one_way_s=0.1, rate_bps=1000)
    for wrong in ({"loss": 2}, {"one_way_s": -1}, {"lost": 0.1}, {"rate_bps": 0}, {"down": "yes"}):
        with pytest.raises(msgspec.ValidationError):
            spec.patched(wrong)


# Addresses and regions


def test_addresses_lie_in_the_shared_space_and_differ() -> None:
    world = plan("visitors: [tokyo, london]\nsites: {dublin: {}}")
    found = [node.address for node in world.nodes.values()]
    assert len(set(found)) == 7
    assert all(ip_address(address) in ip_network(addresses.UNICAST) for address in found)
    assert world.nodes["LHR"].address == "100.64.0.1"
    assert world.nodes["london"].address == "100.65.0.2"
    assert world.nodes["dublin"].address == "100.66.0.1"


def test_the_largest_world_fits_its_block() -> None:
    last = list(addresses.unicast("site", [f"n{i}" for i in range(addresses.CAPACITY)]).values())[
        -1
    ]
    assert last == "100.66.255.254"


def test_anycast_groups() -> None:
    world = plan()
    groups = {group.address: group.members for group in world.anycast}
    assert len(groups) == 22
    assert groups["198.18.0.1"] == groups["198.18.0.53"] == ("LHR", "FRA", "NRT", "SIN")
    for region in (1, 2):
        members = tuple(pop for pop in world.pops if world.nodes[pop].region == region)
        assert all(groups[f"198.18.{region}.{host}"] == members for host in range(1, 11))


def test_regions_alternate_by_place() -> None:
    # By file order alone both Europeans would share a region; the walk goes LHR, FRA, NRT, SIN.
    world = plan(pops="[LHR, NRT, FRA, SIN]")
    found = {pop: world.nodes[pop].region for pop in world.pops}
    assert found == {"LHR": 1, "FRA": 2, "NRT": 1, "SIN": 2}


@given(st.lists(st.sampled_from([None, 1, 2]), min_size=2, max_size=8))
def test_both_regions_always_have_a_pop_unless_the_file_denies_it(
    declared: list[int | None],
) -> None:
    entries = ", ".join(
        f"P{i}: {{at: [{i * 7 % 11}, {i * 5 % 13}]" + (f", region: {region}}}" if region else "}")
        for i, region in enumerate(declared)
    )
    if None not in declared and len(set(declared)) == 1:
        return
    world = plan(pops=f"{{{entries}}}")
    regions = [world.nodes[pop].region for pop in world.pops]
    assert set(regions) == {1, 2}
    assert all(said in (None, got) for said, got in zip(declared, regions, strict=True))


# Landing


def test_landing_is_lowest_rtt_ties_by_file_order_and_pins_win() -> None:
    text = """visitors: [tokyo, london]
anycast: {pin: {london: SIN}}
internet: {rtt_ms: {tokyo: {LHR: 5, FRA: 5, NRT: 5, SIN: 6}}}
"""
    world = plan(text)
    assert world.landing("tokyo") == "LHR"
    assert world.landing("london") == "SIN"
    assert world.nearest("london") == "LHR"
    down = text + "timeline: []\n".replace("timeline: []", "seed: 2")
    cut = plan(
        down.replace("internet: {", "internet: {links: [{from: tokyo, to: LHR, down: true}], ")
    )
    assert cut.landing("tokyo") == "FRA"
    assert cut.seed == 2


# Neighbours


def many(count: int, routing: str = "") -> Plan:
    entries = ", ".join(
        f"P{i}: {{at: [{i * 37 % 121 - 60}, {i * 53 % 331 - 165}]}}" for i in range(count)
    )
    return plan(routing, pops=f"{{{entries}}}")


def test_up_to_32_pops_are_a_full_mesh() -> None:
    world = many(32)
    assert all(len(world.neighbors(pop)) == 31 for pop in world.pops)
    assert all(pop not in world.neighbors(pop) for pop in world.pops)


def test_above_that_each_has_its_nearest_and_the_hubs() -> None:
    world = many(60)
    degree = {pop: len(world.neighbors(pop)) for pop in world.pops}
    hubs = [pop for pop, number in degree.items() if number == 59]
    assert len(hubs) == 4
    assert min(degree.values()) >= 6
    assert sum(degree.values()) < 60 * 59 / 2
    for pop in world.pops:
        near = sorted((rtt, to) for to in world.pops if to != pop for rtt in [world.rtt(pop, to)])[
            :6
        ]
        furthest = near[-1][0]
        assert all(to in world.neighbors(pop) for rtt, to in near if rtt < furthest)


@pytest.mark.parametrize("count", [2, 5, 40])
def test_neighbourhood_is_mutual(count: int) -> None:
    world = many(count, "routing: {neighbors: {policy: nearest, nearest: 2, hubs: 1}}")
    for a, b in permutations(world.pops, 2):
        assert (a in world.neighbors(b)) == (b in world.neighbors(a))


def test_declared_neighbours_replace_the_mesh() -> None:
    world = plan(pops="{LHR: {neighbors: [FRA]}, FRA: , NRT: , SIN: }")
    assert world.neighbors("LHR") == ("FRA",)
    assert world.neighbors("FRA") == ("LHR", "NRT", "SIN")
    assert world.neighbors("NRT") == ("FRA", "SIN")


# JSON


def test_json_gives_the_same_plan() -> None:
    world = plan("visitors: [tokyo]\nsites: {dublin: {}}\ntimeline: [{at: 1s, kill: LHR}]")
    world.link("LHR", "FRA")
    again = Plan.from_json(world.to_json())
    assert again == world
    assert again.to_json() == world.to_json()
    assert again.link("tokyo", "NRT") == world.link("tokyo", "NRT")


names = st.from_regex(r"[a-z][a-z0-9]{0,6}(-[a-z0-9]{1,3})?", fullmatch=True)
floats = st.floats(0, 1e4, allow_nan=False).map(lambda x: round(x, 6))
percent = st.floats(0, 100).map(lambda x: round(x, 6))
impairments = st.fixed_dictionaries(
    {},
    optional={
        "jitter_ms": floats,
        "jitter_distribution": st.sampled_from(["normal", "uniform", "pareto"]),
        "loss_pct": percent,
        "burst": st.fixed_dictionaries({"enter_pct": percent, "leave_pct": percent}),
        "rate_mbit": st.one_of(
            st.just("unlimited"), st.floats(0.001, 1e5).map(lambda x: round(x, 6))
        ),
        "mtu": st.integers(576, 9000),
        "down": st.booleans(),
    },
)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    chosen = draw(st.lists(names, min_size=3, max_size=9, unique=True))
    pops, rest = chosen[:2], chosen[2:]
    place = st.tuples(st.floats(-90, 90), st.floats(-180, 180))
    some = st.sampled_from(chosen)
    links = draw(
        st.lists(
            st.tuples(some, some, impairments, st.booleans()).map(
                lambda t: {"from": t[0], "to": t[1], **t[2], "both": t[3]}
            ),
            max_size=4,
        )
    )
    action: st.SearchStrategy[dict[str, Any]] = st.one_of(
        st.lists(some, min_size=1, max_size=2).map(lambda n: {"kill": n}),
        st.tuples(some, some).map(lambda n: {"cut": {"from": n[0], "to": n[1]}}),
        st.tuples(some, some, floats, floats).map(
            lambda n: {"for": 5.0, "ramp": {"from": n[0], "to": n[1], "rtt_ms": [n[2], n[3]]}}
        ),
        st.tuples(some, some, impairments).map(
            lambda n: {"set": {"from": n[0], "to": n[1], **n[2]}}
        ),
        st.just({"partition": [pops[:1]]}),
    )
    timeline = draw(
        st.lists(st.tuples(floats, action).map(lambda t: {"at": t[0], **t[1]}), max_size=4)
    )
    return msgspec.convert(
        {
            "popnet": 1,
            "seed": draw(st.integers(0, 2**63 - 1)),
            "pops": {name: {"at": draw(place)} for name in pops},
            "visitors": {name: {"at": draw(place)} for name in rest[:3]},
            "sites": {name: {"at": draw(place)} for name in rest[3:]},
            "internet": {"links": links, "defaults": draw(impairments)},
            "timeline": timeline,
        },
        World,
    )


@given(worlds())
def test_any_world_survives_json(world: World) -> None:
    made = Plan.of(world)
    again = Plan.from_json(made.to_json())
    assert again == made
    for a in made.nodes:
        for b in made.nodes:
            assert again.link(a, b) == made.link(a, b)


SHOW = """
import sys
from topology.load import load_world
from topology.plan import Plan
plan = Plan.of(load_world("topology.yaml"))
sys.stdout.buffer.write(plan.to_json())
print([plan.neighbors(pop) for pop in plan.pops], [plan.landing(v) for v in plan.world.visitors])
"""


def test_nothing_depends_on_hash_order(pytestconfig: pytest.Config) -> None:
    seen = {
        subprocess.run(
            [sys.executable, "-c", SHOW],
            cwd=pytestconfig.rootpath,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "77")
    }
    assert len(seen) == 1


def test_a_process_that_reads_a_plan_needs_neither_yaml_nor_airports(
    pytestconfig: pytest.Config,
) -> None:
    program = (
        "import sys; from topology.plan import Plan; from topology import places; "
        "plan = Plan.from_json(sys.stdin.buffer.read()); plan.link('LHR', 'FRA'); "
        "print(sorted({'ruamel', 'airportsdata', 'asyncio', 'socket', 'ssl', 'threading'} & "
        "{name.partition('.')[0] for name in sys.modules}), places.airports.cache_info().currsize)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=pytestconfig.rootpath,
        input=plan().to_json(),
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().strip() == "[] 0"

"""Events in words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lab.happened import Teller
from topology.load import parse_world
from topology.plan import Plan
from topology.spec import LinkSpec

WORLD = """
popnet: 1
pops: {NRT: {region: 1}, IAD: {region: 2}}
internet: {rtt_ms: {NRT: {IAD: 158}}}
visitors: [tokyo]
"""


@pytest.fixture
def plan() -> Plan:
    return Plan.of(parse_world(WORLD))


def change(source: str, destination: str, spec: LinkSpec) -> dict[str, Any]:
    return {"from": source, "to": destination, "current": msgspec.to_builtins(spec)}


def links(*changes: dict[str, Any]) -> dict[str, Any]:
    return {"t": 1.0, "node": "wan", "event": "link_changed", "changes": list(changes)}


def test_a_link_is_told_with_what_it_was_before(plan: Plan) -> None:
    teller = Teller(plan)
    slow = plan.link("NRT", "IAD").patched({"one_way_s": 0.2, "loss": 0.02})
    both = links(change("NRT", "IAD", slow), change("IAD", "NRT", slow))
    assert teller.tell(both) == "NRT-IAD rtt 158 > 400 ms, loss 0 > 2 %"
    # From now on that is what it was before.
    assert teller.tell(links(change("NRT", "IAD", slow.patched({"down": True})))) == "NRT>IAD down"
    back = links(change("IAD", "NRT", slow.patched({"one_way_s": 0.1})))
    assert teller.tell(back) == "IAD>NRT one-way 200 > 100 ms"


def test_directions_that_differ_are_told_one_by_one(plan: Plan) -> None:
    declared = plan.link("NRT", "IAD")
    teller = Teller(plan)
    forth = change("NRT", "IAD", declared.patched({"rate_bps": 1e7}))
    back = change("IAD", "NRT", declared.patched({"mtu": 576}))
    assert teller.tell(links(forth, back)) == (
        "NRT>IAD rate unlimited > 10 Mbit/s; IAD>NRT mtu 1500 > 576 bytes"
    )
    assert teller.tell(links(change("NRT", "IAD", declared))) == "NRT>IAD rate 10 > unlimited"


def test_the_access_of_a_node(plan: Plan) -> None:
    shaky = LinkSpec(jitter_s=0.003, mtu=65535)
    told = links(change("tokyo", "", shaky), change("", "tokyo", shaky))
    assert Teller(plan).tell(told) == "tokyo access jitter 0 > 3 ms"


def test_what_was_before_is_not_made_up(plan: Plan) -> None:
    slow = plan.link("NRT", "IAD").patched({"one_way_s": 0.2, "rate_bps": None})
    assert Teller(None).tell(links(change("NRT", "IAD", slow))) == "NRT>IAD one-way 200 ms"


def route(**fields: Any) -> dict[str, Any]:
    return {"t": 1.0, "node": "NRT", "event": "route_changed", "tunnel": "app", **fields}


def test_routes_are_paths() -> None:
    teller = Teller(None)
    assert teller.tell(route(old=["A", "B"], new=["A", "C", "B"], reason="better")) == (
        "app A>B to A>C>B (better)"
    )
    assert teller.tell(route(old=None, new=["A"], reason="first")) == "app A (first)"
    assert teller.tell(route(old=["A"], new=None, reason="gone")) == "app A to none (gone)"


def test_what_is_no_news_is_not_told() -> None:
    teller = Teller(None)
    assert teller.tell(route(old=["A"], new=["A"], connection="x.1", reason="better")) is None
    assert teller.tell({"t": 1.0, "node": "LHR", "event": "node_attached"}) is None
    assert teller.tell({"t": 1.0, "node": "LHR", "event": "attached"}) == ""


def test_visitors_that_move_are_grouped() -> None:
    moves = [
        {"visitor": "tokyo", "from": "NRT", "to": "SIN"},
        {"visitor": "oslo", "from": "LHR", "to": None},
        {"visitor": "osaka", "from": "NRT", "to": "SIN"},
    ]
    event = {"t": 1.0, "node": "wan", "event": "catchment_changed", "moves": moves}
    assert Teller(None).tell(event) == "tokyo, osaka: NRT > SIN; oslo: LHR > nowhere"


def test_of_everything_else_only_what_says_something() -> None:
    identity = "33e4b70f-d7f2-4dac-a2a2-4c090f731cff.0"
    event = {"t": 1.0, "node": "dublin", "event": "tunnel_lost", "location": "", "index": 0}
    event |= {"reason": None, "connection": identity, "programs": ["pop", "x"], "none": []}
    assert Teller(None).tell(event) == "index=0  connection=33e4b70f.0  programs=pop,x"

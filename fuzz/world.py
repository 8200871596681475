"""A world file behind its YAML: documents that bytes choose by the model (`fuzz.written`), and what they resolve to."""

from __future__ import annotations

from itertools import product
from math import isfinite
from pathlib import Path

from fuzz.written import bytes_of, document_of
from lab.worlds import check_routing
from routing.catalogue import CATALOGUE
from topology.document import Document, read
from topology.happenings import Ramp, SetLinks
from topology.load import WorldError, world_of
from topology.model import World
from topology.plan import Plan

_ROOT = Path(__file__).parents[1]
_BESIDE = Path(__file__).parent / "beside"
# Aliases of aliases: what ends at 500,000 values ends at 1,000 as well, and sooner.
_MOST = 1_000

_SMALL = """popnet: 1
name: small
seed: 1
pops: {LHR: {region: 1}, x: {at: [1, 2]}}
internet: {rtt_ms: {LHR: {x: 14}}, missing: {model: fibre}, defaults: {loss_pct: 1}}
visitors: [tokyo]
sites: {dublin: {service: hello}}
tunnels: {app: {site: dublin}}
dns: {app.example.com: {tunnel: app}}
"""
_OTHER = """popnet: 1
pops: {LHR: {}, FRA: {}}
anycast: {policy: lowest_rtt, convergence: 3s, pin: {tokyo: LHR}}
visitors: {tokyo: {}}
internet: {rtt_csv: matrix.csv}
routing: {algorithm: one-relay, probe: {every: 1s}, damping: {hold: 10s}}
sites: {dublin: {service: {url: "http://localhost:8000"}, connectors: [{tunnel: app}]}}
tunnels: {app: {site: [dublin]}}
dns: {app.example.com: {tunnel: app}}
load: {rate_per_s: 10, mix: {"https://app.example.com/": 1}, visitors: [tokyo]}
security: [{path: /admin/*, require: service_token}, {allow: all}]
access: {jwt: {app: {jwks: keys.json}}}
assert: ["availability >= 99.9%"]
"""
_TIMELINE = """popnet: 1
pops: [LHR, FRA, NRT]
timeline:
- {at: 30s, for: 10s, kill: LHR}
- {at: 1, set: {from: LHR, to: FRA, rtt_ms: 3, burst: {enter_pct: 1, leave_pct: 2}}}
- {at: 1, for: 2s, ramp: {from: LHR, to: FRA, loss_pct: [0, 99.9]}}
- {at: 1, flap: {from: LHR, to: FRA, period: 3s}}
- {at: 1, cut: [LHR, FRA]}
- {at: 1, partition: [[LHR], [FRA, NRT]]}
- {at: 1, partition: [LHR]}
"""
_WRITTEN = (
    *(bytes_of(text) for text in (_SMALL, _OTHER, _TIMELINE)),
    bytes_of((_ROOT / "topology.yaml").read_text("utf-8")),
    *(bytes_of(file.read_text("utf-8")) for file in sorted(_ROOT.glob("examples/*.yaml"))),
)
# With any bytes, and by a careful writer.
SEEDS = (*_WRITTEN, *(b"\0" + seed[1:] for seed in _WRITTEN))


def one(data: bytes) -> None:
    try:
        document = read(document_of(data), "world.yaml", _MOST)
        world = world_of(document, _check, directory=_BESIDE)
    except WorldError as error:
        assert error.problems
        for problem in error.problems:
            assert str(problem).isprintable(), "an error of several lines"
            assert problem.found
            assert problem.allowed
        return
    _resolved(world)


def _check(document: Document, world: World) -> None:
    # A plug-in is run to be looked at, and one that has no name here is looked for among installed packages.
    if world.routing.source is None and world.routing.algorithm in CATALOGUE:
        check_routing(document, world)


def _resolved(world: World) -> None:
    """Whatever the lab asks of a world that it was given."""
    plan = Plan.of(world)
    assert Plan.from_json(plan.to_json()) == plan
    for a, b in product(list(plan.nodes)[:3], repeat=2):
        link = plan.link(a, b)
        assert isfinite(link.one_way_s)
        assert isfinite(plan.rtt(a, b)) or link.down or plan.link(b, a).down
    for node in list(plan.nodes)[-3:]:
        assert plan.landing(node) in plan.pops
        plan.access(node)
    for pop in plan.pops:
        assert all(pop in plan.neighbors(other) for other in plan.neighbors(pop))
    for happening in plan.timeline:
        match happening.what:
            case SetLinks(changes):
                for change in changes:
                    plan.link(change.source, change.destination).patched(change.fields)
            case Ramp(slopes):
                for slope in slopes:
                    link = plan.link(slope.source, slope.destination)
                    for value in (slope.start, slope.end):
                        link.patched({slope.field: value})

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

_BESIDE = Path(__file__).parent / "beside"
# Aliases of aliases: what ends at 500,000 values ends at 1,000 as well, and sooner.
_MOST = 1_000

_SMALL = """popnet: 1
name: small
pops: {LHR: {region: 1}, x: {at: [1, 2]}}
internet: {rtt_ms: {LHR: {x: 14}}, missing: {model: fibre}, defaults: {loss_pct: 1}}
visitors: [tokyo]
sites: {dublin: {service: hello}}
tunnels: {app: {site: dublin}}
dns: {app.example.com: {tunnel: app}}
"""
# Short, each a section or two: the fuzzer puts them together itself.
_SECTIONS = """
internet: {links: [{from: LHR, to: FRA, both: true, rate_mbit: 5, burst: {enter_pct: 1, leave_pct: 2}}]}
internet: {rtt_csv: matrix.csv, access: {tokyo: {one_way_ms: 1}}, congestion: cubic}
pops: {LHR: {neighbors: [FRA]}, FRA: {region: 2}}
anycast: {policy: lowest_rtt, convergence: 3s, pin: {tokyo: LHR}}
sites: {dublin: {service: {url: "http://localhost:8000"}, connectors: [{run: cloudflared, tunnel: app}]}}
tunnels: {app: {site: [dublin]}}
load_balancers: {both: {pool: {app: {weight: 2}}, steering: weighted, health: {expect: 2xx}, affinity: {ttl: 1m}}}
security: [{path: /admin/*, require: service_token, of: lab}, {rate_limit: {per_s: 1}}, {allow: all}]
security: [{address: 100.64.0.0/10, block: 404, header: {x: "*"}, visitor: tokyo}]
access: {jwt: {app: {jwks: keys.json}}, certificates: lab}
routing: {algorithm: k-disjoint, params: {k: 3}, probe: {estimator: {quantile: [0.9, 20]}}, beside: [direct]}
routing: {algorithm: decide.py, neighbors: {policy: nearest, nearest: 1, hubs: 0}, damping: {hold: 1s}}
load: {rate_per_s: 10, mix: {"https://app.example.com/": 1}, methods: {GET: 1}, visitors: [tokyo]}
load: {rate_per_s: 1, url: "http://app.example.com/{size}", sizes: [1, 2], arrivals: constant}
timeline: [{at: 30s, for: 10s, kill: LHR}, {at: 1, pause: [FRA, dublin]}]
timeline: [{at: 1, set: {from: LHR, to: FRA, rtt_ms: 3, jitter_distribution: pareto}}]
timeline: [{at: 1, for: 2s, ramp: {from: LHR, to: FRA, loss_pct: [0, 99.9], rate_mbit: [1, 2]}}]
timeline: [{at: 1, flap: {from: LHR, to: FRA, period: 3s}}, {at: 1, cut: [LHR, FRA]}]
timeline: [{at: 1, partition: [[LHR], [FRA, NRT]]}, {at: 1, partition: [LHR]}]
assert: ["availability >= 99.9%"]
""".splitlines()[1:]
_WRITTEN = tuple(bytes_of(text) for text in (_SMALL, *_SECTIONS))
# With any bytes, and by a careful writer.
SEEDS = (*_WRITTEN, *(b"\0" + seed[1:] for seed in _WRITTEN))


def one(data: bytes) -> None:
    try:
        document = read(document_of(data), "world.yaml", _MOST)
        world = world_of(document, _check, directory=_BESIDE)
    except WorldError as error:
        assert error.problems
        lines = str(error).split("\n")
        assert len(lines) == len(error.problems), "an error of several lines"
        assert all(line.isprintable() for line in lines)
        assert all(problem.found and problem.allowed for problem in error.problems)
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

"""A world file: YAML that people write."""

from __future__ import annotations

from topology.load import Problem, WorldError, parse_world

_SMALL = b"""popnet: 1
name: small
seed: 1
pops: {LHR: {region: 1}, x: {at: [1, 2]}}
internet: {rtt_ms: {LHR: {x: 14}}, missing: {model: fibre}, defaults: {loss_pct: 1}}
visitors: [tokyo]
sites: {dublin: {service: hello}}
tunnels: {app: {site: dublin}}
dns: {app.example.com: {tunnel: app}}
"""
_OTHER = b"""popnet: 1
pops: {LHR: {}, FRA: {}}
anycast: {policy: lowest_rtt, convergence: 3s, pin: {tokyo: LHR}}
visitors: {tokyo: {}}
routing: {algorithm: one-relay, probe: {every: 1s}, damping: {hold: 10s}}
load: {rate_per_s: 10, url: "https://app.example.com/"}
security: [{path: /admin/*, require: service_token}, {allow: all}]
timeline: [{at: 30s, for: 10s, kill: LHR}]
assert: ["availability >= 99.9%"]
"""
SEEDS = (_SMALL, _OTHER, b"popnet: 1\npops: &a {LHR: *a}\n", b"[" * 200, b"a: b: c")


def one(data: bytes) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    problems = _problems(text)
    for problem in problems:
        assert "\n" not in str(problem), "an error of several lines"


def _problems(text: str) -> list[Problem]:
    try:
        parse_world(text, file="world.yaml")
    except WorldError as error:
        assert error.problems
        return error.problems
    return []

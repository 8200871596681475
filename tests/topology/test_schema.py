"""The JSON Schema: as committed, and of one mind with the loader about shapes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from topology.load import WorldError, parse_world
from topology.schema import rendered, schema

ROOT = schema()
HERE = Path(__file__).parents[2]
KINDS: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


def test_the_committed_schema_is_the_generated_one() -> None:
    committed = (HERE / "topology" / "topology.schema.json").read_text("utf-8")
    assert committed == rendered(), "python -m topology.schema > topology/topology.schema.json"


def test_the_default_world_names_the_schema() -> None:
    first = (HERE / "topology.yaml").read_text("utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=topology/topology.schema.json"


def fits(value: Any, said: dict[str, Any], root: dict[str, Any]) -> bool:
    """JSON Schema, as much of it as ours uses. An unknown keyword is an error, not a yes."""
    known = {"description", "title", "default", "examples", "$schema", "definitions"}
    for keyword, argument in said.items():
        match keyword:
            case "$ref":
                good = fits(value, root["definitions"][argument.rpartition("/")[2]], root)
            case "type":
                names = argument if isinstance(argument, list) else [argument]
                good = any(
                    isinstance(value, KINDS[name])
                    and (name == "boolean" or not isinstance(value, bool))
                    for name in names
                )
            case "enum":
                good = any(value == choice and type(value) is type(choice) for choice in argument)
            case "anyOf":
                good = any(fits(value, one, root) for one in argument)
            case "allOf":
                good = all(fits(value, one, root) for one in argument)
            case "oneOf":
                good = [fits(value, one, root) for one in argument].count(True) == 1
            case "properties" | "additionalProperties" | "propertyNames" | "required":
                good = not isinstance(value, dict) or _object(value, keyword, argument, said, root)
            case "minProperties" | "maxProperties" | "minItems" | "maxItems":
                kind = dict if keyword.endswith("Properties") else list
                least = keyword.startswith("min")
                good = not isinstance(value, kind) or (
                    len(value) >= argument if least else len(value) <= argument
                )
            case "items" if isinstance(argument, list):
                pairs = zip(value, argument, strict=False) if isinstance(value, list) else ()
                good = all(fits(item, one, root) for item, one in pairs)
            case "items":
                good = not isinstance(value, list) or all(
                    fits(item, argument, root) for item in value
                )
            case "uniqueItems":
                good = not isinstance(value, list) or len(set(map(str, value))) == len(value)
            case "pattern":
                good = not isinstance(value, str) or re.search(argument, value) is not None
            case "minLength":
                good = not isinstance(value, str) or len(value) >= argument
            case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
                good = (
                    not isinstance(value, int | float)
                    or {
                        "minimum": value >= argument,
                        "maximum": value <= argument,
                        "exclusiveMinimum": value > argument,
                        "exclusiveMaximum": value < argument,
                    }[keyword]
                )
            case _:
                assert keyword in known, keyword
                good = True
        if not good:
            return False
    return True


def _object(value: dict[str, Any], keyword: str, argument: Any, said: Any, root: Any) -> bool:
    if keyword == "required":
        return all(key in value for key in argument)
    if keyword == "propertyNames":
        return all(fits(key, argument, root) for key in value)
    if keyword == "properties":
        return all(fits(value[key], one, root) for key, one in argument.items() if key in value)
    rest = [value[key] for key in value if key not in said.get("properties", {})]
    return not rest if argument is False else all(fits(one, argument, root) for one in rest)


def accepted(text: str) -> bool:
    return fits(YAML(typ="safe", pure=True).load(text), ROOT, ROOT)


BASE = "popnet: 1\nsites: {dublin: {}}\ntunnels: {app: {site: dublin}}\nvisitors: [tokyo]\n"
FULL = BASE + "pops: {LHR: , FRA: {region: 2}, X: {at: [1, 2.5]}}\n"
SHAPES = [
    "",
    "name: other\nseed: 3\n",
    "name: a_b\n",
    "seed: -1\n",
    "seed: 1.5\n",
    "seed: true\n",
    "sede: 1\n",
    "routing: {probe: {every: 100ms}, damping: {hold: 3}}\n",
    "routing: {probe: {every: 0}}\n",
    "routing: {probe: {every: 3 days}}\n",
    "routing: {probe: {estimator: {}}}\n",
    "routing: {params: {a: 1, b: two, c: true, d: 0.5}}\n",
    "routing: {params: {a: [1]}}\n",
    "routing:\n",
    "internet:\n  rtt_ms:\n  links:\n",
    "internet: {rtt_ms: {LHR: {FRA: 1}}, rtt_csv: null}\n",
    "internet: {rtt_ms: {LHR: 1}}\n",
    "internet: {defaults: {rate_mbit: unlimited, loss_pct: 100, down: false}}\n",
    "internet: {defaults: {rate_mbit: limitless}}\n",
    "internet: {defaults: {rate_mbit: 0}}\n",
    "internet: {defaults: {loss_pct: 100.1}}\n",
    "internet: {defaults: {mtu: 1500.5}}\n",
    "internet: {defaults: {jitter_distribution: pareto}}\n",
    "internet: {defaults: {jitter_distribution: lognormal}}\n",
    "internet: {defaults: {burst: {enter_pct: 1, leave_pct: 5}}}\n",
    "internet: {defaults: {burst: {enter_pct: 1}}}\n",
    "internet: {links: [{from: LHR, to: FRA, both: true}]}\n",
    "internet: {links: [{to: FRA}]}\n",
    "internet: {links: {from: LHR, to: FRA}}\n",
    "internet: {congestion: bbr}\n",
    "internet: {congestion: 3}\n",
    "anycast: {pin: {tokyo: LHR}, convergence: 2.5s}\n",
    "anycast: {convergence: -1s}\n",
    "timeline: [{at: 3s, kill: LHR}, {at: 3, vanish: [LHR, FRA]}]\n",
    "timeline: [{at: 3s, cut: [LHR, FRA]}, {at: 4s, cut: {from: LHR, to: FRA}}]\n",
    "timeline: [{at: 3s, cut: [LHR]}]\n",
    "timeline: [{at: 3s, partition: [LHR]}, {at: 4s, partition: [[LHR], [FRA]]}]\n",
    "timeline: [{at: 3s, partition: LHR}]\n",
    "timeline: [{at: 3s}]\n",
    "timeline: [{at: 3s, kill: LHR, pause: LHR}]\n",
    "timeline: [{kill: LHR}]\n",
    "timeline: [{at: 1, for: 2s, ramp: {from: LHR, to: FRA, loss_pct: [0, 5]}}]\n",
    "timeline: [{at: 1, for: 2s, ramp: {from: LHR, to: FRA, loss_pct: [0, 5, 9]}}]\n",
    "timeline: [{at: 1, for: 2s, ramp: {from: LHR, to: FRA, loss_pct: 5}}]\n",
    "limits: {connections_per_visitor: 2, penalty: 0s}\ntimeouts: {idle: 5m, drain: 0}\n",
    "limits: {streams_per_visitor: 1024}\n",
    "limits: {streams_per_visitor: 1025}\n",
    "limits: {penalty: -1}\n",
    "limits: {retries: 3}\n",
    "limits:\ntimeouts:\n",
    "timeouts: {idle: 0}\n",
    "timeouts: {idle: 90000}\n",
    "dns: {app.example.com: {tunnel: app}}\n",
    "dns: {app.example.com: {}}\n",
    "dns: {app.example.com: app}\n",
    "load_balancers: {www: {pool: [app], health: {path: /, every: 5s}}}\n",
    "load_balancers: {www: {pool: []}}\n",
    "load_balancers: {www: {pool: [app], health: {path: x}}}\n",
    "security: [{allow: all}, {path: /a, method: GET, block: 451}, {method: [PUT], block: true}]\n",
    "security: [{allow: some}]\n",
    "security: [{path: a, allow: all}]\n",
    "assert: p50 < 3 ms\n",
    "assert: ['availability >= 99.9%']\n",
    "assert: [fine]\n",
    "visitor: {}\n",
]


@pytest.mark.parametrize("more", SHAPES)
def test_schema_and_loader_agree(more: str) -> None:
    text = FULL + more
    try:
        parse_world(text)
        loads = True
    except WorldError:
        loads = False
    assert accepted(text) == loads


@pytest.mark.parametrize(
    ("service", "good"),
    [
        ("hello", True),
        ("http://localhost:1", True),
        ("{command: x, url: 'http://localhost:1'}", True),
        ("7", False),
    ],
)
def test_services(service: str, good: bool) -> None:
    text = FULL.replace("{dublin: {}}", f"{{dublin: {{service: {service}}}}}")
    assert accepted(text) == good
    if good:
        parse_world(text)
    else:
        with pytest.raises(WorldError):
            parse_world(text)


def test_every_key_of_the_file_is_described() -> None:
    """A completion without a word of help is no help."""
    parts = {"": ROOT, **ROOT["definitions"]}
    # Ramps carry the keys of links, in pairs; the others repeat their own name.
    plain = {
        "RampEntry",
        "Health",
        "Load",
        "RateLimit",
        "SecurityRule",
        "LoadBalancer",
        "Neighbors",
    }
    for name, part in parts.items():
        assert part["description"]
        for key, said in part["properties"].items():
            helped = "description" in said or "$ref" in said or "anyOf" in said or name in plain
            assert helped or "$ref" in str(said), f"{name}.{key}"

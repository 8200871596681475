"""From a plan to the files that processes start with."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import msgspec
import pytest

from lab import configs
from lab.rundir import RunDir
from pops import config as pops_config
from topology import model_limits
from topology.load import parse_world
from topology.plan import Plan
from topology.wording import unwrapped

WORLD = """
popnet: 1
seed: 5
pops: {LHR: {region: 1}, FRA: {region: 2}, NRT: {region: 1}}
internet:
  rtt_ms: {LHR: {FRA: 14, NRT: 270}, FRA: {NRT: 250}}
  access: {LHR: {one_way_ms: 1}}
visitors: [tokyo]
sites:
  dublin:
    service: hello
    connectors: [{connections: 4}, {connections: 2, tunnel: other}]
  paris: {service: {command: "python3 -m http.server 8000", url: "http://localhost:8000"}}
tunnels: {app: {site: dublin}, other: {site: dublin}, third: {site: paris}}
dns: {app.example.com: {tunnel: app}, other.example.com: {tunnel: other}}
"""


@pytest.fixture
def plan() -> Plan:
    return Plan.of(parse_world(WORLD))


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def test_every_pop_gets_a_configuration_that_it_accepts(plan: Plan, run: RunDir) -> None:
    configs.write(plan, run)
    for pop in plan.pops:
        config = pops_config.load(run.node(pop) / "config.json")
        assert config.name == pop
        assert config.address == plan.nodes[pop].address
        assert set(config.hosts) == {"app.example.com", "other.example.com"}
        assert config.tunnels_listen is not None
        assert set(config.tunnels_listen.addresses) == set(config.regions[config.region])


def test_files_with_secrets_are_for_their_owner_alone(plan: Plan, run: RunDir) -> None:
    configs.write(plan, run)
    for name in ("LHR/config.json", "dublin/agent.json"):
        assert (run.path / "nodes" / name).stat().st_mode & 0o077 == 0


def test_one_way_sums_the_link_and_both_access_lines(plan: Plan) -> None:
    delay = configs.declared(plan)
    assert delay("LHR", "FRA") + delay("FRA", "LHR") == pytest.approx(0.014 + 2 * 0.001)
    assert delay("FRA", "NRT") == pytest.approx(0.125)


def test_a_token_says_the_same_as_the_pops_know(plan: Plan, run: RunDir) -> None:
    tunnel = configs.tunnel_identity(plan, "app")
    parts = json.loads(base64.b64decode(configs.token(tunnel)))
    assert parts == {"a": tunnel.account_tag, "t": tunnel.id, "s": tunnel.secret}
    assert len(base64.b64decode(parts["s"])) == 32
    pop = configs.pop_config(plan, run, "LHR")
    assert tunnel in pop.tunnels


def test_identities_follow_from_the_seed_and_differ_between_tunnels(plan: Plan) -> None:
    other = Plan.of(msgspec.structs.replace(plan.world, seed=6))
    app = configs.tunnel_identity(plan, "app")
    assert app == configs.tunnel_identity(plan, "app")
    assert app.id != configs.tunnel_identity(plan, "other").id
    assert app.secret != configs.tunnel_identity(other, "app").secret


def test_a_site_runs_its_service_and_one_connector_per_tunnel(plan: Plan, run: RunDir) -> None:
    names = configs.connector_names(plan, "dublin")
    assert names == {
        "connector": ("app", 4),
        "connector-2": ("other", 4),
        "connector-3": ("other", 2),
    }
    agent = configs.agent_config(plan, run, "dublin")
    assert [program.name for program in agent.programs] == ["service", *names]


def test_a_command_is_split_into_words_and_not_given_to_a_shell(plan: Plan, run: RunDir) -> None:
    service, connector = configs.agent_config(plan, run, "paris").programs
    assert service.arguments == ("python3", "-m", "http.server", "8000")
    assert connector.environment["TUNNEL_URL"] == "http://localhost:8000"


def test_pops_have_the_anycast_addresses_of_their_region_and_visitors_none(
    plan: Plan, run: RunDir
) -> None:
    lhr = configs.agent_config(plan, run, "LHR")
    assert set(lhr.anycast) == {
        "198.18.0.1",
        "198.18.0.53",
        *(f"198.18.1.{number}" for number in range(1, 11)),
    }
    assert configs.agent_config(plan, run, "tokyo").anycast == ()
    assert configs.agent_config(plan, run, "tokyo").programs == ()


def test_the_routing_section_reaches_every_pop(run: RunDir) -> None:
    plan = Plan.of(
        parse_world(
            WORLD
            + """
routing:
  algorithm: mine.py
  source: "x = 1"
  params: {a: 1}
  probe: {every: 2s, estimator: {quantile: [0.9, 20]}, budget_per_s: 5}
  damping: {min_gain_pct: 1, min_gain_ms: 2, hold: 3s, max_moved_pct: 4, interval: 5s}
"""
        )
    )
    configs.write(plan, run)
    routing = pops_config.load(run.node("LHR") / "config.json").routing
    assert (routing.algorithm, routing.params) == ("mine.py", {"a": 1})
    assert routing.plugin is not None
    assert Path(routing.plugin).read_text() == "x = 1"
    assert (routing.probe.every, routing.probe.budget_per_s) == (2.0, 5.0)
    assert routing.probe.estimator == {"quantile": [0.9, 20]}
    assert routing.damping == pops_config.Damping(
        min_gain_pct=1.0, min_gain=0.002, hold=3.0, max_moved_pct=4.0, interval=5.0
    )


def test_limits_and_timeouts_reach_every_pop(run: RunDir) -> None:
    more = """
limits: {connections_per_visitor: 2, penalty: 0s, retry_share: 0.5}
timeouts: {response_head: 1m, refuse_linger: 50ms}
"""
    plan = Plan.of(parse_world(WORLD + more))
    # As the lab keeps it between two processes.
    configs.write(Plan.from_json(plan.to_json()), run)
    for pop in plan.pops:
        config = pops_config.load(run.node(pop) / "config.json")
        assert config.limits == pops_config.Limits(
            connections_per_visitor=2, penalty=0.0, retry_share=0.5
        )
        assert config.timeouts == pops_config.Timeouts(response_head=60.0, refuse_linger=0.05)


@pytest.mark.parametrize(
    ("of_a_world", "of_a_pop"),
    [
        (model_limits.Limits, pops_config.Limits),
        (model_limits.Timeouts, pops_config.Timeouts),
    ],
)
def test_a_world_and_a_pop_mean_the_same_by_limits(of_a_world: type, of_a_pop: type) -> None:
    """Keys, defaults and bounds: what one lets through the other takes."""

    def said(kind: type) -> dict[str, tuple[object, ...]]:
        info = msgspec.inspect.type_info(kind)
        assert isinstance(info, msgspec.inspect.StructType)
        found = {}
        for field in info.fields:
            plain = unwrapped(field.type)[0]
            assert isinstance(plain, msgspec.inspect.IntType | msgspec.inspect.FloatType)
            found[field.name] = (type(plain), field.default, plain.ge, plain.gt, plain.le)
        return found

    assert said(of_a_world) == said(of_a_pop)
    assert all(most is not None for *_, most in said(of_a_world).values())

"""What `popnet pools` says of a member: how it is, who found out, and what it needs to be up again."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from lab import everywhere
from lab.adminhttp import Answer
from lab.cli import pools
from lab.cli.app import app
from lab.driver import LabError
from lab.everywhere import Told
from lab.sites import site_of
from topology.load import parse_world
from topology.plan import Plan


def member(tunnel: str, state: str, cause: str | None = None, **more: Any) -> dict[str, Any]:
    plain = {
        "tunnel": tunnel,
        "weight": 1.0,
        "up": state == "up",
        "draining": state == "draining",
        "state": state,
        "cause": cause,
        "reason": None,
        "left_alone_s": 0.0,
        "cost_ms": 12.3,
        "check_ms": 4.5,
        "outstanding": 0,
        "chosen": 7,
    }
    return plain | more


def check(tunnel: str, site: str, state: str = "up", **more: Any) -> dict[str, Any]:
    plain = {
        "tunnel": tunnel,
        "site": site,
        "connector": "c-" + site,
        "state": state,
        "flapping": False,
        "reason": None,
        "failures": 0,
        "successes_missing": 0,
        "check_ms": 4.5,
    }
    return plain | more


DOWN = {"state": "down", "reason": "origin refused"}


@pytest.mark.parametrize(
    ("one", "checks", "state", "why"),
    [
        (member("app", "up"), [check("app", "dublin")], "up", ""),
        (
            member("app", "down", "checks", cost_ms=None),
            [
                check("app", "dublin", **DOWN, successes_missing=1),
                check("app", "dublin", **DOWN, successes_missing=2),
            ],
            "down",
            "health checks at dublin: origin refused, 2 more successes in a row needed",
        ),
        (
            member("app", "up"),
            [check("app", "dublin"), check("app", "boston", **DOWN, successes_missing=1)],
            "up",
            "health checks at boston: origin refused, 1 more success in a row needed",
        ),
        (
            member("app", "left alone", "requests", reason="status 503", left_alone_s=3.21),
            [check("app", "dublin"), check("other", "boston", flapping=True)],
            "left alone",
            "own requests: status 503; left alone for 3.2 s more",
        ),
        (
            member("app", "down", "checks"),
            [check("app", "dublin", **DOWN, successes_missing=8, flapping=True)],
            "down, flapping",
            "health checks at dublin: origin refused, 8 more successes in a row needed",
        ),
        (member("app", "up"), [check("app", "dublin", flapping=True)], "up, flapping", ""),
        (
            member("app", "down", "connections", reason="no PoP in reach holds a connection of it"),
            [],
            "down",
            "no PoP in reach holds a connection of it",
        ),
        (member("app", "down", "checks"), [], "down", "health checks"),
        (
            member("app@dublin", "up"),
            [check("app", "dublin"), check("app", "boston", **DOWN, successes_missing=1)],
            "up",
            "",
        ),
    ],
)
def test_state_and_why(
    one: dict[str, Any], checks: list[dict[str, Any]], state: str, why: str
) -> None:
    (row,) = pools.pool_rows("IAD", {"www": {"steering": "random", "members": [one]}}, checks)
    cells = pools._cells(row)
    assert (cells[3], cells[-1]) == (state, why)
    assert "; ".join(row["why"]) == why, "JSON says the same"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lab whose first PoP is silent."""
    answers = {
        "/pools": {"www": {"steering": "random", "members": [member("app", "up")]}},
        "/checks": [check("app", "dublin")],
    }

    def ask(_: Any, pops: list[str], method: str, target: str) -> Told:
        body = json.dumps(answers[target]).encode()
        return Told({pop: Answer(200, body) for pop in pops if pop != "LHR"}, ["LHR"])

    lab = SimpleNamespace(pop=lambda name: name, dir=Path())
    monkeypatch.setattr(pools, "open_lab", lambda _: lab)
    monkeypatch.setattr(everywhere, "serving", lambda _: ["LHR", "FRA", "NRT"])
    monkeypatch.setattr(everywhere, "vanished", lambda _: set())
    monkeypatch.setattr(everywhere, "ask", ask)


@pytest.mark.usefixtures("asked")
def test_the_path_is_that_of_a_named_pop_and_who_is_silent_is_named() -> None:
    done = CliRunner().invoke(app, ["pools"])
    assert "PATH ms FROM FRA" in done.stdout
    assert done.stderr.startswith("popnet: no answer from LHR within 3 s")
    assert "PATH ms FROM NRT" in CliRunner().invoke(app, ["pools", "--at", "NRT"]).stdout
    failed = CliRunner().invoke(app, ["pools", "--at", "LHR"])
    assert isinstance(failed.exception, LabError)
    assert str(failed.exception) == "no answer from LHR"


@pytest.mark.usefixtures("asked")
def test_who_vanished_is_not_asked_how_the_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everywhere, "vanished", lambda _: {"FRA"})
    assert "PATH ms FROM NRT" in CliRunner().invoke(app, ["pools"]).stdout


@pytest.mark.usefixtures("asked")
def test_json_has_the_checks_with_the_pop_that_makes_them() -> None:
    (row,) = json.loads(CliRunner().invoke(app, ["pools", "-o", "json"]).stdout)
    assert (row["pool"], row["at"], row["state"], row["flapping"]) == ("www", "FRA", "up", False)
    assert [(one["pop"], one["site"]) for one in row["checks"]] == [
        ("FRA", "dublin"),
        ("NRT", "dublin"),
    ]


def test_help_has_an_example() -> None:
    assert "popnet pools --at" in CliRunner().invoke(app, ["pools", "--help"]).stdout


@pytest.mark.parametrize(
    ("pool", "site"),
    [("[app@dublin]", "dublin"), ("[app]", None), ("[app@dublin, app@boston]", None)],
)
def test_a_host_name_of_one_site_has_that_site(pool: str, site: str | None) -> None:
    world = f"""
popnet: 1
pops: {{LHR: {{region: 1}}, FRA: {{region: 2}}}}
visitors: [london]
sites: {{dublin: {{service: hello}}, boston: {{service: hello}}}}
tunnels: {{app: {{site: [dublin, boston]}}}}
dns: {{www.example.com: {{load_balancer: www}}}}
load_balancers: {{www: {{pool: {pool}}}}}
"""
    assert site_of(Plan.of(parse_world(world)), "www.example.com") == site

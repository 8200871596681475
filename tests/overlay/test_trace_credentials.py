"""`popnet trace` and `popnet get` without a lab, with what a rule requires: header fields, a client certificate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import lab.cli.tracing  # noqa: F401 it adds commands
from lab.cli.app import app
from lab.policy import of_plan, token_id, token_secret
from topology.load import parse_world
from topology.plan import Plan

from .conftest import SMALL

GUARDED = (
    SMALL
    + """
security:
  - {path: /*, log: true, note: all of it}
  - {path: /admin/*, require: service_token}
  - {path: /vault/*, require: mtls}
  - {allow: all}
access: {service_tokens: [lab], certificates: [alice]}
"""
)
URL = "https://app.example.com"
LOGGED = "; logged by rule 1 all of it"


@pytest.fixture
def guarded(tmp_path: Path) -> Path:
    file = tmp_path / "guarded.yaml"
    file.write_text(GUARDED)
    return file


def token() -> list[str]:
    plan = Plan.of(parse_world(GUARDED))
    assert of_plan(plan).service_tokens
    secret = token_secret(plan, "lab")
    return [f"-HCF-Access-Client-Id: {token_id('lab')}", f"-HCF-Access-Client-Secret: {secret}"]


@pytest.mark.parametrize(
    ("path", "shown", "passes", "rule"),
    [
        ("/admin/x", [], False, "rule 2 require"),
        ("/admin/x", ["TOKEN"], True, "rule 2 require"),
        ("/vault/x", [], False, "rule 3 require"),
        ("/vault/x", ["--certificate", "alice"], True, "rule 3 require"),
    ],
)
def test_the_journey_of_a_request_with_a_credential(
    guarded: Path, path: str, shown: list[str], passes: bool, rule: str
) -> None:
    arguments = token() if shown == ["TOKEN"] else shown
    wanted = ["--driver", "virtual", "--world", str(guarded), "--from", "london", "-o", "json"]
    done = CliRunner().invoke(app, ["trace", URL + path, *wanted, *arguments])
    assert done.exit_code == 0, f"{done.output} {done.exception}"
    told = json.loads(done.stdout)
    assert told["security"] == rule + LOGGED
    assert (told["status"] == 403, told["problem"] is None) == (not passes, passes)
    assert (told["site"] == "dublin") is passes


def test_get_shows_a_credential_too(guarded: Path) -> None:
    played = ["--driver", "virtual", "--world", str(guarded)]
    wanted = ["get", f"{URL}/vault/x", "--from", "london", *played]
    refused = CliRunner().invoke(app, wanted)
    assert "popnet-problem: Forbidden: " in refused.stdout
    passed = CliRunner().invoke(app, [*wanted, "--certificate", "alice"])
    assert f"popnet-security: rule 3 require{LOGGED}" in passed.stdout
    assert "popnet-problem" not in passed.stdout


def test_get_as_json(guarded: Path) -> None:
    def got(url: str) -> Result:
        played = ["--driver", "virtual", "--world", str(guarded), "-o", "json"]
        asked = ["get", url, "--from", "London", *played]
        return CliRunner().invoke(app, asked, standalone_mode=False)

    done = got("app.example.com")
    told = json.loads(done.stdout)
    assert (told["url"], told["visitor"]) == ("https://app.example.com/", "london")
    assert (told["status"], told["error"], done.return_value) == (200, None, 0)
    assert ["popnet-tunnel", "app"] in told["headers"]
    nowhere = got("nobody.example.org")
    assert nowhere.return_value == 1
    assert json.loads(nowhere.stdout)["error"] in nowhere.stderr

"""`popnet run` as people call it: figures, files, and an exit code that says whether the assertions held."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.cli.app import Code, Format
from lab.cli.run import run

WORLD = """
popnet: 1
name: two
pops: {LHR: {region: 1}, FRA: {region: 2}}
internet: {rtt_ms: {LHR: {FRA: 14}}}
visitors: [london]
sites: {dublin: {service: hello}}
tunnels: {app: {site: dublin}}
dns: {app.example.com: {tunnel: app}}
load: {rate_per_s: 5, arrivals: constant, url: https://app.example.com/}
assert: ["ASSERTION"]
"""


@pytest.mark.parametrize(
    ("assertion", "code"), [("p95 < 1s", Code.OK), ("requests > 1000", Code.CHECK_FAILED)]
)
def test_the_exit_code_is_that_of_the_assertions(
    assertion: str, code: Code, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out, junit = tmp_path / "world.yaml", tmp_path / "out", tmp_path / "junit.xml"
    file.write_text(WORLD.replace("ASSERTION", assertion))
    returned = run(
        file, "2s", seed=None, tls="flights", out=out, junit_file=junit, output=Format.json
    )
    assert returned == code
    said = json.loads(capsys.readouterr().out)
    assert (said["requests"], said["failed"], said["until_s"]) == (10, 0, 2.0)
    assert said["assertions"][0]["held"] is (code is Code.OK)
    assert len(said["event_log_sha256"]) == 64
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert sum(event["event"] == "request" for event in events) == 10
    assert len((out / "samples.csv").read_text().splitlines()) == 11
    assert b"<testsuite" in junit.read_bytes()

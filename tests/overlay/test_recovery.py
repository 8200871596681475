"""`popnet recovery` in virtual time: kills and cuts are felt, and the same seed tells the same."""

from __future__ import annotations

import json

import pytest

from lab.cli.app import Format
from lab.cli.recovery import Kind, recovery

WORLD = """
popnet: 1
name: three
pops: {LHR: {region: 1}, FRA: {region: 2}, IAD: {region: 1}}
internet: {rtt_ms: {LHR: {FRA: 14, IAD: 76}, FRA: {IAD: 90}}}
anycast: {convergence: 1s}
visitors: [london]
sites: {dublin: {service: hello}}
tunnels: {app: {site: dublin}}
dns: {app.example.com: {tunnel: app}}
"""


def test_kills_are_felt_and_told_the_same_twice(
    tmp_path, capsys: pytest.CaptureFixture[str]
) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "three.yaml"
    file.write_text(WORLD)
    told = []
    for _ in range(2):
        assert recovery(Kind.kill, ["LHR"], count=2, world=file, output=Format.json) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1]
    assert told[0]["driver"] == "virtual"
    assert told[0]["strikes"] == ["kill LHR"]
    for event in told[0]["events"]:
        # London lands at LHR: nobody answers there until the routes have converged.
        assert event["without_s"] > 0.9
        assert event["first_s"] < 10
        assert 0 < event["tunnels_s"] < 30

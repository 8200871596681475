"""Storms end to end, in virtual time: they follow from their seed, and the promises are looked at."""

from __future__ import annotations

import pytest

from lab.chaos import outcome, virtual
from lab.chaos.outcome import loaded
from lab.chaos.storm import CALM_S, storm
from topology.load import parse_world
from topology.plan import Plan

WORLD = """
popnet: 1
name: three
pops: {LHR: {region: 1}, CDG: {region: 1}, NRT: {region: 2}}
internet: {rtt_ms: {LHR: {NRT: 210, CDG: 10}, CDG: {NRT: 215}}, defaults: {rate_mbit: unlimited}}
visitors: [tokyo]
sites: {dublin: {service: hello}, boston: {service: hello}}
tunnels: {app: {site: [dublin, boston]}}
dns: {app.example.com: {tunnel: app}}
"""
FOR_S = CALM_S + 6.0


def test_two_seeds_are_two_storms_and_each_keeps_its_promises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outcome, "RATE_PER_S", 4.0)
    plan = Plan.of(parse_world(WORLD))
    assert storm(loaded(plan, 1), 1, FOR_S) != storm(loaded(plan, 2), 2, FOR_S)
    for seed in (1, 2):
        told = virtual.play(plan, seed, FOR_S)
        assert told.kept, told.promises
        assert told.happenings == len(storm(loaded(plan, seed), seed, FOR_S)) > 0
        assert all(promise.checked for promise in told.promises)

"""Each promise can break, and a broken one is told by name and by exit code."""

from __future__ import annotations

import subprocess
from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab.chaos import real, virtual
from lab.chaos.outcome import outcome
from lab.chaos.promises import Promise, added, agrees, lives, memory, once, right
from lab.cli import chaos as command
from lab.cli.app import Format
from lab.driver import Lab, LabError
from lab.load import Sample
from topology.load import parse_world
from topology.plan import Plan

WHAT = "POST /once/1-7/200"
WORLD = """
popnet: 1
name: two
pops: {LHR: {region: 1}, NRT: {region: 2}}
internet: {rtt_ms: {LHR: {NRT: 210}}, defaults: {rate_mbit: unlimited}}
visitors: [tokyo]
sites: {dublin: {service: hello}, boston: {service: SERVICE}}
tunnels: {app: {site: [dublin, boston]}}
dns: {app.example.com: {tunnel: app}}
"""


def sample(**more: Any) -> Sample:
    url = "https://app.example.com/once/1-7/200"
    told = {"method": "POST", "digest": "right", **more}
    return Sample(
        1.0,
        "tokyo",
        "app.example.com",
        url,
        "",
        200,
        "",
        False,
        200,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        **told,
    )


def lab(answers: dict[str, tuple[int, bytes]], service: str = "hello") -> Lab:
    """One whose nodes answer so, whatever is run in them."""
    plan = Plan.of(parse_world(WORLD.replace("SERVICE", service)))

    def run(node: str, *_: Any, **__: Any) -> Any:
        code, told = answers[node]
        return subprocess.CompletedProcess([], code, told, b"refused")

    return cast(Lab, SimpleNamespace(plan=plan, run=run))


ONCE_EACH = dict.fromkeys(("dublin", "boston"), (0, b'{"POST /once/1-7/200": 1}'))


def test_once_to_each_of_two_sites_is_twice() -> None:
    promise = real._once(lab(ONCE_EACH), [sample()], Counter())
    assert promise.broken == ("POST https://app.example.com/once/1-7/200: 2 times",)
    assert once([sample()], added([{WHAT: 1}, {}])).kept


def test_what_was_noted_before_the_storm_does_not_count() -> None:
    assert real._once(lab(ONCE_EACH), [sample()], Counter({WHAT: 1})).kept


def test_a_service_that_is_silent_afterwards_breaks_one_promise() -> None:
    promise = real._once(lab(ONCE_EACH | {"boston": (1, b"")}), [sample()], Counter())
    assert promise.broken == ("the service of boston does not tell what it was asked: refused",)


def test_another_service_is_refused_before_the_storm() -> None:
    with pytest.raises(LabError, match=r"sites\.boston\.service"):
        real.play(lab(ONCE_EACH, "http://localhost:9000"), 1, 60.0, lambda _: None)


BROKEN = {
    "right": right([sample(digest="answer of another host")]),
    "once": once([sample()], {WHAT: 2}),
    "lives": lives(["LHR pop"], 3),
    "agrees": agrees(["NRT and LHR hold different records"], 2),
    "memory": memory({"LHR pop": 10**8}, {"LHR pop": 10**9}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_named_and_is_exit_code_1(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command._tell([outcome(1, 60.0, 3, [], [BROKEN[name]])], Format.table) == 1
    assert f"BROKEN: {name}" in capsys.readouterr().out


def test_a_held_request_breaks_memory() -> None:
    held = SimpleNamespace(pop=SimpleNamespace(proxy=SimpleNamespace(exchanges=[1])))
    promise = virtual._empty(cast(Any, SimpleNamespace(nodes={"LHR": held})))
    assert promise.broken == ("LHR: 1 exchanges",)


def test_what_was_not_checked_is_not_kept(capsys: pytest.CaptureFixture[str]) -> None:
    command._tell([outcome(1, 60.0, 3, [], [Promise("memory", "", 0)])], Format.table)
    out = capsys.readouterr().out
    assert "not checked: memory" in out
    assert "yes" not in out


@pytest.mark.parametrize("for_", ["1s", "30s"])
def test_a_storm_of_calm_alone_is_refused(for_: str) -> None:
    with pytest.raises(LabError, match="allowed: more than 30s"):
        command.chaos(for_=for_)

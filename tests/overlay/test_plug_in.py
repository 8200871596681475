"""Worlds whose algorithm is a plug-in: used where it works, named where it fails, ended where it does not come back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from lab.cli.app import Code, Format
from lab.cli.run import run
from lab.drivers.virtual import RunAbortedError, VirtualWorld
from lab.drivers.watchdog import Watchdog

from .conftest import SMALL

DETOUR = """
from routing.api import Path


def decide(state):
    routes = {}
    for tunnel, exits in state.tunnels.items():
        ways = [(pops, leave) for leave in exits for pops in state.paths(leave.pop, 1)]
        ways.sort(key=lambda way: ("IAD" not in way[0][1:-1], state.rtt_s(way[0]) + way[1].rtt_s))
        routes[tunnel] = [
            Path(pops, leave.connection, {"place": place}) for place, (pops, leave) in enumerate(ways)
        ]
    return routes
"""


def inline(text: str) -> str:
    return f"{SMALL}routing:\n  algorithm: mine\n  source: |\n{indent(text, '    ')}"


def paths(world: VirtualWorld) -> tuple[str, ...]:
    visit = world.get("san-francisco", "https://app.example.com/")
    assert visit.status == 200, visit.error
    return tuple(visit.header("popnet-path").split(">"))


def failures(world: VirtualWorld) -> list[dict[str, Any]]:
    return [fact for fact in world.events.lines if fact["event"] == "algorithm_failed"]


def test_a_plug_in_decides(make_world: Callable[..., VirtualWorld]) -> None:
    world = make_world(inline(DETOUR))
    assert "IAD" in paths(world)
    assert failures(world) == []


def test_one_that_fails_is_named_and_requests_go_on(
    make_world: Callable[..., VirtualWorld], capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_world(inline("def decide(state):\n    print('noise')\n    return 1 / 0\n"))
    assert "IAD" not in paths(world)
    problems = {fact["problem"] for fact in failures(world)}
    assert problems == {"algorithm 'mine': raised ZeroDivisionError: division by zero"}
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("does", ["while True: pass", "any(zero for zero in iter(int, 1))"])
def test_one_that_does_not_come_back_ends_the_run(
    make_world: Callable[..., VirtualWorld], does: str
) -> None:
    world = make_world(
        inline(
            DETOUR.replace(
                "    routes = {}\n", f"    if state.now > 60:\n        {does}\n    routes = {{}}\n"
            )
        )
    )
    # However long it is given, it never comes back.
    world.watchdog = Watchdog(0.3)
    world.run_for(20.0)
    with pytest.raises(RunAbortedError, match="'mine' has not decided within") as caught:
        world.run_for(600.0)
    assert caught.value.code == 4


def test_the_same_seed_is_the_same_run(make_world: Callable[..., VirtualWorld]) -> None:
    digests = set()
    for _ in range(2):
        world = make_world(
            inline(
                DETOUR.replace(
                    "state.paths(leave.pop, 1)",
                    "sorted(state.paths(leave.pop, 1), key=lambda _: state.rng.random())",
                )
            )
        )
        paths(world)
        world.run_for(30.0)
        digests.add(world.events.sha256())
    assert len(digests) == 1


EXAMPLE = Path(__file__).parents[2] / "examples" / "my_algorithm.py"


def test_the_example_runs_as_the_page_says(make_world: Callable[..., VirtualWorld]) -> None:
    world = make_world(inline(EXAMPLE.read_text()))
    paths(world)
    assert failures(world) == []


RUN = """
popnet: 1
pops: {LHR: {region: 1}, FRA: {region: 2}}
internet: {rtt_ms: {LHR: {FRA: 14}}}
visitors: [london]
sites: {dublin: {service: hello}}
tunnels: {app: {site: dublin}}
dns: {app.example.com: {tunnel: app}}
load: {rate_per_s: 5, arrivals: constant, url: https://app.example.com/}
"""


def test_the_command_takes_a_file_and_names_one_that_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world, mine = tmp_path / "w.yaml", tmp_path / "mine.py"
    world.write_text(RUN)
    mine.write_text("def decide(state):\n    return {'x': 3}\n")
    assert run(world, until="2s", algorithm=str(mine), output=Format.json) == Code.OK
    said = capsys.readouterr()
    figures = json.loads(said.out)
    assert (figures["requests"], figures["failed"]) == (10, 0)
    assert "algorithm 'mine.py': for x: an int, not a list of paths; at FRA, LHR" in said.err

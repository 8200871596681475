"""Labs come up whole and go down without a trace, whoever dies and however."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.driver import Lab

from .conftest import SMALL_WORLD, Popnet

pytestmark = pytest.mark.system


def until(holds: Callable[[], bool], what: str, patience_s: float = 20.0) -> None:
    give_up = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < give_up, f"not within {patience_s} s: {what}"
        time.sleep(0.02)


def up_and_down(popnet: Popnet, world: Path) -> None:
    popnet("up", str(world), "-n", "a", "--detach")
    assert "3/3 PoPs" in popnet("status", "-n", "a")
    assert "1 received" in popnet("exec", "-n", "a", "london", "--", "ping", "-c1", "LHR")
    popnet("exec", "-n", "a", "london", "--", "sh", "-c", "exit 7", code=7)
    body = popnet("curl", "-n", "a", "--from", "london", "https://app.example.com/", "-sS")
    assert "hello from dublin" in body
    popnet("up", str(world), "-n", "a", "--detach", code=2)
    assert "3/3 PoPs" in popnet("status", "-n", "a"), "a refused second lab must not harm the first"
    popnet("down", "-n", "a")
    popnet.assert_nothing_left("a")
    popnet("status", "-n", "a", code=3)
    popnet("down", "-n", "a", code=3)


def test_up_and_down(popnet: Popnet, world: Path) -> None:
    up_and_down(popnet, world)


def test_up_and_down_as_an_ordinary_user(ordinary: Popnet, world: Path) -> None:
    up_and_down(ordinary, world)


def test_two_labs_side_by_side(popnet: Popnet, world: Path) -> None:
    popnet("up", str(world), "-n", "a", "--detach")
    popnet("up", str(world), "-n", "b", "--detach")
    popnet("down", "-n", "a")
    assert "3/3 PoPs" in popnet("status", "-n", "b")
    popnet("down", "-n", "b")
    popnet.assert_nothing_left("a")
    popnet.assert_nothing_left("b")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_end_of_a_lab_in_the_foreground(
    popnet: Popnet, world: Path, number: signal.Signals
) -> None:
    with popnet.popen("up", str(world), "-n", "f") as process:
        assert process.stderr is not None
        while "Ctrl-C ends the lab" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode == 130
    popnet.assert_nothing_left("f")


def test_an_interrupted_start_leaves_nothing(popnet: Popnet, world: Path) -> None:
    with popnet.popen("up", str(world), "-n", "f") as process:
        assert process.stderr is not None
        while "starting" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    popnet.assert_nothing_left("f")


def test_a_lab_in_the_foreground_does_not_outlive_a_killed_command(
    popnet: Popnet, world: Path
) -> None:
    with popnet.popen("up", str(world), "-n", "f") as process:
        assert process.stderr is not None
        while "Ctrl-C ends the lab" not in process.stderr.readline():
            assert process.poll() is None
        process.kill()
        process.communicate(timeout=30)
    until(lambda: not popnet.run_dir("f").processes(), "every process has ended")
    popnet.assert_nothing_left("f")


def test_all_or_nothing(popnet: Popnet, base: Path) -> None:
    world = base.with_name("broken.yaml")
    world.write_text(
        SMALL_WORLD.replace("hello", "{command: 'false', url: 'http://localhost:8000'}")
    )
    popnet("up", str(world), "-n", "bad", code=4)
    popnet.assert_nothing_left("bad")


def test_a_wrong_world_starts_nothing(popnet: Popnet, base: Path) -> None:
    world = base.with_name("wrong.yaml")
    world.write_text(SMALL_WORLD.replace("visitors:", "visitor:"))
    popnet("up", str(world), "-n", "bad", code=2)
    popnet.assert_nothing_left("bad")


@pytest.mark.parametrize("who", ["supervisor", "zygote"])
def test_nothing_outlives_a_killed_parent(popnet: Popnet, world: Path, who: str) -> None:
    popnet("up", str(world), "-n", "k", "--detach")
    lab = Lab(popnet.run_dir("k"))
    status = lab.status()
    nodes = [node["pid"] for node in status["nodes"]]
    programs = [one["pid"] for node in status["nodes"] for one in node["programs"]]
    if who == "supervisor":
        victim = status["pid"]
    else:
        (victim,) = {_parent(pid) for pid in nodes}
    os.kill(victim, signal.SIGKILL)
    until(lambda: not any(_alive(pid) for pid in [*nodes, *programs]), "every node has ended")
    popnet("down", "-n", "k")
    popnet.assert_nothing_left("k")


def test_down_finds_what_left_its_family(popnet: Popnet, world: Path) -> None:
    """A program that made itself a daemon inside a node is no child of anything in the lab any more."""
    popnet("up", str(world), "-n", "d", "--detach")
    popnet("exec", "-n", "d", "london", "--", "sh", "-c", "setsid sleep 300 >/dev/null 2>&1 &")
    supervisor = Lab(popnet.run_dir("d")).status()["pid"]
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not _alive(supervisor), "the supervisor has ended")
    assert popnet.run_dir("d").processes() != []
    popnet("down", "-n", "d")
    popnet.assert_nothing_left("d")


def _alive(pid: int) -> bool:
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _parent(pid: int) -> int:
    return int(Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[1])


def test_the_timeline_reaches_nodes_and_links(popnet: Popnet, base: Path) -> None:
    world = base.with_name("timeline.yaml")
    world.write_text(
        SMALL_WORLD
        + """
timeline:
  - {at: 100ms, for: 300ms, kill: IAD}
  - {at: 200ms, for: 200ms, pause: dublin}
  - {at: 100ms, set: {from: LHR, to: FRA, rtt_ms: 60}}
"""
    )
    popnet("up", str(world), "-n", "t", "--detach")
    lab = Lab(popnet.run_dir("t"))
    wanted = {
        ("IAD", "node_kill"),
        ("IAD", "program_exited"),
        ("IAD", "node_start"),
        ("IAD", "announced"),
        ("dublin", "node_pause"),
        ("dublin", "node_resume"),
    }
    until(
        lambda: wanted <= {(event["node"], event["event"]) for event in lab.events()},
        "all that the timeline says",
    )
    (link,) = lab.wan("links", pairs=[["FRA", "LHR"]])["links"]
    assert link["current"]["one_way_s"] == 0.03
    popnet("down", "-n", "t")
    popnet.assert_nothing_left("t")


def test_a_node_can_be_started_after_the_zygote_died(popnet: Popnet, world: Path) -> None:
    popnet("up", str(world), "-n", "z", "--detach")
    lab = Lab(popnet.run_dir("z"))
    os.kill(_parent(lab.node_pid("london")), signal.SIGKILL)
    until(lambda: all(node["pid"] is None for node in lab.status()["nodes"]), "all nodes are lost")
    for node in ("LHR", "london"):
        popnet("start", node, "-n", "z")
    assert "1 received" in popnet("exec", "-n", "z", "london", "--", "ping", "-c1", "-W2", "LHR")
    popnet("down", "-n", "z")
    popnet.assert_nothing_left("z")

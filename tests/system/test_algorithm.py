"""Plug-ins in processes of their own: one that breaks is named and ended, and the PoP goes on."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from pops.config import Overlay, PopConfig, Routing, Visitors
from pops.drivers.algorithm import AlgorithmRunner, State, chosen
from routing.api import Exit, MeasuredLink
from routing.table import RouteTable
from runtime.clock import monotonic
from runtime.events import EventLog

pytestmark = pytest.mark.system

RELAY = """
from routing.api import Path


def decide(state):
    {does}
    cost = {{"overlay": state.rtt_s(("A", "C", "B"))}}
    return {{"app": [Path(("A", "C", "B"), "c0", cost)]}}
"""
PATIENCE_S = 20.0


class Rig:
    """A PoP's table and what runs its plug-in; `changes` are counted by reason."""

    def __init__(self, directory: Path, text: str) -> None:
        file = directory / "mine.py"
        file.write_text(text)
        self.log = directory / "events.jsonl"
        config = PopConfig(
            name="A",
            address="127.0.0.1",
            visitors=Visitors(addresses=[]),
            overlay=Overlay(certificate="", ca=""),
            routing=Routing(algorithm="mine.py", plugin=str(file)),
        )
        self.table = RouteTable("A", chosen(config, None), {}, max_relays=4, rng=random.Random(1))
        ways = (("A", "B", 0.3), ("A", "C", 0.1), ("C", "B", 0.1))
        self.table.set_links([MeasuredLink(a, b, rtt) for a, b, rtt in ways])
        self.table.set_exits({"app": [Exit("B", "c0", 0.010)]})
        self.news = asyncio.Event()
        self.runner = AlgorithmRunner(
            config,
            self.table,
            done=lambda _: self.news.set(),
            events=EventLog(str(self.log), "A"),
            clock=monotonic,
        )

    @property
    def best(self) -> tuple[str, ...]:
        return self.table.routes("app")[0].pops

    def failures(self) -> list[str]:
        facts = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [fact["problem"] for fact in facts if fact["event"] == "algorithm_failed"]

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                self.news.clear()
                await self.news.wait()

    async def decided(self) -> None:
        """Compute once more, and wait for what comes of it."""
        before = self.table.snapshot(0.0).computed_at
        self.runner.run(monotonic())
        await self.until(
            lambda: (
                self.table.snapshot(0.0).computed_at != before
                and self.runner.state is not State.asked
            )
        )


def play(directory: Path, does: str, scene: Callable[[Rig], object]) -> None:
    async def run() -> None:
        rig = Rig(directory, RELAY.format(does=does))
        try:
            await scene(rig)  # type: ignore[misc]
        finally:
            rig.runner.stop()
            await rig.runner.ended()

    asyncio.run(run())


def test_a_plug_in_decides_in_a_process_of_its_own(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        rig.runner.run(monotonic())
        assert rig.best == ("A", "B"), "direct, until it is loaded"
        await rig.until(lambda: rig.best == ("A", "C", "B"))
        assert rig.table.error is None
        assert rig.failures() == []

    play(tmp_path, "print('noise on stdout')", scene)


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("while True: pass", "has not decided within 1 s"),
        ("import os; os._exit(3)", "has ended its process (exit 3)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "(exit -9)"),
        ("import os; [os.write(fd, b'x' * 64) for fd in range(3, 9)]", "answers with"),
        ("1 / 0", "raised ZeroDivisionError: division by zero"),
    ],
)
def test_one_that_breaks_at_its_second_decision_leaves_the_last_good_table(
    tmp_path: Path, does: str, said: str
) -> None:
    async def scene(rig: Rig) -> None:
        rig.runner.run(monotonic())
        await rig.until(lambda: rig.best == ("A", "C", "B"))
        await rig.decided()
        assert rig.best == ("A", "C", "B")
        assert rig.table.error is not None
        assert "'mine.py'" in rig.table.error
        (problem,) = rig.failures()
        assert said in problem
        # What it said holds no longer: direct then, though the plug-in is gone or fails again.
        rig.table.set_links([MeasuredLink("A", "B", 0.3)])
        rig.runner.run(monotonic())
        await rig.until(lambda: rig.best == ("A", "B"))

    play(tmp_path, f"if state.seq > 2:\n        {does}", scene)


def test_one_that_is_slow_is_ended_at_the_third_time(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        rig.runner.run(monotonic())
        # A late answer is taken.
        await rig.until(lambda: rig.best == ("A", "C", "B"))
        await rig.decided()
        assert rig.failures() == []
        await rig.decided()
        (problem,) = rig.failures()
        assert "is slow" in problem
        assert rig.best == ("A", "C", "B")
        assert rig.runner.state is State.resting

    play(tmp_path, "import time; time.sleep(0.08)", scene)


def test_one_that_was_ended_comes_back(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        rig.runner.run(monotonic())
        await rig.until(lambda: bool(rig.failures()))
        await rig.until(lambda: rig.table.error is None)
        assert rig.best == ("A", "C", "B")

    mark = tmp_path / "been"
    play(
        tmp_path,
        f"import os, pathlib; been = pathlib.Path({str(mark)!r})\n"
        "    if not been.exists():\n        been.touch(); os._exit(1)",
        scene,
    )


def test_a_file_that_is_no_algorithm_is_not_tried_again(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        rig.runner.run(monotonic())
        await rig.until(lambda: rig.runner.state is State.broken)
        rig.runner.run(monotonic())
        (problem,) = rig.failures()
        assert "raised" not in problem
        assert "mine.py:6: " in problem
        assert rig.best == ("A", "B")

    play(tmp_path, "this is no Python", scene)

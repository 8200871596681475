"""The lab's side of asking, with a stand-in for the process inside a visitor."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import subprocess
import sys
from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab import load_real
from lab.load import Sample
from lab.load_real import Asking
from topology.load import parse_world
from topology.plan import Plan

PLAN = Plan.of(
    parse_world("""
popnet: 1
pops: [LHR, IAD]
visitors: [tokyo]
sites: {dublin: {service: hello}}
tunnels: {app: {site: dublin}}
dns: {app.example.com: {tunnel: app}}
load: {rate_per_s: 10, arrivals: constant, url: "https://app.example.com/", timeout: 5s}
""")
)

# One request is over at once; another is under way when it is told to ask for nothing more. A line is one write, also
# where output is unbuffered.
PROGRAM = r"""
import sys
for line in ("ready", *sys.argv[1:]):
    sys.stdin.readline()
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
"""


def sample(t_s: float) -> Sample:
    return Sample(t_s, "tokyo", "h", "u", "LHR", 200, "", False, 1, 0, 0, 0, 0.1, 0.1)


def lab(directory: Path) -> Any:
    def popen(visitor: str, command: list[str], **pipes: Any) -> subprocess.Popen[bytes]:
        lines = [json.dumps(asdict(sample(t_s))) for t_s in (0.0, 0.1)]
        return subprocess.Popen([sys.executable, "-c", PROGRAM, *lines], **pipes)

    return SimpleNamespace(
        visitor=lambda name: name, popen=popen, dir=SimpleNamespace(pki=directory)
    )


@pytest.fixture
def interrupting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, as soon as the first request is over."""
    rest = Asking.rest

    def interrupted(self: Asking) -> list[Sample]:
        if self.collected:
            return rest(self)
        while not self.collected:
            self.collect(self.now_s + 0.02)
        raise KeyboardInterrupt

    monkeypatch.setattr(Asking, "rest", interrupted)


@pytest.mark.usefixtures("interrupting")
def test_an_interrupted_load_keeps_what_came_and_waits_for_what_is_under_way(
    tmp_path: Path,
) -> None:
    told: list[float] = []
    found = load_real.send(lab(tmp_path), PLAN, 600.0, on_interrupt=told.append)
    assert found == [sample(0.0), sample(0.1)]
    assert len(told) == 1


@pytest.mark.usefixtures("interrupting")
def test_who_does_not_want_to_be_told_is_interrupted(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_real.send(lab(tmp_path), PLAN, 600.0)


def test_the_asking_process_leaves_ctrl_c_to_the_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(main: Coroutine[Any, Any, None]) -> None:
        main.close()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN

    monkeypatch.setattr(asyncio, "run", run)
    monkeypatch.setattr(sys, "stdin", io.StringIO("{}"))
    before = signal.getsignal(signal.SIGINT)
    try:
        load_real.main()
    finally:
        signal.signal(signal.SIGINT, before)

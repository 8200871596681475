"""`popnet run` as people call it: figures, files, and an exit code that says whether the assertions held."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from lab.cli import load_watch
from lab.cli.app import Code, Format
from lab.cli.bringing import By
from lab.cli.load_watch import Watch
from lab.cli.run import run
from lab.driver import LabError
from lab.drivers.virtual_run import Course

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


@pytest.fixture
def world(tmp_path: Path) -> Path:
    file = tmp_path / "world.yaml"
    file.write_text(WORLD.replace("ASSERTION", "p95 < 1s"))
    return file


def no_run(*_: object, **__: object) -> None:
    raise AssertionError("nothing may run before that")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"out": "file"}, "--out: found '.*file'.* Not a directory; allowed: a directory"),
        ({"out": "file/deeper"}, "--out: found '.*deeper'.* Not a directory"),
        ({"junit_file": "nowhere/a.xml"}, "--junit: found '.*a.xml'.* No such file or directory"),
        ({"junit_file": "directory"}, "--junit: found '.*directory'.* Is a directory"),
    ],
)
@pytest.mark.parametrize("driver", [By.virtual, By.local])
def test_where_nothing_can_be_written_nothing_is_run(
    options: dict[str, str],
    said: str,
    driver: By,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    monkeypatch.setattr("lab.drivers.virtual_run.play", no_run)
    monkeypatch.setattr("lab.cli.bringing.in_a_lab", no_run)
    paths: dict[str, Any] = {name: tmp_path / path for name, path in options.items()}
    with pytest.raises(LabError, match=said):
        run(world, "2s", driver=driver, **paths)


def test_real_packets_choose_no_tls(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.cli.bringing.in_a_lab", no_run)
    with pytest.raises(LabError, match="--tls: not with --driver local"):
        run(world, "2s", driver=By.local, tls="real")


def test_a_world_without_load_says_so(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = world.read_text().splitlines()
    world.write_text("\n".join(line for line in text if not line.startswith("load:")))
    # What it asserts was not measured.
    assert run(world, "1s") == Code.CHECK_FAILED
    assert "this world has no `load`: nobody asks anything" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_sums_up_what_there_was(
    number: signal.Signals,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    begin = Watch.begin

    def begin_and_send(self: Watch, course: Course) -> None:
        begin(self, course)
        course._world.loop.call_later(1.0, os.kill, os.getpid(), number)

    monkeypatch.setattr(Watch, "begin", begin_and_send)
    before = signal.getsignal(number)
    out, junit = tmp_path / "out", tmp_path / "junit.xml"
    assert run(world, "600s", out=out, junit_file=junit) == Code.INTERRUPTED
    assert signal.getsignal(number) is before
    said = capsys.readouterr()
    assert "interrupted at 1.0 s" in said.out
    assert "interrupted at 1.0 s" in said.err
    summary = json.loads((out / "summary.json").read_text())
    assert summary["interrupted_s"] == pytest.approx(1.0, abs=0.05)
    assert summary["requests"] == len((out / "samples.csv").read_text().splitlines()) - 1 > 0
    assert b'failures="1"' in junit.read_bytes()


def test_a_terminal_is_told_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    written = threading.Event()

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

        def flush(self) -> None:
            written.set()

    class Halfway:
        now_s, until_s = 1200.4, 3600.0

    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(load_watch, "_EVERY_S", 0.0)
    with Watch() as watch:
        watch.begin(Halfway())  # type: ignore[arg-type]
        assert written.wait(10)
    assert "... 1200 of 3600 s" in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[K")

"""Where labs live, and how what belongs to one is found."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lab.rundir import BASE_VARIABLE, RUN_VARIABLE, RunDir, RunDirError, labs, serving


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(BASE_VARIABLE, str(tmp_path / "labs"))
    monkeypatch.delenv(RUN_VARIABLE, raising=False)
    return tmp_path / "labs"


def test_the_base_can_be_chosen_and_is_that_of_the_lab_one_is_in(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert RunDir.of("x").path == base / "x"
    monkeypatch.delenv(BASE_VARIABLE)
    monkeypatch.setenv(RUN_VARIABLE, "/somewhere/labs/other")
    assert RunDir.of("x").path == Path("/somewhere/labs/x")


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "x" * 33, "a b"])
def test_names_that_are_no_directory_are_refused(name: str) -> None:
    with pytest.raises(RunDirError):
        RunDir.of(name)


def test_a_directory_is_made_once_and_for_its_owner(base: Path) -> None:
    run = RunDir.of("x")
    run.create()
    assert run.path.stat().st_mode & 0o077 == 0
    assert labs() == [run]
    with pytest.raises(RunDirError, match="exists already"):
        run.create()


def test_a_base_that_is_a_link_to_elsewhere_is_refused(base: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    base.symlink_to(tmp_path / "target")
    with pytest.raises(RunDirError, match="not a directory of this user"):
        RunDir.of("x").create()


def test_paths_that_are_too_long_for_sockets_are_refused(tmp_path: Path) -> None:
    run = RunDir(tmp_path / ("x" * 100))
    with pytest.raises(RunDirError, match="too long"):
        run.check_lengths(["NRT"])


def sleeper(run: RunDir) -> subprocess.Popen[bytes]:
    """A process that carries the mark of a lab, and says when it runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)"],
        env={**os.environ, RUN_VARIABLE: str(run.path)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_sweep_ends_the_processes_of_this_lab_and_of_no_other() -> None:
    run, other = RunDir.of("x"), RunDir.of("x2")
    run.create()
    with sleeper(run) as ours, sleeper(other) as theirs:
        try:
            assert run.processes() == [ours.pid]
            assert run.sweep() == [ours.pid]
            assert ours.wait() == -9
            assert theirs.poll() is None
            assert not run.path.exists()
        finally:
            ours.kill()
            theirs.kill()


def test_only_labs_that_answer_are_served(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("left", "lives"):
        RunDir.of(name).create()
    with socket.socket(socket.AF_UNIX) as left, socket.socket(socket.AF_UNIX) as lives:
        for door, name in ((left, "left"), (lives, "lives")):
            # A test's directory may be longer than the path of a socket.
            monkeypatch.chdir(RunDir.of(name).path)
            door.bind("lab.sock")
            door.listen()
        left.close()
        monkeypatch.chdir(base)
        monkeypatch.setattr("lab.rundir.base", lambda: Path())
        assert [run.name for run in labs()] == ["left", "lives"]
        assert [run.name for run in serving()] == ["lives"]

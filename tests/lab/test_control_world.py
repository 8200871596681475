"""What the containers of a lab find in their volume, and what a second look at it leaves alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from lab import control_world
from lab.rundir import RunDir
from topology.load import load_world
from topology.plan import Plan
from wan.agent.config import load

WORLD = """
popnet: 1
name: w
pops: {LHR: {region: 1}, FRA: {region: 2}}
visitors: [london]
sites: {dublin: {service: hello}}
tunnels: {app: {site: dublin}}
dns: {app.example.com: {tunnel: app}}
"""


def plan(directory: Path, text: str = WORLD) -> Plan:
    (directory / "w.yaml").write_text(text)
    return Plan.of(load_world(directory / "w.yaml"))


@pytest.fixture
def run() -> Iterator[RunDir]:
    """Short, for the paths of Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="pn-") as base:
        yield RunDir(Path(base) / "w")


def test_everything_that_nodes_read(tmp_path: Path, run: RunDir) -> None:
    assert "4 nodes" in control_world.prepare(plan(tmp_path), run)
    assert Plan.from_json(run.world.read_bytes()).name == "w"
    assert load(run.node("LHR") / "agent.json").wan == str(run.wan_socket)
    assert (run.pki / "overlay-FRA.pem").exists()
    assert (run.pki / "ca.pem").read_text() in (run.etc / "ca-bundle.pem").read_text()
    assert msgspec.json.decode((run.node("FRA") / "config.json").read_bytes())["name"] == "FRA"


def test_the_same_world_stays_as_it_is(tmp_path: Path, run: RunDir) -> None:
    control_world.prepare(plan(tmp_path), run)
    authority = (run.pki / "ca.pem").read_bytes()
    assert "already" in control_world.prepare(plan(tmp_path), run)
    assert (run.pki / "ca.pem").read_bytes() == authority


def test_another_world_replaces_it(tmp_path: Path, run: RunDir) -> None:
    control_world.prepare(plan(tmp_path), run)
    (run.node("LHR") / "agent.sock").touch()
    changed = WORLD.replace("[london]", "[london, tokyo]")
    control_world.prepare(plan(tmp_path, changed), run)
    assert (run.node("tokyo") / "agent.json").exists()
    assert not (run.node("LHR") / "agent.sock").exists()


def test_what_an_interrupted_preparation_left_is_made_anew(tmp_path: Path, run: RunDir) -> None:
    run.path.mkdir()
    (run.path / "world.json").write_text("{")
    control_world.prepare(plan(tmp_path), run)
    assert Plan.from_json(run.world.read_bytes()).name == "w"

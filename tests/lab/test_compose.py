"""The compose file: held to the world file it is made from, and to what a node may have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lab import code, compose, rundir
from topology.load import load_world
from topology.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
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


def parsed(text: str) -> dict[str, Any]:
    document: dict[str, Any] = YAML(typ="safe").load(text)
    return document


@pytest.fixture(scope="module")
def committed() -> str:
    return (ROOT / "docker-compose.yml").read_text()


def test_the_committed_file_is_what_the_generator_makes(committed: str) -> None:
    world = ROOT / "topology.yaml"
    made = compose.text(Plan.of(load_world(world)), world, ROOT, ROOT)
    assert made == committed, "run `popnet compose`"


def test_a_node_has_its_door_to_the_wan_and_nothing_else(committed: str) -> None:
    services = parsed(committed)["services"]
    nodes = [one for one in services.values() if compose.NODE_LABEL in one.get("labels", {})]
    assert len(nodes) == 17
    for node in nodes:
        assert node["network_mode"] == "none"
        assert node["cap_add"] == ["NET_ADMIN"]
        assert node["devices"] == ["/dev/net/tun"]
        assert not {"ports", "privileged", "networks"} & node.keys()


def test_nobody_is_privileged_or_holds_the_engine(committed: str) -> None:
    assert "docker.sock" not in committed
    services = parsed(committed)["services"]
    assert not [name for name, one in services.items() if "privileged" in one]
    connected = [name for name, one in services.items() if one.get("network_mode") != "none"]
    assert [name for name in connected if "profiles" not in services[name]] == ["lab"]
    for port in services["lab"]["ports"]:
        assert port.startswith("127.0.0.1:")


def test_only_attaching_needs_root(committed: str) -> None:
    for name, one in parsed(committed)["services"].items():
        if "profiles" not in one:
            is_node = compose.NODE_LABEL in one["labels"]
            assert one["user"] == ("root" if is_node else compose.USER), name


def test_a_world_elsewhere(tmp_path: Path) -> None:
    made = compose.text(plan(tmp_path), tmp_path / "w.yaml", tmp_path, ROOT)
    services = parsed(made)["services"]
    assert set(services) >= {"world", "wan", "lab", "LHR", "FRA", "london", "dublin"}
    assert "./w.yaml:/world/w.yaml:ro" in services["world"]["volumes"]
    assert services["world"]["command"][-1] == "/world/w.yaml"
    assert services["LHR"]["command"][-1] == "/run/lab/w/nodes/LHR/agent.json"


def test_a_matrix_comes_along(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(",LHR,FRA\nLHR,0,14\nFRA,14,0\n")
    made_of = plan(tmp_path, WORLD + "internet: {rtt_csv: m.csv}\n")
    made = compose.text(made_of, tmp_path / "w.yaml", tmp_path, ROOT)
    assert "./m.csv:/world/m.csv:ro" in parsed(made)["services"]["world"]["volumes"]


def test_an_algorithm_comes_along(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def decide(state):\n    return {}\n")
    made_of = plan(tmp_path, WORLD + "routing: {algorithm: mine.py}\n")
    made = compose.text(made_of, tmp_path / "w.yaml", tmp_path, ROOT)
    assert "./mine.py:/world/mine.py:ro" in parsed(made)["services"]["world"]["volumes"]
    made_of = plan(tmp_path, WORLD + "routing: {algorithm: other.py, source: 'x = 1'}\n")
    made = compose.text(made_of, tmp_path / "w.yaml", tmp_path, ROOT)
    assert "other.py" not in made


@pytest.mark.parametrize("name", ["World", "prometheus"])
def test_names_that_containers_of_the_lab_have(tmp_path: Path, name: str) -> None:
    text = WORLD.replace("[london]", f"{{{name}: {{at: [51.5, 0]}}}}")
    with pytest.raises(compose.ComposeError, match=name):
        compose.containers(plan(tmp_path, text), compose.run_dir("w"), "/w.yaml")


def test_the_mark_of_the_code_follows_the_code(tmp_path: Path) -> None:
    for package in code.PACKAGES:
        (tmp_path / package).mkdir()
    (tmp_path / code.LOCK).write_text("")
    (tmp_path / "lab" / "one.py").write_text("1")
    before = code.mark(tmp_path)
    (tmp_path / "lab" / "__pycache__").mkdir()
    (tmp_path / "lab" / "__pycache__" / "one.pyc").write_text("x")
    assert code.mark(tmp_path) == before
    (tmp_path / "lab" / "one.py").write_text("2")
    assert code.mark(tmp_path) != before


def test_the_image_holds_what_the_mark_covers() -> None:
    kept = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    ]
    assert set(kept) == {*code.PACKAGES, code.LOCK, "topology.yaml"}
    copied = [
        line.split()[1]
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
    ]
    assert set(copied) == set(kept)


def test_no_process_of_a_container_is_taken_for_one_of_a_local_lab(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`popnet down` ends whatever carries the path of a local lab, and containers' processes are seen from outside."""
    for variable in (rundir.BASE_VARIABLE, rundir.RUN_VARIABLE, "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(variable, raising=False)
    for user in (0, 1000):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert rundir.RunDir.of("a").path != compose.run_dir("a").path

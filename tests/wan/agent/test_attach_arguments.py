"""`python -m wan.attach`: what it accepts on its command line and in its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from wan import attach
from wan.agent.config import AgentConfig, ConfigError, Program, dump, load


def test_a_file_round_trips(tmp_path: Path) -> None:
    config = AgentConfig(
        node="NRT",
        address="100.64.0.7",
        anycast=("198.18.0.1",),
        wan="wan.sock",
        programs=(Program(name="pop", entry="pops.__main__:main", environment={"A": "b"}),),
    )
    path = tmp_path / "agent.json"
    path.write_bytes(dump(config))
    assert load(path) == config


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "agent.json"),
        ('{"node": "NRT", "address": "100.64.0.7"}', "wan"),
        ('{"node": "NRT", "address": "a", "wan": "w", "anicast": []}', "anicast"),
        ('{"node": "NRT", "address": "a", "wan": "w", "mtu": "big"}', "mtu"),
    ],
)
def test_a_wrong_file_is_refused_with_what_is_wrong(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "agent.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "agent.json")


def test_a_wrapper_needs_node_address_wan_and_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert attach.main(["--node", "tokyo"]) == 2
    said = capsys.readouterr().err
    assert "--address" in said
    assert "--wan" in said
    assert "COMMAND" in said

"""docs/load.md and what it describes are of one mind: every key, every metric, and its examples are right."""

from __future__ import annotations

import re
from pathlib import Path

from topology.assertions import METRICS
from topology.load import parse_world
from topology.model_load import Load

PAGE = (Path(__file__).parents[2] / "docs" / "load.md").read_text("utf-8")
WORLD = """
popnet: 1
pops: [LHR, FRA]
visitors: [tokyo]
sites: {dublin: {service: hello}}
tunnels: {app: {site: dublin}}
dns: {app.example.com: {tunnel: app}}
"""


def rows(section: str) -> str:
    """The first cells of the table in a section."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return " ".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))


def test_every_key_of_load_is_described_and_no_other() -> None:
    assert re.findall(r"`([a-z_]+)`", rows("`load`")) == list(Load.__struct_fields__)


def test_every_metric_is_described_and_no_other() -> None:
    assert set(re.findall(r"`([a-z_]+)", rows("`assert`"))) == set(METRICS)


def test_its_example_is_a_world() -> None:
    example = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0]
    world = parse_world(WORLD + example)
    assert world.load is not None
    assert len(world.assert_) == 3

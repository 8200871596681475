"""The page about hardening names every limit with its default and a metric, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pops.config import Limits, Timeouts
from topology.load import parse_world

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "hardening.md").read_text()
METRICS = (ROOT / "pops" / "drivers" / "metrics.py").read_text()
EVENTS = {"overlay_nonsense", "overlay_stranger", "visitor_penalty"}
PARTS = {"limits": Limits(), "timeouts": Timeouts()}
UNITS = {"KiB": 1024, "GiB": 1024**3}
KEY = re.compile(r"`(?:(limits|timeouts)\.)?([a-z_0-9]+)`")


def table() -> dict[str, tuple[float, str]]:
    """`limits.penalty` and so on: the default that the page says, and the cell of metrics."""
    found: dict[str, tuple[float, str]] = {}
    for line in PAGE.splitlines():
        if not re.match(r"\| `(limits|timeouts)\.", line):
            continue
        keys, default, _, metrics = (cell.strip() for cell in line.strip("|").split(" | "))
        part = ""
        names = []
        for said, name in KEY.findall(keys):
            part = said or part
            names.append(f"{part}.{name}")
        numbers = re.findall(r"(\d+(?:,\d{3})*(?:\.\d+)?)(?: (KiB|GiB))?", default)
        assert len(numbers) == len(names), line
        for name, (number, unit) in zip(names, numbers, strict=True):
            assert name not in found, f"{name} twice"
            found[name] = (float(number.replace(",", "")) * UNITS.get(unit, 1), metrics)
    return found


def metrics_of(cell: str) -> list[str]:
    return [name for name in re.findall(r"`([a-z_0-9]+)(?:\{[^`]*)?`", cell) if name not in EVENTS]


@pytest.mark.parametrize("name", Limits.__struct_fields__)
def test_every_limit_is_there_with_its_default_and_a_metric(name: str) -> None:
    default, metrics = table()[f"limits.{name}"]
    assert default == getattr(PARTS["limits"], name)
    assert metrics_of(metrics), "no metric"


def test_every_key_exists_and_has_that_default() -> None:
    for key, (default, _) in table().items():
        part, name = key.split(".")
        assert default == getattr(PARTS[part], name), key
    for part, name in re.findall(r"`(limits|timeouts)\.([a-z_0-9]+)`", PAGE):
        assert name in PARTS[part].__struct_fields__, name


def test_every_timeout_is_told() -> None:
    rest = dict(re.findall(r"`timeouts\.([a-z_]+)`\s\(([0-9.]+) s\)", PAGE))
    for name in Timeouts.__struct_fields__:
        if f"timeouts.{name}" not in table():
            assert float(rest[name]) == getattr(PARTS["timeouts"], name), name


def test_every_metric_exists() -> None:
    """Also of what is fixed. A cell may name another row's limit instead."""
    rows = [
        line.split("|")[4] for line in PAGE.splitlines() if re.match(r"\| (`|fixed|not|hear)", line)
    ]
    named = {name for row in rows for name in metrics_of(row)} - set(Limits.__struct_fields__)
    assert len(named) > 12
    for name in named:
        assert f'"popnet_pop_{name}"' in METRICS, name
    for limit in re.findall(r'\{limit="([a-z_]+)"\}', PAGE):
        assert f'"limit": "{limit}"' in METRICS, limit


def test_the_example_is_a_part_of_a_world() -> None:
    """Its keys are those of the world file, and it changes something."""
    examples = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert examples
    for text in examples:
        world = parse_world("popnet: 1\npops: [LHR, FRA]\n" + text)
        assert world.limits.penalty == 60.0
        assert world.timeouts.response_head == 30.0

"""The page about hardening names every limit, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

from pops.config import Limits, Timeouts

PAGE = (Path(__file__).parents[2] / "docs" / "hardening.md").read_text()
# Of retries, which are no defence.
ELSEWHERE = {"attempts", "retry_share", "retries_per_s", "keep_bytes"}


def test_every_limit_is_there() -> None:
    for name in set(Limits.__struct_fields__) - ELSEWHERE:
        assert f"`limits.{name}`" in PAGE or f"`{name}`" in PAGE, name


def test_every_key_exists() -> None:
    for part, name in re.findall(r"`(limits|timeouts)\.([a-z_0-9]+)`", PAGE):
        assert name in (Limits if part == "limits" else Timeouts).__struct_fields__, name


def test_every_metric_exists() -> None:
    source = (Path(__file__).parents[2] / "pops" / "drivers" / "metrics.py").read_text()
    rows = [line.split("|")[4] for line in PAGE.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([a-z_0-9]+)(?:\{[^`]*)?`", row)}
    assert len(named) > 8
    for name in named - {"overlay_nonsense", "overlay_stranger", "visitor_penalty"}:
        assert f'"popnet_pop_{name}"' in source, name

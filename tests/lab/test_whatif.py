"""Flips of a route that a plug-in decided, found outside of its PoP."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from lab import whatif

RTTS = {("A", "B"): 300.0, ("A", "C"): 100.0, ("C", "B"): 120.0}
GRAPH = {
    "me": "A",
    "pops": {pop: {"load": 0.0, "age_s": 0.0} for pop in "ABC"},
    "links": [
        {
            "from": a,
            "to": b,
            "rtt_ms": RTTS.get((a, b)) or RTTS[b, a],
            "jitter_ms": 0.0,
            "loss_pct": 0.0,
            "samples": 5,
            "age_s": 1.0,
        }
        for a, b in permutations("ABC", 2)
    ],
}
EXITS: list[Any] = [
    {"pop": "B", "connection": "c0", "rtt_ms": 10.0, "load": 0.0, "draining": False}
]
EXAMPLE = (Path(__file__).parents[2] / "examples/my_algorithm.py").read_text()


def told(*paths: tuple[Any, dict[str, float]]) -> dict[str, Any]:
    return {
        "me": "A",
        "tunnel": "app",
        "params": {},
        "problem": "the algorithm has no answer",
        "damping": {"min_gain_pct": 5.0, "min_gain_ms": 0.0, "hold_s": 10.0, "young": False},
        "flips": [],
        "pending": None,
        "candidates": [
            {"path": list(pops), "connection": "c0", "chosen": not rank, "terms_ms": terms}
            for rank, (pops, terms) in enumerate(paths)
        ],
    }


RELAYED = told(
    ("ACB", {"overlay": 220.0, "hops": 1.0, "load": 0.0, "last_leg": 10.0}),
    ("AB", {"overlay": 300.0, "hops": 0.0, "load": 0.0, "last_leg": 10.0}),
)


def test_what_flips_it_is_found_by_running_the_file() -> None:
    found = whatif.completed(RELAYED, "mine.py", EXAMPLE, GRAPH, EXITS)
    assert found["problem"] is None
    rises = {tuple(flip["link"]): flip["change_ms"] for flip in found["flips"]}
    assert rises[("A", "C")] == pytest.approx(310 / 0.95 - 231, abs=0.01)
    assert rises[("A", "B")] == pytest.approx(-(79 + 0.05 * 231), abs=0.01)
    assert {tuple(flip["to"]) for flip in found["flips"]} == {("A", "B")}


def test_nothing_is_claimed_of_one_that_decides_by_its_memory() -> None:
    other_way = told(
        *((tuple(row["path"]), row["terms_ms"]) for row in RELAYED["candidates"][::-1])
    )
    found = whatif.completed(other_way, "mine.py", EXAMPLE, GRAPH, EXITS)
    assert "remembers" in found["problem"]
    assert found["flips"] == []


def test_a_broken_file_is_a_problem() -> None:
    found = whatif.completed(RELAYED, "mine.py", "import nothing_of_the_kind", GRAPH, EXITS)
    assert found["problem"].startswith("mine.py:1: ModuleNotFoundError")


def test_one_that_loops_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whatif, "_PATIENCE_S", 0.2)
    loops = """
def decide(state):
    while True:
        try:
            while True:
                pass
        except Exception:
            pass
"""
    found = whatif.completed(RELAYED, "mine.py", loops, GRAPH, EXITS)
    assert found["problem"] == "the plug-in did not come back within 0.2 s"

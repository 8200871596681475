"""Routes of a running lab, explained; and a link that gets slow."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from lab.driver import Lab

from .conftest import Popnet

pytestmark = pytest.mark.system

PATIENCE_S = 20.0


def why(popnet: Popnet, *more: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(
        popnet("why", "-n", "s", "--from", "new-york", "app.example.com", "-o", "json", *more)
    )
    return told


def test_what_a_pop_knows(popnet: Popnet, lab: Lab) -> None:
    table = popnet("routes", "-n", "s")
    assert [line.split()[:2] for line in table.splitlines()[1:]] == [
        [pop, "app"] for pop in ("LHR", "FRA", "IAD")
    ]
    assert "as measured" in popnet("routes", "-n", "s", "--diff")
    assert json.loads(popnet("routes", "-n", "s", "IAD", "-o", "json"))[0]["me"] == "IAD"
    assert popnet("lsdb", "-n", "s", "--check") == "3 PoPs agree on 3 origins\n"
    rows = popnet("lsdb", "-n", "s", "fra").splitlines()
    assert [row.split()[0] for row in rows] == ["ORIGIN", "FRA", "IAD", "LHR"]
    assert '"IAD" -> "LHR"' in popnet("graph", "-n", "s")
    assert "<graphml" in popnet("graph", "-n", "s", "-o", "graphml")
    assert json.loads(popnet("graph", "-n", "s", "-o", "json", "--pop", "IAD"))["me"] == "IAD"


def test_why_before_and_after_a_link_gets_slow(popnet: Popnet, lab: Lab) -> None:
    before = why(popnet, "--oracle")
    assert before["path"] == ["IAD", "LHR"]
    assert before["flips"]
    assert before["oracle"]["best"] == ["IAD", "LHR"]
    text = popnet("why", "-n", "s", "--from", "new-york", "https://app.example.com/")
    first, second, *_ = text.splitlines()
    assert first == "security: no rule"
    assert second.startswith("IAD to app   one-relay, damping ")
    popnet("link", "set", "-n", "s", "LHR", "IAD", "--rtt", "500ms")
    give_up = time.monotonic() + PATIENCE_S
    while (after := why(popnet))["path"] == before["path"]:
        assert time.monotonic() < give_up, after
    assert after["path"] == ["IAD", "FRA"]
    slow = next(one for one in after["candidates"] if one["path"] == ["IAD", "LHR"])
    assert slow["behind_ms"] > 300
    popnet("link", "reset", "-n", "s")


def test_a_name_that_was_added_is_explained_and_a_removed_one_is_not(
    popnet: Popnet, lab: Lab
) -> None:
    popnet("dns", "add", "-n", "s", "shop.example.com", "--tunnel", "app")
    asked = ("why", "-n", "s", "--from", "new-york", "shop.example.com")
    assert json.loads(popnet(*asked, "-o", "json"))["tunnel"] == "app"
    popnet("dns", "remove", "-n", "s", "shop.example.com")
    popnet(*asked, code=2)


def test_who_and_what_is_asked_for_must_be_there(popnet: Popnet, lab: Lab) -> None:
    popnet("why", "-n", "s", "--from", "new-york", "apx.example.com", code=2)
    popnet("why", "-n", "s", "--from", "nowhere", "app.example.com", code=2)
    popnet("lsdb", "-n", "s", "XXX", code=2)

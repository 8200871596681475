"""What a security rule did is counted and told, by its name, and a flood of requests is no flood of events."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from pops.core.ingress import Headers, Ingress, Refusal, Visitor
from pops.drivers.security import Security

HOST = "app.example.com"
VISITOR = Visitor.of("203.0.113.9", "https", HOST, "JP")


class Edge:
    """An ingress with a policy, a clock that stands, and the events that were written."""

    def __init__(self, *rules: dict[str, Any]) -> None:
        self.now = 100.0
        self.events: list[dict[str, Any]] = []
        self.ingress = Ingress(
            "NRT", {HOST: "tunnel-1"}, random.Random(1), body_limit=1000, header_limit=100_000
        )
        self.security = Security(
            self.ingress,
            clock=lambda: self.now,
            events=self,  # type: ignore[arg-type]
            wall=lambda: 0.0,
        )
        self.security.replace(json.dumps({"rules": rules}).encode())
        self.events.clear()

    def emit(self, event: str, **fields: Any) -> None:
        self.events.append({"event": event, **fields})

    def ask(self, path: str = "/", method: str = "GET") -> str:
        """The rule that the response names."""
        pseudo = [(":method", method), (":scheme", "https"), (":authority", HOST), (":path", path)]
        head: Headers = [(name.encode(), value.encode()) for name, value in pseudo]
        got = self.ingress.understand(head, VISITOR)
        return got.problem.rule if isinstance(got, Refusal) else got.rule


LOG = {"action": "log", "path": "/a*", "note": "watch"}


def test_a_request_that_is_logged_is_counted_and_told() -> None:
    edge = Edge(LOG, {"action": "allow"})
    assert edge.ask("/a/x?key=secret", "POST") == "rule 2 allow; logged by rule 1 watch"
    assert edge.ask("/b") == "rule 2 allow"
    assert edge.security.hits == {("rule 1 watch", "logged"): 1, ("rule 2 allow", "passed"): 2}
    assert edge.events == [
        {
            "event": "request_logged",
            "rule": "rule 1 watch",
            "method": "POST",
            "host": HOST,
            "path": "/a/x",
            "visitor": "203.0.113.9",
            "country": "JP",
            "more": 0,
        }
    ]


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        ({"action": "block", "status": 451}, 451),
        ({"action": "challenge"}, 403),
        ({"action": "require", "require": "mtls"}, 403),
        ({"action": "rate_limit", "rate": {"per_s": 0.001, "burst": 1}}, 429),
    ],
)
def test_a_request_that_is_refused_is_told_with_its_rule(rule: dict[str, Any], status: int) -> None:
    edge = Edge(LOG, rule)
    name = f"rule 2 {rule['action']}"
    if rule["action"] == "rate_limit":
        assert edge.ask() == "no rule"
    assert edge.ask("/a") == f"{name}; logged by rule 1 watch"
    logged, refused = edge.events
    assert (logged["event"], logged["rule"]) == ("request_logged", "rule 1 watch")
    assert (refused["event"], refused["rule"], refused["status"]) == (
        "request_refused",
        name,
        status,
    )
    assert edge.security.hits[name, "refused"] == 1
    assert edge.security.hits["rule 1 watch", "logged"] == 1


def test_a_flood_leaves_one_event_a_second_and_rule_that_counts_the_others() -> None:
    edge = Edge(LOG, {"action": "block"})
    for _ in range(1000):
        edge.ask("/a/" + "x" * 5000)
    assert [one["event"] for one in edge.events] == ["request_logged", "request_refused"]
    assert all(len(one["path"]) <= 200 for one in edge.events)
    edge.now += 1.0
    edge.ask("/a")
    assert [one["more"] for one in edge.events] == [0, 0, 999, 999]
    assert edge.security.hits["rule 2 block", "refused"] == 1001


def test_asking_what_would_happen_names_the_log_and_leaves_none() -> None:
    edge = Edge(LOG, {"action": "allow"})
    told = edge.security.test({"host": HOST, "path": "/a", "method": "get"})
    assert (told.name, told.logged) == ("rule 2 allow; logged by rule 1 watch", (1,))
    assert not edge.events
    assert not edge.security.hits

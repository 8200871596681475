"""The security policy of a running PoP: before routing, over real sockets, replaced while it runs."""

from __future__ import annotations

import json
import ssl
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from pops.core.rules import PolicyError

HOST = "app.example.com"
SECRET = "a long secret"
POLICY = {
    "version": 3,
    "rules": [
        {"action": "require", "require": "service_token", "path": "/admin/*"},
        {"action": "require", "require": "mtls", "path": "/vault/*", "of": ["B"]},
        {"action": "block", "method": ["DELETE"], "status": 405, "note": "read only"},
        {"action": "rate_limit", "path": "/slow*", "rate": {"per_s": 0.001, "burst": 2}},
        {"action": "allow", "note": "the rest"},
    ],
    "service_tokens": {
        "lab": {"id": "lab.popnet", "secret_sha256": sha256(SECRET.encode()).hexdigest()}
    },
}
TOKEN = [
    ("cf-access-client-id", "lab.popnet"),
    ("cf-access-client-secret", SECRET),
]


@pytest.fixture
def policy(tmp_path: Path) -> str:
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(POLICY))
    return str(file)


def test_a_refused_request_goes_nowhere(edge: Any, policy: str) -> None:
    async def scenario(world: Any) -> None:
        await world.start("AB", [("A", "B", 0.001)], policy=policy)
        connector = await world.connector("B")
        visitor = await world.visitor("A")
        answer = await visitor.fetch("/admin/x")
        assert answer.status == 403
        assert answer.get("popnet-security") == "rule 1 require"
        assert b"a service token is needed" in answer.body
        assert (await visitor.fetch("/x", method="DELETE")).status == 405
        relayed = world.pops["B"].proxy.stats.requests
        assert not relayed
        assert not connector.requests
        recent = world.pops["A"].proxy.recent.since(0, 0.0)
        assert [one["problem"] for one in recent] == ["security", "security"]
        passed = await visitor.fetch("/x")
        assert (passed.status, passed.get("popnet-security")) == (200, "rule 5 the rest")
        assert sum(relayed.values()) == 1

    edge(scenario)


def test_an_answer_of_the_edge_itself_names_the_rule_too(edge: Any, policy: str) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A", policy=policy)
        visitor = await world.visitor("A")
        answer = await visitor.fetch("/x")
        assert (answer.status, answer.get("popnet-security")) == (530, "rule 5 the rest")
        assert answer.get("popnet-problem") == "The tunnel is not connected"
        # No rule has judged what is no request.
        strange = await visitor.fetch("/x", method="TRACE")
        assert (strange.status, strange.get("popnet-security")) == (405, "")
        names = [name for name, _ in (await visitor.fetch("/admin/x")).headers]
        assert names.count(b"popnet-security") == 1

    edge(scenario)


def test_a_pool_that_is_down_names_the_rule_too(edge: Any, policy: str) -> None:
    async def scenario(world: Any) -> None:
        await world.start(
            "A",
            policy=policy,
            hosts={HOST: {"load_balancer": "www"}},
            load_balancers={"www": {"members": [{"tunnel": "app"}], "steering": "failover"}},
        )
        visitor = await world.visitor("A")
        answer = await visitor.fetch("/x")
        assert (answer.status, answer.get("popnet-security")) == (503, "rule 5 the rest")
        assert answer.get("popnet-problem") == "No service of this pool is up: load balancer www"

    edge(scenario)


def test_a_token_opens_and_stays_at_the_edge(edge: Any, policy: str) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A", policy=policy)
        await world.connector("A")
        visitor = await world.visitor("A")
        answer = await visitor.fetch("/admin/x", headers=TOKEN)
        assert answer.status == 200
        seen = dict(json.loads(answer.body)["headers"])
        assert not any(name.startswith("cf-access") for name in seen)
        assert not any(name.startswith("popnet-") for name in seen)
        wrong = [TOKEN[0], (TOKEN[1][0], "guess")]
        assert (await visitor.fetch("/admin/x", headers=wrong)).status == 403

    edge(scenario)


def test_a_rate_says_when_to_come_again(edge: Any, policy: str) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A", policy=policy)
        await world.connector("A")
        visitor = await world.visitor("A")
        answers = [await visitor.fetch("/slow") for _ in range(3)]
        assert [one.status for one in answers] == [200, 200, 429]
        assert 0 < int(answers[2].get("retry-after")) <= 1000
        assert (await visitor.fetch("/fast")).status == 200

    edge(scenario)


@pytest.mark.parametrize(("shown", "status"), [(None, 403), ("C", 403), ("B", 200)])
def test_a_client_certificate(edge: Any, policy: str, pki: Any, shown: str, status: int) -> None:
    async def scenario(world: Any) -> None:
        visitors = {
            "addresses": [world.address("A")],
            "http": None,
            "https": world.https,
            "certificate": pki / "visitor.pem",
            "client_ca": pki / "ca.pem",
        }
        await world.start("A", policy=policy, visitors=visitors)
        await world.connector("A")
        context = ssl.create_default_context(cafile=pki / "ca.pem")
        context.check_hostname = False
        context.set_alpn_protocols(["h2"])
        if shown:
            context.load_cert_chain(pki / f"overlay-{shown}.pem")
        visitor = await world.visitor("A", context=context)
        assert (await visitor.fetch("/vault/x")).status == status

    edge(scenario)


@pytest.mark.parametrize("text", ["{", '{"rules": [{"action": "permit"}]}', None])
def test_without_a_readable_policy_nothing_passes(
    edge: Any, tmp_path: Path, text: str | None
) -> None:
    file = tmp_path / "policy.json"
    if text is not None:
        file.write_text(text)

    async def scenario(world: Any) -> None:
        await world.start("A", policy=str(file))
        await world.connector("A")
        visitor = await world.visitor("A")
        answer = await visitor.fetch("/")
        assert answer.status == 403
        assert b"cannot be read" in answer.body
        world.pops["A"].security.replace(b'{"rules": []}')
        assert (await visitor.fetch("/")).status == 200, "mended while it runs"

    edge(scenario)


def test_what_cannot_be_read_replaces_nothing(edge: Any, policy: str) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A", policy=policy)
        security = world.pops["A"].security
        with pytest.raises(PolicyError, match="status"):
            security.replace(b'{"rules": [{"action": "block", "status": 7}]}')
        assert security.judge.policy.version == 3

    edge(scenario)


def test_asking_agrees_with_sending(edge: Any, policy: str) -> None:
    """`policy test` and a real request, for every kind of rule."""
    requests: list[dict[str, Any]] = [
        {"path": "/admin/x"},
        {"path": "/admin/x", "headers": dict(TOKEN)},
        {"path": "/vault/x"},
        {"path": "/x", "method": "DELETE"},
        {"path": "/slow"},
        {"path": "/x"},
    ]

    async def scenario(world: Any) -> None:
        await world.start("A", policy=policy)
        await world.connector("A")
        visitor = await world.visitor("A")
        security = world.pops["A"].security
        for request in requests:
            told = security.test({"host": "app.example.com", "address": "127.0.0.1", **request})
            answer = await visitor.fetch(
                request["path"],
                method=request.get("method", "GET"),
                headers=list(request.get("headers", {}).items()),
            )
            assert answer.status == (told.status or 200), request
            assert answer.get("popnet-security") == told.name

    edge(scenario)

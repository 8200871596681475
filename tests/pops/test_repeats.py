"""Requests that are sent again, and requests that are not: what the origins behind the tunnels saw."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from typing import Any

import pytest

from wire.overlay import add_timing

TRIANGLE = [("A", "B", 1.0), ("B", "C", 1.0), ("A", "C", 5.0)]
PAIR = [("A", "B", 0.01)]
BODY = bytes(range(256)) * 40


class Origin:
    """Holds every answer back until it is told to give it."""

    def __init__(self, world: Any) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        self.begun: list[str] = []
        self.release = asyncio.Event()
        self._world = world

    async def __call__(self, request: Any) -> None:
        method = request.message.get(":method")
        self.begun.append(method)
        message = await request.whole()
        if message.reset is not None:
            return
        self.bodies.append((method, message.body))
        await self.release.wait()
        request.stream.send_headers(self._world.reply(200), end=True)


async def know(world: Any, *connections: str) -> None:
    """Wait until A reckons with these connections."""

    def known() -> bool:
        paths = world.pops["A"].routes(world.tunnel)
        return {path.connection for path in paths} == set(connections)

    await world.until(known)


async def two_exits(world: Any, **changes: Any) -> tuple[Origin, Origin]:
    """A enters; B is the nearer egress, C the other one."""
    await world.start("ABC", TRIANGLE, **changes)
    near, far = Origin(world), Origin(world)
    first = await world.connector("B", near)
    await world.connector("C", far, index=1, client=first.client)
    await know(world, *(f"{first.client}.{index}" for index in (0, 1)))
    await world.way("AB")
    far.release.set()
    return near, far


async def send(visitor: Any, method: str, body: bytes = BODY) -> Any:
    exchange = visitor.start(method=method, end=False)
    await exchange.send(body, end=True)
    return exchange


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_an_idempotent_request_goes_again_with_its_body(edge: Any, method: str) -> None:
    async def scenario(world: Any) -> None:
        near, far = await two_exits(world)
        visitor = await world.visitor("A")
        exchange = await send(visitor, method)
        await world.until(lambda: near.bodies)
        await world.kill("B")
        answer = await exchange.whole()
        assert (answer.status, answer.get("popnet-path")) == (200, "A>C")
        assert answer.get("popnet-attempts") == "2"
        assert near.bodies == far.bodies == [(method, BODY)]

    edge(scenario)


def test_a_body_that_is_not_here_any_more_goes_nowhere(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        near, far = await two_exits(world, limits={"keep_bytes": len(BODY) - 1})
        visitor = await world.visitor("A")
        exchange = await send(visitor, "PUT")
        await world.until(lambda: near.bodies)
        await world.kill("B")
        assert (await exchange.whole()).status == 502
        assert far.begun == []

    edge(scenario)


@pytest.mark.parametrize("body", [b"", BODY])
def test_a_post_is_never_received_twice(edge: Any, body: bytes) -> None:
    async def scenario(world: Any) -> None:
        near, far = await two_exits(world)
        visitor = await world.visitor("A")
        exchange = await send(visitor, "POST", body)
        await world.until(lambda: near.bodies)
        await world.kill("B")
        assert (await exchange.whole()).status == 502
        assert near.bodies == [("POST", body)]
        assert far.begun == []

    edge(scenario)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_breaks_a_post_is_received_once_at_most(edge: Any, seed: int) -> None:
    """Connections between PoPs are cut at random while requests of all kinds are under way."""

    async def scenario(world: Any) -> None:
        rng = random.Random(seed)
        received: Counter[tuple[str, str]] = Counter()

        async def serve(request: Any) -> None:
            message = await request.whole()
            if message.reset is None:
                received[message.get(":method"), message.get(":path")] += 1
                await asyncio.sleep(0.003)
                request.stream.send_headers(world.reply(200), end=True)

        quick = {"reconnect_first": 0.005, "reconnect_most": 0.01}
        await world.start("ABC", TRIANGLE, timeouts=quick)
        first = await world.connector("B", serve)
        await world.connector("C", serve, index=1, client=first.client)
        await know(world, *(f"{first.client}.{index}" for index in (0, 1)))
        visitor = await world.visitor("A")
        running: list[tuple[str, str, Any]] = []
        for number in range(120):
            method, path = rng.choice(["POST", "POST", "PUT", "GET"]), f"/{number}"
            body = b"" if method == "GET" else rng.choice([b"", b"a", BODY])
            exchange = visitor.start(path, method=method, end=not body)
            if body:
                await exchange.send(body, end=True)
            running.append((method, path, exchange))
            if rng.random() < 0.3:
                neighbors = world.pops[rng.choice("AAB")].overlay.neighbors.values()
                up = [one.data for one in neighbors if one.data is not None]
                if up:
                    rng.choice(up).abort()
            await asyncio.sleep(0.002)
        answers = [(method, path, await exchange.whole()) for method, path, exchange in running]
        assert sum(world.pops["A"].proxy.stats.retries.values()) > 0
        for method, path, answer in answers:
            if method == "POST":
                assert received[method, path] <= 1, path
            if answer.status == 200:
                assert received[method, path] >= 1, path

    edge(scenario)


def test_a_post_of_whose_body_nothing_was_said_goes_again(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        near, far = await two_exits(world)
        visitor = await world.visitor("A")
        exchange = visitor.start(method="POST", end=False)
        await world.until(lambda: near.begun)
        await world.kill("B")
        await world.until(lambda: far.begun)
        await exchange.send(BODY, end=True)
        assert (await exchange.whole()).status == 200
        assert (near.bodies, far.bodies) == ([], [("POST", BODY)])

    edge(scenario)


def test_a_post_that_a_relay_could_not_send_on_goes_again_with_its_body(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("ABC", TRIANGLE)
        origin = Origin(world)
        origin.release.set()
        await world.connector("C", origin)
        await world.way("ABC")
        visitor = await world.visitor("A")
        for http2 in list(world.pops["B"].overlay.neighbors["C"].connections.values()):
            http2.abort()
        await world.until(lambda: not world.pops["B"].overlay.neighbors["C"].up)
        answer = await (await send(visitor, "POST")).whole()
        assert answer.status == 200
        assert origin.bodies == [("POST", BODY)]

    edge(scenario)


@pytest.mark.parametrize("at", ["A", "B"])
def test_a_lost_connection_is_made_up_for_where_its_twin_is(edge: Any, at: str) -> None:
    async def scenario(world: Any) -> None:
        await world.start("AB", PAIR)
        origins = Origin(world), Origin(world)
        first = await world.connector(at, origins[0])
        second = await world.connector(at, origins[1], index=1, client=first.client)
        await know(world, *(f"{first.client}.{index}" for index in (0, 1)))
        visitor = await world.visitor("A")
        got = visitor.start()
        await world.until(lambda: origins[0].bodies or origins[1].bodies)
        posted = visitor.start(method="POST")
        await world.until(lambda: len(origins[0].bodies + origins[1].bodies) == 2)
        for origin in origins:
            origin.release.set()
        # The two requests are on either of the connections; that of the GET is lost before it answers.
        lost, kept = (
            (first, origins[1]) if ("GET", b"") in origins[0].bodies else (second, origins[0])
        )
        with_it = ("POST", b"") not in kept.bodies
        lost.http2.abort()
        answer = await got.whole()
        assert answer.status == 200
        assert world.pops[at].proxy.stats.retries == {"tunnel-lost": 1}
        assert (await posted.whole()).status == (502 if with_it else 200)
        assert (origins[0].begun + origins[1].begun).count("POST") == 1

    edge(scenario)


def test_without_budget_nothing_goes_again(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        near, far = await two_exits(world, limits={"retry_share": 0.0, "retries_per_s": 0.0})
        visitor = await world.visitor("A")
        exchange = visitor.start()
        await world.until(lambda: near.bodies)
        await world.kill("B")
        assert (await exchange.whole()).status == 502
        assert far.begun == []
        stats = world.pops["A"].proxy.stats
        assert (stats.retries, stats.retries_refused) == ({}, 1)

    edge(scenario)


def test_an_answer_that_is_none_is_no_proof_that_nobody_was_asked(
    edge: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PoP that says nonsense about an answer has served the request all the same."""

    def nonsense(value: bytes, who: str, seconds: float) -> bytes:
        return b"!" if who == "B" else add_timing(value, who, seconds)

    async def scenario(world: Any) -> None:
        near, far = await two_exits(world)
        near.release.set()
        monkeypatch.setattr("pops.drivers.transit.add_timing", nonsense)
        visitor = await world.visitor("A")
        assert (await visitor.fetch(method="POST")).status == 502
        assert len(near.bodies) == 1
        assert far.begun == []
        answer = await visitor.fetch()
        assert (answer.get("popnet-path"), answer.get("popnet-attempts")) == ("A>C", "2")

    edge(scenario)


def test_a_connection_that_spoils_requests_is_left_alone(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        async def down(request: Any) -> None:
            request.stream.send_headers(
                world.reply(502, src="cloudflared", popnet_reason="connection refused"), end=True
            )

        await world.start("AB", PAIR)
        bad = await world.connector("B", down)
        visitor = await world.visitor("A")
        for _ in range(5):
            assert (await visitor.fetch()).status == 502
        good = await world.connector("B", index=1)
        await world.until(lambda: len(world.pops["B"].registry.exits()) == 2)
        # Other PoPs hear that it takes no new requests.
        told = {leave.connection[-1]: leave.draining for leave in world.pops["B"].registry.exits()}
        assert told == {"0": True, "1": False}
        for _ in range(5):
            assert (await visitor.fetch()).status == 200
        assert (len(bad.requests), len(good.requests)) == (5, 5)

    edge(scenario)


def test_a_request_may_ask_for_an_algorithm_that_runs_beside(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        routing = {"algorithm": "direct", "beside": ["lowest-rtt"]}
        await world.start("ABC", TRIANGLE, routing=routing)
        await world.connector("C")
        pop = world.pops["A"]
        await world.until(lambda: pop.routes(world.tunnel, "lowest-rtt")[0].pops == tuple("ABC"))
        visitor = await world.visitor("A")
        found = {}
        for name in ("lowest-rtt", "direct", "one-relay", ""):
            answer = await visitor.fetch(headers=[("popnet-algorithm", name)])
            found[name] = answer.get("popnet-path")
            assert b"popnet-algorithm" not in answer.body
        assert found == {"lowest-rtt": "A>B>C", "direct": "A>C", "one-relay": "A>C", "": "A>C"}

    edge(scenario)


def test_an_algorithm_that_learns_hears_what_became_of_requests(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        near, _ = await two_exits(world)
        pop = world.pops["A"]
        told: list[Any] = []
        pop.wants_outcomes = True
        pop.outcome = lambda outcome, algorithm: told.append(outcome)
        visitor = await world.visitor("A")
        exchange = visitor.start()
        await world.until(lambda: near.bodies)
        await world.kill("B")
        await exchange.whole()
        assert [(one.pops, one.ok, one.connection[-1]) for one in told] == [
            (("A", "B"), False, "0"),
            (("A", "C"), True, "1"),
        ]
        assert all(one.ttfb_s > 0 and one.tunnel == world.tunnel for one in told)

    edge(scenario)


@pytest.mark.parametrize("second", ["A", "B", "C"])
def test_another_connector_serves_what_the_service_of_one_does_not(edge: Any, second: str) -> None:
    """The connectors are well; whichever is asked first has a service that is dead."""

    async def scenario(world: Any) -> None:
        asked: list[str] = []
        all_dead = False

        def service(name: str) -> Any:
            async def answer(request: Any) -> None:
                await request.whole()
                asked.append(name)
                if all_dead or name == asked[0]:
                    head = world.reply(502, src="cloudflared", popnet_reason="connection refused")
                    request.stream.send_headers(head, end=True)
                else:
                    request.stream.send_headers(world.reply(200), end=True)

            return answer

        await world.start("ABC", TRIANGLE)
        connectors = [
            await world.connector("B", service("one")),
            await world.connector(second, service("other")),
        ]
        await know(world, *(f"{one.client}.0" for one in connectors))
        visitor = await world.visitor("A")
        answer = await visitor.fetch()
        assert (answer.status, answer.get("popnet-attempts")) == (200, "2")
        assert sorted(asked) == ["one", "other"]
        stats = world.pops["A"].proxy.stats
        assert stats.retries == {"origin": 1}

        asked.clear()
        assert (await visitor.fetch(method="POST")).status == 502
        assert len(asked) == 1, "perhaps it has been served"

        asked.clear()
        all_dead = True
        answer = await visitor.fetch(headers=[("accept", "application/json")])
        assert (answer.status, json.loads(answer.body)["error"]) == (502, "origin")
        assert sorted(asked) == ["one", "other"], "each once"

    edge(scenario)

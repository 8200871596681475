"""Load balancers at running PoPs: real checks through real tunnels, and what becomes of requests when members fail."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from pops.drivers.metrics import collect
from runtime.metrics import registry
from wire.headers import RESPONSE_HEADERS, RESPONSE_META, serialize_headers

HOST = "app.example.com"
NEAR, FAR = "11111111-2222-4333-8444-555555555555", "99999999-2222-4333-8444-555555555555"
SECRET = b"0123456789abcdef0123456789abcdef"


def tunnels() -> list[dict[str, str]]:
    secret = base64.b64encode(SECRET).decode()
    return [
        {"name": name, "id": uuid, "account_tag": "acc", "secret": secret}
        for name, uuid in (("near", NEAR), ("far", FAR))
    ]


def pool(**more: Any) -> dict[str, Any]:
    health = {"every": 0.05, "timeout": 10.0, "fall": 1, "rise": 1, **more.pop("health", {})}
    members = [{"tunnel": "near", **more.pop("near", {})}, {"tunnel": "far"}]
    return {
        "tunnels": tunnels(),
        "hosts": {HOST: {"load_balancer": "www"}},
        "load_balancers": {"www": {"members": members, "health": health, **more}},
    }


class Service:
    """An origin whose status a test can change; it counts what is no check."""

    def __init__(self) -> None:
        self.status = 200
        self.requests: list[str] = []
        self.silent = False

    async def __call__(self, request: Any) -> None:
        message = await request.whole()
        fields = dict(message.headers)
        if fields.get(b"user-agent") != b"popnet-health":
            self.requests.append(fields[b":method"].decode())
            if self.silent:
                return
        request.stream.send_headers(
            [
                (b":status", b"%d" % self.status),
                (RESPONSE_META, b'{"src":"origin"}'),
                (RESPONSE_HEADERS, serialize_headers([(b"Content-Length", b"2")])),
            ]
        )
        request.stream.send_data(b"ok", end=True)


async def start(
    world: Any, *, rtt_s: float = 1.0, events: Path | None = None, **more: Any
) -> tuple[Service, Service, Any]:
    """A visitor at A; one site behind A, one behind C.

    The RTTs are told, not waited for: no machine is so slow that what is near seems farther.
    """
    kept = {} if events is None else {"events": str(events)}
    await world.start("ABC", [("A", "B", rtt_s), ("B", "C", rtt_s)], **kept, **pool(**more))
    near, far = Service(), Service()
    await world.connector("A", near, tunnel=NEAR)
    await world.connector("C", far, tunnel=FAR)
    for name in ("near", "far"):
        await world.until(serves(world, name, True))
    return near, far, await world.visitor("A")


async def members(visitor: Any, requests: int) -> Counter[str]:
    answers = [await visitor.fetch("/") for _ in range(requests)]
    assert all(one.status == 200 for one in answers), [one.status for one in answers]
    return Counter(one.get("popnet-tunnel") for one in answers)


def serves(world: Any, name: str, is_so: bool) -> Any:
    """Whether all PoPs give it requests, or none: it is well, and there is a way."""
    ids = {"near": NEAR, "far": FAR}
    return lambda: all(
        p.balancers.condition(ids[name]).serves == is_so for p in world.pops.values()
    )


def test_proximity_and_what_follows_when_the_service_is_down(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        near, _, visitor = await start(world)
        assert await members(visitor, 10) == {"near": 10}
        near.status = 503
        await world.until(serves(world, "near", is_so=False))
        assert await members(visitor, 10) == {"far": 10}
        near.status = 200
        await world.until(serves(world, "near", is_so=True))
        assert await members(visitor, 10) == {"near": 10}

    edge(scenario)


@pytest.mark.parametrize(
    ("steering", "near"),
    [("failover", (1.0, 1.0)), ("weighted", (0.65, 0.85)), ("random", (0.4, 0.6))],
)
def test_steering(edge: Any, steering: str, near: tuple[float, float]) -> None:
    async def scenario(world: Any) -> None:
        _, _, visitor = await start(world, steering=steering, near={"weight": 3.0})
        share = (await members(visitor, 200))["near"] / 200
        assert near[0] <= share <= near[1]

    edge(scenario)


def test_who_would_be_chosen_is_asked_without_touching_the_luck_of_requests(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        # The heavier one comes last in the pool.
        await start(world, steering="weighted", near={"weight": 0.25})
        balancers = world.pops["A"].balancers
        assert {tuple(balancers.outlook("www")) for _ in range(50)} == {(FAR, NEAR)}
        assert balancers.snapshot()["www"]["order"] == ["far", "near"]
        drawn = {balancers.order("www", "")[0] for _ in range(50)}
        assert drawn == {FAR, NEAR}

    edge(scenario)


def test_dynamic_leaves_a_slow_service(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        near, _, visitor = await start(world, rtt_s=0.001, steering="dynamic")
        plain = near.__call__

        async def slow(request: Any) -> None:
            await asyncio.sleep(0.05)
            await plain(request)

        for connection in world.connectors:
            if connection.tunnel == NEAR:
                connection.origin = slow
        await world.until(lambda: world.pops["A"].balancers.order("www", "")[0] == FAR)
        assert await members(visitor, 3) == {"far": 3}

    edge(scenario)


def test_a_session_stays_while_its_member_is_up(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        near, far, visitor = await start(world, steering="random", affinity="session")
        first = await visitor.fetch("/")
        cookie = first.get("set-cookie").split(";")[0]
        assert cookie.startswith("session=")
        home = first.get("popnet-tunnel")
        again = [
            await visitor.fetch("/", headers=[("cookie", f"a=b; {cookie}")]) for _ in range(20)
        ]
        assert {one.get("popnet-tunnel") for one in again} == {home}
        assert not any(one.get("set-cookie") for one in again)
        (near if home == "near" else far).status = 503
        await world.until(serves(world, home, is_so=False))
        moved = await visitor.fetch("/", headers=[("cookie", cookie)])
        assert moved.status == 200
        assert moved.get("popnet-tunnel") != home
        assert moved.get("set-cookie")

    edge(scenario)


def test_killing_one_site_loses_no_repeatable_request(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        near, far, visitor = await start(world)
        near.silent = True
        waiting = [visitor.start("/") for _ in range(10)]
        await world.until(lambda: near.requests == ["GET"] * 10)
        for connection in world.connectors:
            if connection.tunnel == NEAR:
                connection.http2.abort()
        answers = [await one.whole() for one in waiting]
        assert [one.status for one in answers] == [200] * 10
        assert {one.get("popnet-tunnel") for one in answers} == {"far"}
        assert far.requests == ["GET"] * 10

    edge(scenario)


def test_what_must_not_be_sent_twice_is_not(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        near, far, visitor = await start(world)
        near.silent = True
        waiting = visitor.start("/", method="POST")
        await world.until(lambda: near.requests == ["POST"])
        for connection in world.connectors:
            if connection.tunnel == NEAR:
                connection.http2.abort()
        assert (await waiting.whole()).status == 502
        assert far.requests == []

    edge(scenario)


def test_requests_tell_too(edge: Any) -> None:
    """Checks every hour: what requests meet brings a member down for a while."""

    async def scenario(world: Any) -> None:
        near, _, visitor = await start(world, health={"every": 3600.0, "fall": 3})
        near.status = 503
        answers = [await visitor.fetch("/") for _ in range(6)]
        assert [one.status for one in answers] == [503, 503, 503, 200, 200, 200]

    edge(scenario)


def events(file: Path, name: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in file.read_text().splitlines()]
    return [one for one in found if one["event"] == name]


def seen(world: Any, pop: str, name: str) -> dict[str, Any]:
    told = world.pops[pop].balancers.snapshot()["www"]["members"]
    return next(one for one in told if one["tunnel"] == name)


def test_who_is_left_alone_says_why_and_for_how_long(edge: Any, tmp_path: Path) -> None:
    async def scenario(world: Any) -> None:
        near, _, visitor = await start(
            world, events=tmp_path / "events", health={"every": 3600.0, "fall": 1}
        )
        near.status = 503
        await visitor.fetch("/")
        found = seen(world, "A", "near")
        assert (found["state"], found["cause"], found["reason"], found["up"]) == (
            "left alone",
            "requests",
            "status 503",
            False,
        )
        assert 3500 < found["left_alone_s"] <= 3600
        assert seen(world, "C", "near")["state"] == "up", "others have met nothing"
        (told,) = events(tmp_path / "events", "member_left_alone")
        assert (told["tunnel"], told["reason"], told["seconds"]) == ("near", "status 503", 3600)
        text = (
            generate_latest(registry(partial(collect, world.pops["A"]), process=False))
            .decode()
            .splitlines()
        )
        labels = 'member="near",pool="www"'
        assert f'popnet_pop_pool_member_state{{{labels},state="left_alone"}} 1.0' in text
        assert f'popnet_pop_pool_member_state{{{labels},state="up"}} 0.0' in text

    edge(scenario)


def test_why_a_service_is_down_is_known_where_it_is_checked(edge: Any, tmp_path: Path) -> None:
    async def scenario(world: Any) -> None:
        near, _, _ = await start(world, events=tmp_path / "events", health={"rise": 2})
        for status in (500, 200, 500):
            near.status = status
            await world.until(serves(world, "near", is_so=status == 200))
        found = seen(world, "C", "near")
        assert (found["state"], found["cause"]) == ("down", "checks")
        (check,) = world.pops["A"].balancers.checks.snapshot()
        assert (check["tunnel"], check["state"], check["reason"]) == ("near", "down", "status 500")
        assert check["flapping"], "down again soon after its return"
        assert check["successes_missing"] == 4, "twice as many as for the first time"
        told = events(tmp_path / "events", "member_down")
        assert {one["connector"] for one in told} == {check["connector"]}
        assert [one.get("successes_needed") for one in told] == [2, 4]
        assert [one["flapping"] for one in told] == [False, True]
        text = generate_latest(registry(partial(collect, world.pops["A"]), process=False)).decode()
        labels = f'connector="{check["connector"]}",member="near",site=""'
        assert f"popnet_pop_pool_check_flapping{{{labels}}} 1.0" in text
        assert f"popnet_pop_pool_check_successes_missing{{{labels}}} 4.0" in text

    edge(scenario)


def test_a_member_without_a_connection_says_so(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await start(world)
        for connection in world.connectors:
            if connection.tunnel == NEAR:
                connection.http2.abort()
        await world.until(serves(world, "near", is_so=False))
        await world.until(lambda: seen(world, "A", "near")["cause"] == "connections")
        assert seen(world, "A", "near")["state"] == "down"

    edge(scenario)


def test_when_all_are_down(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        near, far, visitor = await start(world)
        near.status = far.status = 500
        await world.until(serves(world, "near", is_so=False))
        await world.until(serves(world, "far", is_so=False))
        answer = await visitor.fetch("/")
        assert answer.status == 503
        assert b"No service of this pool is up" in answer.body
        assert not world.pops["A"].balancers.outstanding.total()

    edge(scenario)


def test_metrics_tell_of_the_pool(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        near, _, visitor = await start(world)
        await members(visitor, 3)
        near.status = 503
        await world.until(serves(world, "near", is_so=False))
        text = {
            name: generate_latest(registry(partial(collect, pop), process=False)).decode()
            for name, pop in world.pops.items()
        }
        at_a = text["A"].splitlines()
        assert 'popnet_pop_pool_chosen_total{member="near",pool="www"} 3.0' in at_a
        assert 'popnet_pop_pool_member_up{member="near",pool="www"} 0.0' in at_a
        assert 'popnet_pop_pool_member_up{member="far",pool="www"} 1.0' in at_a
        assert 'popnet_pop_pool_outstanding{member="near"} 0.0' in at_a
        assert 'popnet_pop_pool_checks_total{member="far",result="ok"} 0.0' in at_a
        assert 'popnet_pop_pool_checks_total{member="far",result="ok"} 0.0' not in text["C"]

    edge(scenario)

"""DNS records that change while PoPs run: known everywhere, served everywhere, kept by those that restart."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from pops.drivers.records import UnknownTargetError
from wire.dns import Question, make_query, parse_response

LINE = [("A", "B", 0.001), ("B", "C", 0.001)]
QUESTION = Question("shop.example.com", "A")
SHOP = {"name": "Shop.Example.com", "tunnel": "app", "ttl": 7}


def test_a_new_name_is_answered_and_served_everywhere(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("ABC", LINE)
        await world.connector("C")
        pops = world.pops
        pops["A"].book.change(SHOP)
        await world.until(
            lambda: all(p.book.records.get("shop.example.com") for p in pops.values())
        )
        visitor = await world.visitor("B", sni="shop.example.com")
        answer = await visitor.fetch("/", host="shop.example.com")
        assert answer.status == 200
        assert dict(json.loads(answer.body)["headers"])[":authority"] == "shop.example.com"
        pops["C"].book.change({"name": "shop.example.com"})
        await world.until(
            lambda: not any(p.book.records.get("shop.example.com") for p in pops.values())
        )
        assert (await visitor.fetch("/", host="shop.example.com")).status in (404, 421)

    edge(scenario)


def test_a_pop_that_restarts_knows_what_it_has_missed(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("ABC", LINE)
        config = world.pops["C"].config
        world.pops["A"].book.change(SHOP)
        await world.until(lambda: world.pops["C"].book.records.get("shop.example.com"))
        await world.kill("C")
        world.pops["A"].book.change({**SHOP, "ttl": 9})
        await world.start_one(config)

        def caught_up() -> bool:
            found = world.pops["C"].book.records.get("shop.example.com")
            return found is not None and found.ttl == 9

        await world.until(caught_up)
        everything = [pop.book.records.everything() for pop in world.pops.values()]
        assert everything[0] == everything[1] == everything[2]

    edge(scenario)


def test_a_file_is_read_at_the_start(edge: Any, tmp_path: Path) -> None:
    file = tmp_path / "records.json"
    file.write_text('[{"version": 4, "origin": "B", "name": "x.example.com", "tunnel": "app"}]')

    async def scenario(world: Any) -> None:
        await world.start("A", records=str(file))
        assert world.pops["A"].book.records.get("x.example.com") is not None
        changed = world.pops["A"].book.change(SHOP)
        assert changed.version == 5

    edge(scenario)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"name": "shop", "tunnel": "app"}, "no host name"),
        ({"name": "shop.example.com", "tunnel": "apq"}, "there are app"),
        ({"name": "shop.example.com", "load_balancer": "x"}, "there are none"),
        ({"name": "shop.example.com"}, "there is no record"),
        ({"name": "shop.example.com", "tunnel": "app", "ttl": -1}, "604800"),
        ({"name": "shop.example.com", "tunnel": "app", "load_balancer": "x"}, "not both"),
        ({"name": "shop.example.com", "target": "app"}, "unknown: target"),
    ],
)
def test_what_cannot_be_says_why(edge: Any, asked: dict[str, Any], said: str) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A")
        with pytest.raises(UnknownTargetError, match=said):
            world.pops["A"].book.change(asked)

    edge(scenario)


@pytest.mark.parametrize("name", ["{}", "{}.cfargotunnel.com", "{}.cfargotunnel.com."])
def test_a_tunnel_is_named_by_its_id_and_its_cname_too(edge: Any, name: str) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A")
        tunnel = world.pops["A"].config.tunnels[0].id
        changed = world.pops["A"].book.change({**SHOP, "tunnel": name.format(tunnel.upper())})
        assert changed.tunnel == "app"

    edge(scenario)


def test_the_dns_door_answers_with_the_new_name(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A")
        world.pops["A"].book.change(SHOP)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect((world.address("A"), world.dns))
            client.send(make_query(QUESTION, 7))

            def answered() -> bytes:
                try:
                    return client.recv(1500)
                except BlockingIOError:
                    return b""

            got: list[bytes] = []
            await world.until(lambda: bool(got.append(answered()) or got[-1]))
        (record,) = parse_response(got[-1], QUESTION, 7).records
        assert (record.data, record.ttl) == (world.address("A"), 7)

    edge(scenario)

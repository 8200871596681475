"""A PoP as a whole: DNS doors, admin door, drain, stop."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from wire.dns import Question, make_query, parse_response

PAIR = [("A", "B", 0.01)]


class Datagram(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[tuple[bytes, Any]] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.answer.set_result((data, addr))


def test_dns_over_udp_answers_from_the_address_that_was_asked(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A")
        question = Question("app.example.com", "A")
        transport, asked = await asyncio.get_running_loop().create_datagram_endpoint(
            Datagram, remote_addr=None, local_addr=("127.0.0.1", 0), family=socket.AF_INET
        )
        transport.sendto(make_query(question, 9), (world.address("A"), world.dns))
        data, source = await asked.answer
        transport.close()
        assert source == (world.address("A"), world.dns)
        (record,) = parse_response(data, question, 9).records
        assert record.data == world.address("A")

    edge(scenario)


def test_dns_over_tcp_takes_several_queries(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A")
        reader, writer = await asyncio.open_connection(world.address("A"), world.dns)
        question = Question("_v2-origintunneld._tcp.argotunnel.com", "SRV")
        wire = b""
        for number in (1, 2):
            query = make_query(question, number)
            wire += len(query).to_bytes(2, "big") + query
        writer.write(wire[:5])
        writer.write(wire[5:])
        for number in (1, 2):
            size = int.from_bytes(await reader.readexactly(2), "big")
            answer = parse_response(await reader.readexactly(size), question, number)
            assert len(answer.records) == 2
        writer.close()
        await writer.wait_closed()

    edge(scenario)


async def admin(path: Path, request: str, body: bytes = b"") -> tuple[int, Any]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    head = f"{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}"
    writer.write(head.encode() + b"\r\n\r\n" + body)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    top, _, rest = answer.partition(b"\r\n\r\n")
    text = rest.decode()
    return int(top.split()[1]), json.loads(text) if text[:1] in "{[" else text


def test_the_admin_door(edge: Any, tmp_path: Path) -> None:
    async def scenario(world: Any) -> None:
        door = tmp_path / "b.sock"
        await world.start_one(world.config("A", "AB", PAIR))
        pop = await world.start_one(world.config("B", "AB", PAIR, admin=str(door)))
        await world.until(lambda: pop.ready and pop.overlay.up())
        await world.connector("B")
        visitor = await world.visitor("B")
        await visitor.fetch()

        code, ready = await admin(door, "GET /ready")
        assert (code, ready["ready"], ready["overlay_up"]) == (200, True, 1)
        _, status = await admin(door, "GET /status")
        assert (status["name"], status["reachable"], status["requests"]) == ("B", ["B", "A"], 1)
        _, (tunnel,) = await admin(door, "GET /tunnels")
        assert (tunnel["tunnel"], tunnel["index"]) == ("app", 0)
        _, routes = await admin(door, "GET /routes")
        assert routes["tunnels"]["app"][0]["pops"] == ["B"]
        _, why = await admin(door, "GET /why?tunnel=app")
        assert (why["path"], why["candidates"][0]["chosen"], why["problem"]) == (["B"], True, None)
        code, text = await admin(door, "GET /why?tunnel=other")
        assert (code, text) == (404, "no tunnel 'other'; there are app\n")
        code, text = await admin(door, "GET /why?tunnel=app&algorithm=static")
        assert (code, text) == (404, "'static' is not worked out here; lowest-rtt is\n")
        _, lsdb = await admin(door, "GET /lsdb")
        assert [one["origin"] for one in lsdb["lsas"]] == ["A", "B"]
        _, (request,) = await admin(door, "GET /requests")
        assert (request["number"], request["status"], request["pops"]) == (1, 200, ["B"])
        assert (request["method"], request["path"], request["connection"]) == ("GET", "/", "c0")
        await visitor.fetch(host="nowhere.example")
        _, (refused,) = await admin(door, "GET /requests?since=1")
        assert (refused["number"], refused["problem"]) == (2, "misdirected")
        _, metrics = await admin(door, "GET /metrics")
        assert 'popnet_pop_requests_total{role="ingress",status="200"} 1.0' in metrics
        assert 'popnet_pop_overlay_up{neighbor="A"} 1.0' in metrics
        assert "popnet_pop_response_head_seconds_bucket" in metrics

        measured = {(link["from"], link["to"]): link["rtt_ms"] for link in routes["links"]}
        assert measured == {("A", "B"): 10.0, ("B", "A"): 10.0}
        assert 'popnet_pop_lsas_total{kind="originated"}' in metrics

        assert (await admin(door, "POST /drain"))[0] == 200
        assert (await admin(door, "GET /ready"))[0] == 503

    edge(scenario)


def test_a_drained_pop_lets_its_tunnels_go_and_still_answers(
    edge: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The played connector does not end its control stream: that is what it is given time for.
    monkeypatch.setattr("pops.drivers.tunnels._CONTROL_LINGER_S", 0.05)

    async def scenario(world: Any) -> None:
        await world.start("AB", PAIR)
        near = await world.connector("A")
        await world.connector("B", index=1, client=near.client)
        await world.until(lambda: len(world.pops["A"].lsdb.exits()[world.tunnel]) == 2)
        visitor = await world.visitor("A")
        assert (await visitor.fetch()).get("popnet-path") == "A"
        world.pops["A"].drain()
        await near.closed.wait()
        await world.until(lambda: not list(world.pops["A"].registry))
        assert (await visitor.fetch()).get("popnet-path") == "A>B"

    edge(scenario)


def test_a_stopped_pop_finishes_what_runs(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        release = asyncio.Event()

        async def slow(request: Any) -> None:
            request.stream.send_headers(world.reply(200))
            await release.wait()
            request.stream.send_data(b"done", end=True)

        await world.start("A")
        connector = await world.connector("A", slow)
        visitor = await world.visitor("A")
        running = visitor.start()
        await running.head()
        stopped = world.stop("A")
        await world.until(lambda: world.pops["A"].draining)
        release.set()
        assert (await running.whole()).body == b"done"
        await stopped
        await connector.closed.wait()

    edge(scenario)


def test_a_stopped_pop_says_that_it_leaves(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("ABC", [("A", "B", 0.01), ("B", "C", 0.01)])
        await world.stop("A")
        await world.until(lambda: world.pops["C"].lsdb.get("A").withdrawn)
        assert world.pops["C"].lsdb.reachable() == ("C", "B")

    edge(scenario)

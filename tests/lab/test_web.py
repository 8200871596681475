"""The page's door, its feed and its metrics, without a lab."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lab.gateway.proxy import Proxy
from lab.gateway.visitors import VisitorNetwork
from lab.rundir import RunDir
from lab.standing import node_state
from lab.web.exposition import Exposition, lab_families, wan_families
from lab.web.feed import EventTail
from lab.web.observer import Observer
from lab.web.server import Request, WebServer, _is_ours
from runtime.metrics import registry
from topology.load import load_world
from topology.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "lab/web/index.html"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan.of(load_world(ROOT / "topology.yaml"))


@pytest.fixture
def observer(plan: Plan, tmp_path: Path) -> Observer:
    return Observer(RunDir(tmp_path), plan, dict)


@pytest.fixture
def proxy(plan: Plan, tmp_path: Path) -> Proxy:
    networks = {
        city: VisitorNetwork(city, tmp_path / city, lambda _: None) for city in plan.world.visitors
    }
    return Proxy(networks, "tokyo")


@pytest.fixture
def server(observer: Observer, proxy: Proxy) -> WebServer:
    return WebServer(observer, proxy, lambda: {"socks": 1080})


# Whom it serves


@pytest.mark.parametrize(
    "host",
    ["localhost:8080", "localhost", "127.0.0.1:8080", "[::1]:8080", "lab:8080", "x.localhost:1"],
)
def test_names_of_this_machine(host: str) -> None:
    assert _is_ours(host)


@pytest.mark.parametrize("host", ["", "evil.example:8080", "127.0.0.1.evil.example", "[evil]x"])
def test_names_that_somebody_could_register(host: str) -> None:
    assert not _is_ours(host)


def put_city(server: WebServer, **changed: str) -> Any:
    fields = {
        "method": "PUT",
        "path": "/api/city",
        "host": "localhost:8080",
        "origin": "http://localhost:8080",
        "content_type": "application/json",
        **changed,
    }
    body = fields.pop("body", '{"city": "sydney"}').encode()
    return server._put_city(Request(**fields, body=body))


def test_the_page_may_choose_a_city(server: WebServer, proxy: Proxy) -> None:
    answer = put_city(server)
    assert answer.status == 200
    assert proxy.default == "sydney"
    assert put_city(server, origin="", body='{"city": "LONDON"}').status == 200
    assert proxy.default == "london"


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"content_type": "text/plain"}, 415),
        ({"body": "{"}, 400),
        ({"body": '{"city": 1}'}, 400),
        ({"body": "{}"}, 400),
        ({"body": '{"city": "atlantis"}'}, 400),
    ],
)
def test_nobody_else_may(
    server: WebServer, proxy: Proxy, changed: dict[str, str], status: int
) -> None:
    assert put_city(server, **changed).status == status
    assert proxy.default == "tokyo"


# The page itself


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.loaded: list[str] = []
        self.labelled: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids.append(given["id"])
        if (by := given.get("aria-labelledby")) is not None:
            self.labelled.append(by)
        where = given.get("src") or (given.get("href") if tag == "link" else None)
        if where is not None:
            self.loaded.append(where)


def test_the_page_is_one_file() -> None:
    text = PAGE.read_text()
    page = _Page()
    page.feed(text)
    assert [where for where in page.loaded if not where.startswith("data:")] == []
    assert len(page.ids) == len(set(page.ids))
    assert set(page.labelled) <= set(page.ids)
    # Every element that the script fills is there, and what visitors send never becomes markup.
    assert set(re.findall(r"\$\(\"([\w-]+)\"\)", text)) <= set(page.ids)
    assert "innerHTML" not in text
    assert "insertAdjacentHTML" not in text


# Events


def test_a_tail_reads_what_is_appended(tmp_path: Path, observer: Observer) -> None:
    path = tmp_path / "events.jsonl"
    tail = EventTail(path, observer.plan)
    assert tail.read() == []
    path.write_bytes(b'{"a": 1}\n{"b": ')
    a, b, c = (
        b'{"%b": %d, "told": "%b=%d"}' % (x, n, x, n) for n, x in enumerate((b"a", b"b", b"c"), 1)
    )
    assert tail.read() == [a]
    with open(path, "ab") as file:
        file.write(b'2}\ntorn\n{"event": "node_attached"}\n{"c": 3}\n')
    assert tail.read() == [b, c]
    assert tail.read() == []
    assert list(tail.last) == [a, b, c]


def test_a_tail_begins_near_the_end(tmp_path: Path, observer: Observer) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(b'{"n": %d}\n' % number for number in range(20_000)))
    lines = EventTail(path, observer.plan).read()
    assert 1000 < len(lines) < 20_000
    assert json.loads(lines[-1])["n"] == 19_999


# Nodes


def told(
    state: str | None, *, attached: bool = True, pid: int | None = 1, ended: str | None = None
) -> dict[str, Any]:
    programs = [] if state is None else [{"name": "pop", "state": state}]
    return {"pid": pid, "ended": ended, "attached": attached, "programs": programs}


@pytest.mark.parametrize(
    ("lab", "wan", "state"),
    [
        (None, None, "unknown"),
        (told(None, pid=None, attached=False), None, "gone"),
        (told(None, pid=None, ended="SIGKILL"), None, "gone"),
        (told("ready", pid=None), None, "ready"),
        (told("dead"), {"vanished": False}, "dead"),
        (told("paused"), {"vanished": True}, "paused"),
        (told("ready"), {"vanished": True}, "vanished"),
        (told("ready"), {"vanished": False}, "ready"),
        (told(None), None, "ready"),
        (told("ready", attached=False), None, "detached"),
    ],
)
def test_one_word_for_a_node(
    lab: dict[str, Any] | None, wan: dict[str, Any] | None, state: str
) -> None:
    assert node_state(lab, wan) == state


def test_a_lab_that_does_not_answer_still_has_an_account(observer: Observer) -> None:
    import asyncio

    state = asyncio.run(observer.state())
    assert {"lab", "wan", "dublin connector", "LHR"} <= set(state["silent"])
    assert {node["state"] for node in state["nodes"]} == {"unknown"}
    assert len(state["overlay"]) == 28
    first = state["overlay"][0]
    assert (first["a"], first["b"], first["declared_ms"]) == ("LHR", "FRA", 14.0)
    assert (first["measured_ms"], first["up"]) == (None, False)


# Metrics


def test_targets_are_reached_as_the_asker_reached_us(observer: Observer, proxy: Proxy) -> None:
    targets = Exposition(observer, proxy).targets("lab:8080")
    nodes = [target["labels"]["node"] for target in targets]
    assert nodes == [*observer.plan.pops, "dublin", "wan", "lab"]
    assert {tuple(target["targets"]) for target in targets} == {("lab:8080",)}
    labels = targets[0]["labels"]
    assert (labels["__metrics_path__"], labels["kind"]) == ("/metrics/LHR", "pop")


def test_metrics_of_wan_and_lab_follow_the_conventions(observer: Observer, proxy: Proxy) -> None:
    from prometheus_client.exposition import generate_latest
    from prometheus_client.parser import text_string_to_metric_families

    status = {
        "packets": 5,
        "on_the_way": 1,
        "flows": 2,
        "lateness": {"p50_s": 0.1, "p99_s": 0.2, "max_s": None},
        "nodes": [{"node": "LHR", "attached": True}],
    }
    counters = {
        "packets": 3,
        "bytes": 300,
        "delivered": 2,
        "queue_bytes": 0,
        "drops": {"loss": 1},
    }
    links = [{"from": "LHR", "to": None, "current": {"one_way_s": 0.1}, "counters": counters}]
    state = {
        "nodes": [{"name": "LHR", "kind": "pop", "state": "ready"}],
        "catchment": [
            {"visitor": "tokyo", "lands": "NRT", "rtt_ms": 5.0},
            {"visitor": "london", "lands": None, "rtt_ms": None},
        ],
        "connectors": [{"site": "d", "name": "c", "tunnel": "t", "ready": 3, "wanted": 4}],
    }
    page = generate_latest(registry(lambda: wan_families(status, links), process=False))
    page += generate_latest(registry(lambda: lab_families(state, proxy), process=False))
    families = {family.name: family for family in text_string_to_metric_families(page.decode())}
    (drops,) = families["popnet_wan_link_drops"].samples
    assert drops.labels == {"source": "LHR", "destination": "", "reason": "loss"}
    assert [sample.value for sample in families["popnet_lab_catchment_rtt_seconds"].samples] == [
        0.005
    ]
    assert families["popnet_lab_tunnel_connections_wanted"].samples[0].value == 4
    assert len(families["popnet_gateway_connections"].samples) == 8

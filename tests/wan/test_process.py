"""The wan process over real sockets: socket pairs stand for devices, the loop is turned by hand.

Links have no delay here, so every turn finds something to do at once and nothing has to be waited for.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from topology.plan import Plan
from wan.process import Process

NEAR = {"defaults": {"rate_mbit": "unlimited"}, "missing": {"inflation": 1, "last_mile_rtt_ms": 0}}
ORIGIN = {"at": [0, 0]}


class Client:
    """A client of the control socket; `turn` lets the process work."""

    def __init__(self, process: Process, turn: Callable[[], None]) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(5)
        process.control.serve(theirs)
        self._turn = turn
        self._buffer = b""

    def ask(self, *fds: int, **request: object) -> dict[str, object]:
        self.say(*fds, **request)
        return self.line()

    def say(self, *fds: int, **request: object) -> None:
        socket.send_fds(self.socket, [json.dumps(request).encode() + b"\n"], list(fds))
        self._turn()

    def line(self) -> dict[str, object]:
        while b"\n" not in self._buffer:
            self._receive()
        line, self._buffer = self._buffer.split(b"\n", 1)
        answer: dict[str, object] = json.loads(line)
        return answer

    def bytes(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._receive()
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        assert data, "the process cut us"
        self._buffer += data

    def is_cut(self) -> bool:
        """The process has done what it does: what is here now is all."""
        self.socket.setblocking(False)
        try:
            while self.socket.recv(1 << 20):
                pass
        except OSError:
            return False
        finally:
            self.socket.settimeout(5)
        return True

    def close(self) -> None:
        self.socket.close()
        self._turn()


class Lab:
    def __init__(self, plan: Plan, directory: Path) -> None:
        self.plan = plan
        self.events = directory / "events.jsonl"
        self.process = Process(plan, str(directory / "wan.sock"), str(self.events))
        self.clients: list[Client] = []
        self.devices: dict[str, socket.socket] = {}

    def turn(self) -> None:
        """As many turns as there is something to do at once."""
        self.process.carrier.call_at(0.0, lambda: None)
        self.process.carrier.turn()
        for _ in range(3):
            self.process.carrier.call_at(0.0, lambda: None)
            self.process.carrier.turn()

    def client(self) -> Client:
        made = Client(self.process, self.turn)
        self.clients.append(made)
        return made

    def attach(self, node: str) -> Client:
        """The node's end of its device is `devices[node]`."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(5)
        client = self.client()
        with theirs:
            assert client.ask(theirs.fileno(), op="attach", node=node) == {"ok": True}
        self.devices[node] = ours
        return client

    def logged(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.events.read_text().splitlines()]

    def close(self) -> None:
        self.process.close()
        for client in self.clients:
            client.socket.close()
        for device in self.devices.values():
            device.close()


@pytest.fixture
def lab(planner, tmp_path: Path) -> Iterator[Lab]:  # type: ignore[no-untyped-def]
    plan = planner(
        pops={
            "LHR": {**ORIGIN, "region": 1},
            "NRT": {**ORIGIN, "region": 2},
            "SIN": {**ORIGIN, "region": 1},
        },
        visitors={"tokyo": ORIGIN, "london": ORIGIN},
        sites={"dublin": ORIGIN},
        internet=NEAR,
        anycast={"convergence": 0},
    )
    made = Lab(plan, tmp_path)
    yield made
    made.close()


def test_packets_pass_and_are_counted(lab: Lab, bench) -> None:  # type: ignore[no-untyped-def]
    lab.attach("tokyo")
    lab.attach("NRT")
    sent = bench.udp("tokyo", "NRT", size=1400)
    for _ in range(3):
        lab.devices["tokyo"].send(sent)
        lab.turn()
    received = [lab.devices["NRT"].recv(65536) for _ in range(3)]
    assert {data[12:] for data in received} == {sent[12:]}
    (row,) = lab.client().ask(op="links", pairs=None)["links"]  # type: ignore[misc]
    assert (row["from"], row["to"]) == ("tokyo", "NRT")
    assert row["counters"] == {
        "packets": 3, "bytes": 4200, "delivered": 3, "duplicates": 0, "drops": {}, "queue_bytes": 0
    }  # fmt: skip
    status = lab.client().ask(op="status")
    assert status["packets"] == 3
    assert status["lateness"]["max_s"] >= status["lateness"]["p50_s"] >= 0  # type: ignore[index]


def test_what_cannot_be_written_is_a_drop(lab: Lab, bench) -> None:  # type: ignore[no-untyped-def]
    lab.attach("tokyo")
    agent = lab.attach("NRT")
    lab.devices["NRT"].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for _ in range(2000):
        lab.devices["tokyo"].send(bench.udp("tokyo", "NRT", size=1400))
        lab.turn()
    (row,) = lab.client().ask(op="links", pairs=[["tokyo", "NRT"]])["links"]  # type: ignore[misc]
    assert row["counters"]["drops"]["tx"] == 2000 - row["counters"]["delivered"] > 0
    agent.close()
    lab.devices["tokyo"].send(bench.udp("tokyo", "NRT"))
    lab.turn()
    (row,) = lab.client().ask(op="links", pairs=[["tokyo", "NRT"]])["links"]  # type: ignore[misc]
    assert row["counters"]["drops"]["detached"] == 1


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_end_of_an_agent_closes_its_device_at_once(lab: Lab) -> None:
    agent = lab.attach("NRT")
    agent.close()
    assert lab.devices["NRT"].recv(100) == b""
    assert lab.logged() == ["attached", "detached"]


def test_attaching_again_replaces(lab: Lab, bench) -> None:  # type: ignore[no-untyped-def]
    lab.attach("tokyo")
    first = lab.attach("NRT")
    old = lab.devices["NRT"]
    lab.attach("NRT")
    assert old.recv(100) == b""
    assert first.is_cut()
    old.close()
    lab.devices["tokyo"].send(bench.udp("tokyo", "NRT"))
    lab.turn()
    assert lab.devices["NRT"].recv(65536)


def test_a_device_that_ends_is_let_go_and_can_come_back(lab: Lab, bench) -> None:  # type: ignore[no-untyped-def]
    agent = lab.attach("NRT")
    lab.devices["NRT"].close()
    lab.turn()
    nodes = {row["node"]: row for row in lab.client().ask(op="status")["nodes"]}  # type: ignore[attr-defined]
    assert not nodes["NRT"]["attached"]
    assert "device_lost" in lab.logged()
    agent.close()
    lab.attach("NRT")
    assert lab.devices["NRT"].send(bench.udp("NRT", "tokyo"))


def test_no_descriptor_is_lost(lab: Lab) -> None:
    client = lab.client()
    before = descriptors()
    with open(os.devnull) as null:  # epoll does not take it: it is always ready
        assert not client.ask(null.fileno(), op="attach", node="NRT")["ok"]
    assert not client.ask(0, op="attach", node="nobody")["ok"]
    assert not client.ask(op="attach", node="NRT")["ok"]
    assert client.ask(0, 0, op="status")["ok"]
    for _ in range(5):
        agent = lab.attach("NRT")
        agent.close()
        lab.devices["NRT"].close()
    assert descriptors() == before


def test_announcements_make_catchments(lab: Lab) -> None:
    agents = {name: lab.attach(name) for name in ("LHR", "NRT")}
    rows = lab.client().ask(op="catchment", address=None)["rows"]
    assert [row["lands"] for row in rows] == [None, None]  # type: ignore[attr-defined]
    for agent in agents.values():
        assert agent.ask(op="announce", up=True) == {"ok": True}
    lab.client().ask(op="pin", visitor="london", pop="NRT")
    rows = lab.client().ask(op="catchment", address=None)["rows"]
    assert rows == [
        {"visitor": "tokyo", "lands": "LHR", "rtt_s": 0.0, "nearest": "LHR", "nearest_rtt_s": 0.0, "pinned": None},
        {"visitor": "london", "lands": "NRT", "rtt_s": 0.0, "nearest": "LHR", "nearest_rtt_s": 0.0, "pinned": "NRT"},
    ]  # fmt: skip
    landing = {"op": "lands", "node": "tokyo", "address": "198.18.0.1"}
    assert lab.client().ask(**landing) == {"ok": True, "lands": "LHR"}
    agents["LHR"].ask(op="announce", up=False)
    lab.turn()
    assert lab.client().ask(**landing) == {"ok": True, "lands": "NRT"}
    rows = lab.client().ask(op="catchment", address="198.18.0.1")["rows"]
    assert [row["lands"] for row in rows] == ["NRT", "NRT"]  # type: ignore[attr-defined]
    assert [event for event in lab.logged() if event != "catchment_changed"] == [
        "attached", "attached", "announced", "announced", "pinned", "withdrawing", "withdrawn"
    ]  # fmt: skip


def test_set_and_reset(lab: Lab) -> None:
    client = lab.client()
    change = {"from": "LHR", "to": "NRT", "both": True, "set": {"rtt_s": 0.4}}
    assert client.ask(op="set", changes=[change]) == {"ok": True, "changed": 2}
    rows = client.ask(op="links", pairs=None)["links"]
    assert [row["current"]["one_way_s"] for row in rows] == [0.2, 0.2]  # type: ignore[attr-defined]
    assert [row["declared"]["one_way_s"] for row in rows] == [0.0, 0.0]  # type: ignore[attr-defined]
    assert client.ask(op="reset", pairs=[["NRT", "LHR"]]) == {"ok": True, "changed": 1}
    assert client.ask(op="reset", pairs=None) == {"ok": True, "changed": 1}
    assert client.ask(op="links", pairs=None)["links"] == []


@pytest.mark.parametrize(
    ("request_", "key"),
    [
        ({"op": "sett"}, "op"),
        ({}, "op"),
        (
            {"op": "set", "changes": [{"from": "LHR", "to": "NRT", "set": {"los": 1}}]},
            "changes[0].set.los",
        ),
        ({"op": "vanish", "node": "LHR"}, "on"),
        ({"op": "vanish", "node": "LRH", "on": True}, "node"),
        ({"op": "pin", "visitor": "tokyo", "pop": "london"}, "pop"),
        ({"op": "partition", "groups": ["LHR"]}, "groups"),
        ({"op": "partition", "groups": [["LHR"], ["paris"]]}, "groups[1]"),
        ({"op": "catchment", "address": "198.18.0.2"}, "address"),
        ({"op": "lands", "node": "tokyo", "address": "198.18.0.2"}, "address"),
        ({"op": "lands", "node": "tokio", "address": "198.18.0.1"}, "node"),
        ({"op": "capture"}, "node"),
        ({"op": "announce", "up": True}, "op"),
        ({"op": "links", "pairs": [["LHR"]]}, "pairs[0]"),
        ({"op": "reset", "pairs": "all"}, "pairs"),
    ],
)
def test_bad_requests_are_answered_and_change_nothing(
    lab: Lab, request_: dict[str, object], key: str
) -> None:
    client = lab.client()
    answer = client.ask(**request_)
    assert (answer["ok"], answer["key"]) == (False, key)
    assert answer["error"]
    assert client.ask(op="links", pairs=None)["links"] == []


@pytest.mark.parametrize("line", [b"nonsense\n", b"[1]\n", b'{"op": NaN}\n', b"\xff\xfe\n"])
def test_what_is_no_json_object_is_answered(lab: Lab, line: bytes) -> None:
    client = lab.client()
    client.socket.send(line)
    lab.turn()
    assert client.line()["ok"] is False
    assert client.ask(op="status")["ok"]


def test_requests_in_pieces_and_several_at_once(lab: Lab) -> None:
    client = lab.client()
    client.socket.send(b'{"op":"sta')
    lab.turn()
    client.socket.send(b'tus"}\n\n{"op":"links","pairs":null}\n{"op":"x"}\n')
    lab.turn()
    assert "nodes" in client.line()
    assert "links" in client.line()
    assert client.line()["ok"] is False


def test_an_endless_line_is_cut(lab: Lab) -> None:
    client = lab.client()
    client.socket.setblocking(False)
    for _ in range(40):
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            client.socket.send(b"x" * 65536)
        lab.turn()
    client.socket.settimeout(5)
    assert client.is_cut()


def test_subscribers_hear_of_everything(lab: Lab) -> None:
    listener = lab.client()
    assert listener.ask(op="subscribe") == {"ok": True}
    lab.attach("NRT")
    client = lab.client()
    client.ask(op="set", changes=[{"from": "LHR", "to": "NRT", "set": {"loss": 0.5}}])
    client.ask(op="vanish", node="LHR", on=True)
    heard = [listener.line() for _ in range(3)]
    assert [(event["event"], event["node"]) for event in heard] == [
        ("attached", "NRT"), ("link_changed", "wan"), ("vanished", "LHR")
    ]  # fmt: skip
    (change,) = heard[1]["changes"]  # type: ignore[misc]
    assert (change["from"], change["to"], change["current"]["loss"]) == ("LHR", "NRT", 0.5)
    assert lab.logged() == [event["event"] for event in heard]


def test_subscribers_that_do_not_read_are_cut(lab: Lab) -> None:
    listener = lab.client()
    listener.ask(op="subscribe")
    client = lab.client()
    for number in range(4000):
        change = {"from": "LHR", "to": "NRT", "both": True, "set": {"loss": number % 2 / 2}}
        client.ask(op="set", changes=[change])
    assert listener.is_cut()
    assert client.ask(op="status")["ok"]


def records(client: Client, count: int) -> list[tuple[float, bytes]]:
    found = []
    for _ in range(count):
        seconds, nanoseconds, size, whole = struct.unpack("<IIII", client.bytes(16))
        assert size == whole
        found.append((seconds + nanoseconds / 1e9, client.bytes(size)))
    return found


def test_a_capture_of_a_node_is_a_pcap_file(lab: Lab, bench) -> None:  # type: ignore[no-untyped-def]
    for node in ("tokyo", "NRT"):
        lab.attach(node)
    watcher = lab.client()
    assert watcher.ask(op="capture", node="tokyo") == {"ok": True}
    assert struct.unpack("<IHHiIII", watcher.bytes(24)) == (0xA1B23C4D, 2, 4, 0, 0, 65535, 101)
    sent, answer = bench.udp("tokyo", "NRT"), bench.udp("NRT", "tokyo", (53, 40000))
    for node, data in (("tokyo", sent), ("NRT", answer), ("tokyo", sent)):
        lab.devices[node].send(data)
        lab.turn()
    found = records(watcher, 3)
    assert [data[12:] for _, data in found] == [sent[12:], answer[12:], sent[12:]]
    assert [data[8] for _, data in found] == [64, 62, 64]
    times = [at for at, _ in found]
    assert times == sorted(times)
    watcher.close()
    assert lab.process.fabric.doors["tokyo"].taps == ()


def test_a_capture_of_a_pair_sees_both_directions_and_nothing_else(lab: Lab, bench) -> None:  # type: ignore[no-untyped-def]
    for node in ("tokyo", "NRT", "LHR"):
        lab.attach(node)
    watcher = lab.client()
    watcher.ask(op="capture", pair=["NRT", "tokyo"])
    watcher.bytes(24)
    for source, destination in (("tokyo", "NRT"), ("tokyo", "LHR"), ("NRT", "tokyo")):
        lab.devices[source].send(bench.udp(source, destination))
        lab.turn()
    assert [data[12:20] for _, data in records(watcher, 2)] == [
        bench.udp("tokyo", "NRT")[12:20], bench.udp("NRT", "tokyo")[12:20]
    ]  # fmt: skip


def test_a_capture_that_is_not_read_leaves_packets_out_and_stops_nothing(lab: Lab, bench) -> None:  # type: ignore[no-untyped-def]
    for node in ("tokyo", "NRT"):
        lab.attach(node)
    watcher = lab.client()
    watcher.ask(op="capture", node="tokyo")
    for _ in range(1500):
        lab.devices["tokyo"].send(bench.udp("tokyo", "NRT", size=1400))
        lab.turn()
        assert lab.devices["NRT"].recv(65536)
    assert not watcher.is_cut()
    assert lab.client().ask(op="status")["packets"] == 1500


def test_the_timeline_starts_when_told_and_once(planner, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    timeline = [
        {"at": "0s", "kill": "NRT"},
        {"at": "0s", "cut": ["LHR", "NRT"]},
        {"at": "0s", "vanish": "SIN"},
    ]
    lab = Lab(planner(timeline=timeline), tmp_path)
    try:
        client = lab.client()
        assert client.ask(op="start_timeline")["ok"]
        lab.turn()
        assert not client.ask(op="start_timeline")["ok"]
        assert [event for event in lab.logged() if event != "catchment_changed"] == [
            "timeline_started", "node_action", "link_changed", "vanished"
        ]  # fmt: skip
        assert lab.process.fabric.link("LHR", "NRT").spec.down
    finally:
        lab.close()


def test_another_timeline_when_nothing_is_left_of_the_first(lab: Lab) -> None:
    client = lab.client()
    cut = {"type": "cut", "links": [["LHR", "NRT"]]}
    now = {"at_s": 0.0, "for_s": None, "what": cut}
    assert client.ask(op="start_timeline", happenings=[{**now, "at_s": 1e6}])["ok"]
    assert not client.ask(op="start_timeline", happenings=[now])["ok"], "the first is not over"


@pytest.mark.parametrize(
    "what", [{"type": "kill", "nodes": ["XXX"]}, {"type": "explode"}, {"type": "kill"}]
)
def test_a_timeline_of_nobody_here(lab: Lab, what: dict[str, object]) -> None:
    raw = [{"at_s": 0.0, "for_s": None, "what": what}]
    answer = lab.client().ask(op="start_timeline", happenings=raw)
    assert (answer["ok"], answer["key"].split("[")[0]) == (False, "happenings")


def test_a_timeline_is_played_again(lab: Lab) -> None:
    client = lab.client()
    raw = [{"at_s": 0.0, "for_s": 0.0, "what": {"type": "vanish", "nodes": ["SIN"]}}]
    for _ in range(2):
        assert client.ask(op="start_timeline", happenings=raw)["ok"]
        lab.turn()
    assert [one for one in lab.logged() if one in ("vanished", "returned")] == [
        "vanished", "returned", "vanished", "returned"
    ]  # fmt: skip


def test_the_socket_is_removed_and_a_stale_one_replaced(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "wan.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    process = Process(plan, str(path), None)
    with pytest.raises(OSError, match="in use"):
        Process(plan, str(path), None)
    assert path.exists()
    process.close()
    assert not path.exists()


OPERATIONS = [
    "attach",
    "announce",
    "status",
    "links",
    "rtts",
    "set",
    "reset",
    "vanish",
    "partition",
    "pin",
    "catchment",
    "lands",
]
FIELDS = ["node", "up", "pairs", "changes", "on", "groups", "visitor", "pop", "address"]
KEYS = [
    "from",
    "to",
    "access",
    "both",
    "set",
    "rtt_s",
    "loss",
    "rate_bps",
    "one_way_s",
    "burst",
    "mtu",
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-10, 10**12)
    | st.sampled_from(["LHR", "NRT", "tokyo", "dublin", "", "198.18.0.1", "loss"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(OPERATIONS),
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4),
)
def test_no_request_breaks_the_process(lab: Lab, bench, op: str, fields: dict[str, object]) -> None:  # type: ignore[no-untyped-def]
    if "tokyo" not in lab.devices:
        for node in ("tokyo", "NRT"):
            lab.attach(node)
    client = lab.client()
    assert client.ask(**fields, op=op)["ok"] in (True, False)
    lab.devices["tokyo"].send(bench.udp("tokyo", "NRT", size=1400))
    lab.turn()
    assert client.ask(op="links", pairs=None)["ok"]
    client.close()


def test_absurd_numbers_are_survived(lab: Lab, bench) -> None:  # type: ignore[no-untyped-def]
    for node in ("tokyo", "NRT"):
        lab.attach(node)
    client = lab.client()
    for fields in (
        {"one_way_s": 1e300},
        {"rate_bps": 5e-324},
        {"rate_bps": 1e-300},
        {"jitter_s": 1e300},
    ):
        client.ask(op="reset", pairs=None)
        assert client.ask(op="set", changes=[{"from": "tokyo", "to": "NRT", "set": fields}])["ok"]
        for _ in range(3):
            lab.devices["tokyo"].send(bench.udp("tokyo", "NRT"))
            lab.turn()
        assert client.ask(op="links", pairs=None)["ok"]
        assert client.ask(op="rtts", pairs=[["tokyo", "NRT"]])["ok"]

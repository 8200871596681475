"""Every command of `popnet` against one small running lab."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from lab import isolation
from lab.driver import Lab
from wan.agent import linux

from .conftest import SMALL_WORLD, Popnet

pytestmark = pytest.mark.system


@pytest.fixture
def s(popnet: Popnet, lab: Lab) -> Popnet:
    """The command with its lab running."""
    return popnet.of("s")


def test_status_tells_the_headline_and_json_the_rest(s: Popnet) -> None:
    assert s("status", "-n", "s").startswith("s  ready  3/3 PoPs  4/4 tunnel connections (")
    told = json.loads(s("status", "-n", "s", "-o", "json"))
    assert {node["name"] for node in told["nodes"]} == {
        *("LHR", "FRA", "IAD"),
        *("london", "new-york", "dublin"),
    }
    assert all(node["ready"] for node in told["nodes"])
    (connector,) = told["connectors"]
    assert sorted(connector["pops"]) == ["FRA", "FRA", "LHR", "LHR"]


def test_the_only_lab_needs_no_name_to_be_looked_at(popnet: Popnet, lab: Lab) -> None:
    assert popnet("status").startswith("s  ready")
    popnet("link", "reset", code=3)


def test_catchment(s: Popnet) -> None:
    rows = {row["visitor"]: row for row in json.loads(s("catchment", "-o", "json"))}
    assert rows["london"]["lands"] == "LHR"
    assert rows["new-york"]["lands"] == "IAD"
    assert "london    LHR      4  LHR          0" in s("catchment")


def test_a_link_is_set_shown_and_reset(s: Popnet, lab: Lab) -> None:
    s("link", "set", "lhr", "IAD", "--rtt", "100ms", "--loss", "0%")
    both = json.loads(s("link", "show", "LHR", "IAD", "-o", "json"))
    assert [one["current"]["one_way_s"] for one in both] == [0.05, 0.05]
    s("link", "set", "LHR:IAD", "--one-way", "20ms", "--rate", "10mbit", "--queue", "20ms")
    forth, back = json.loads(s("link", "show", "LHR", "IAD", "-o", "json"))
    assert (forth["current"]["one_way_s"], back["current"]["one_way_s"]) == (0.02, 0.05)
    assert (forth["current"]["rate_bps"], back["current"]["rate_bps"]) == (10e6, None)
    told = s("exec", "LHR", "--", "ping", "-c1", "-W2", "IAD")
    assert 70 <= float(told.split("time=")[1].split()[0]) < 100
    s("link", "set", "london", "--rate", "5mbit")
    assert "5" in s("link", "show", "london")
    s("link", "reset")
    assert all(one["current"] == one["declared"] for one in lab.wan("links")["links"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("link", "set", "LHR", "IAD"),
        ("link", "set", "LHR", "LHX", "--down"),
        ("link", "set", "LHR:IAD", "--rtt", "5ms"),
        ("link", "set", "LHR", "IAD", "--rtt", "5"),
        ("link", "set", "LHR", "IAD", "--loss", "200%"),
        ("link", "set", "LHR", "FRA", "IAD", "--down"),
        ("link", "set", "LHR", "IAD", "--mtu", "1"),
        ("kill", "paris"),
        ("drain", "london"),
        ("capture", "LHR:FRA:IAD", "-w", "-"),
        ("kill", "dublin", "--program", "conector"),
        ("logs", "nobody"),
        ("up", "/nowhere.yaml"),
        ("validate", "/nowhere.yaml"),
    ],
)
def test_what_makes_no_sense_is_bad_input(s: Popnet, arguments: tuple[str, ...]) -> None:
    s(*arguments, code=2)


def test_a_missing_lab_has_its_own_code(s: Popnet) -> None:
    for command in ("status", "catchment", "events", "logs", "metrics"):
        s(command, "-n", "nobody", code=3)


def test_validate(s: Popnet, world: Path, tmp_path: Path) -> None:
    assert "3 PoPs, 2 visitors, 1 site, 1 tunnel" in s("validate", str(world))
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(SMALL_WORLD.replace("site: dublin", "site: dublim"))
    told = s("validate", str(wrong), code=2)
    assert "wrong.yaml:" in told
    assert "dublin" in told
    (problem,) = json.loads(s("validate", str(wrong), "-o", "json", code=2))
    assert problem["line"] > 1


def test_doctor_says_what_there_is(s: Popnet) -> None:
    findings = {one["what"]: one for one in json.loads(s("doctor", "-o", "json"))}
    assert findings["tun"]["ok"]
    assert findings["python"]["found"] == ".".join(str(part) for part in sys.version_info[:3])


def test_a_death_and_a_return_are_told(s: Popnet) -> None:
    told = s("kill", "IAD", "-n", "s")
    assert told.startswith("IAD killed; anycast withdrawn in 0.")
    assert "2/3 PoPs" in s("status")
    assert "IAD   pop   100.64.0.3  dead   pop dead (SIGKILL)" in s("status")
    assert s("start", "IAD").startswith("IAD ready in ")
    assert s("vanish", "IAD").startswith("IAD vanished; anycast withdrawn in 0.")
    assert "2/3 PoPs" in s("status")
    assert "IAD   pop   100.64.0.3  vanished  pop ready" in s("status")
    s("exec", "london", "--", "ping", "-c1", "-W1", "IAD", code=1)
    s("start", "IAD")
    assert "1 received" in s("exec", "london", "--", "ping", "-c1", "-W2", "IAD")


def test_a_paused_origin_holds_its_answer_until_it_is_resumed(s: Popnet, lab: Lab) -> None:
    assert s("pause", "dublin", "--program", "service") == "dublin paused\n"
    asked = ["curl", "-sS", "-m20", "-w%{http_code}", "-o/dev/null", "https://app.example.com/"]
    with lab.popen("london", asked, stdout=-1) as process:
        state = json.loads(s("status", "-o", "json"))
        programs = next(node["programs"] for node in state["nodes"] if node["name"] == "dublin")
        assert programs[0]["state"] == "paused"
        assert process.poll() is None
        s("resume", "dublin")
        assert process.communicate(timeout=20)[0] == b"200"


def test_events_logs_and_metrics(s: Popnet) -> None:
    s("link", "set", "LHR:FRA", "--loss", "0.001%")
    s("link", "reset")
    events = [json.loads(line) for line in s("events", "-o", "json").splitlines()]
    seen = {(event["node"], event["event"]) for event in events}
    assert {("lab", "lab_ready"), ("LHR", "tunnel_connected"), ("wan", "link_changed")} <= seen
    assert all(event["t"] > 0 for event in events)
    assert len(s("events", "--tail", "3").splitlines()) == 3
    only = s("events", "--node", "LHR", "-o", "json")
    assert only.count("\n") == sum(event["node"] == "LHR" for event in events)
    assert "dublin connector" in s("logs", "dublin")
    metrics = s("metrics")
    for node, program in (("LHR", "pop"), ("IAD", "pop"), ("dublin", "connector")):
        assert f'popnet_up{{node="{node}",program="{program}"}} 1' in metrics
    heads = [line for line in metrics.splitlines() if line.startswith("# TYPE ")]
    assert len(heads) == len(set(heads)) > 5


def test_metrics_are_served_for_prometheus(s: Popnet) -> None:
    with s.popen("metrics", "--serve", "0") as process:
        assert process.stderr is not None
        address = process.stderr.readline().split(";")[0]
        with urlopen(address) as answer:
            assert b'popnet_up{node="LHR",program="pop"} 1' in answer.read()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    assert process.returncode == 130


def test_events_are_followed_live(s: Popnet) -> None:
    with s.popen("events", "-f", "-o", "json") as process:
        assert process.stdout is not None
        s("link", "set", "LHR:FRA", "--loss", "0.001%")
        found = {}
        while found.get("event") != "link_changed" or found["changes"][0]["current"]["loss"] == 0:
            found = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    s("link", "reset")
    assert found["changes"][0]["from"] == "LHR"


def test_a_capture_is_a_pcap_file_with_the_packets(s: Popnet, tmp_path: Path) -> None:
    path = tmp_path / "london.pcap"
    with s.popen("capture", "london", "-w", str(path)) as process:
        assert process.stderr is not None
        assert "capturing london" in process.stderr.readline()
        s("exec", "london", "--", "ping", "-c2", "-i0.2", "LHR")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    data = path.read_bytes()
    # Magic of a little-endian pcap in micro- or nanoseconds; link type 101: bare IP packets.
    assert data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1")
    assert data[20:24] == b"\x65\0\0\0"
    assert data.count(b"\x08\x00") >= 2
    assert len(data) > 24 + 4 * (16 + 84) - 1


def test_any_program_can_be_wrapped_as_a_node(s: Popnet, lab: Lab) -> None:
    """`python -m wan.attach -- COMMAND` in a namespace that somebody else made: what containers do."""
    os.kill(lab.node_pid("new-york"), signal.SIGKILL)

    def isolated() -> None:
        if not isolation.has_privileges():
            isolation.become_user_root()
        linux.unshare(linux.CLONE_NEWNET)

    address = lab.plan.nodes["new-york"].address
    asked = ["--node", "new-york", "--address", address, "--wan", str(lab.dir.wan_socket)]
    wait = "for n in $(seq 50); do ping -c1 -W1 100.64.0.3 && exit 7; sleep 0.1; done"
    pid = os.fork()
    if pid == 0:
        isolated()
        os.execv(
            sys.executable,
            [sys.executable, "-P", "-m", "wan.attach", *asked, "--", "sh", "-c", wait],
        )
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    s("start", "new-york")


def test_a_drained_site_is_left_without_a_cut(s: Popnet) -> None:
    """Last in this module: it leaves the site without a connector, then brings it back."""
    assert s("drain", "dublin") == "dublin drains\n"
    events = [json.loads(line) for line in s("events", "-o", "json").splitlines()]
    assert ("dublin", "node_stop") in {(event["node"], event["event"]) for event in events}
    s("start", "dublin", code=None)

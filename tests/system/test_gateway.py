"""The way in from the machine: programs that know nothing of the lab, by its proxy; a real browser; the page."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lab.driver import Lab, LabError
from lab.gateway import ports
from lab.gateway.ports import Where

from .browser import Browser, browser, missing
from .conftest import Popnet

pytestmark = pytest.mark.system

PAGE = "https://app.example.com"
DASHBOARD = Path(__file__).resolve().parents[2] / "deploy/grafana/dashboards/popnet.json"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def where(lab: Lab) -> Where:
    found = ports.read(lab.dir.path)
    assert found is not None
    return found


def get(lab: Lab, path: str) -> bytes:
    with _DIRECT.open(f"http://127.0.0.1:{where(lab).web}{path}", timeout=20) as answer:
        return bytes(answer.read())


def refusal(lab: Lab, path: str) -> int:
    """The status of a request that fails."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(lab, path)
    with caught.value as error:
        return int(error.code)


def state(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get(lab, "/api/state"))
    return found


def until(holds: Callable[[], Any], within_s: float = 20.0) -> Any:
    give_up = time.monotonic() + within_s
    while not (value := holds()):
        assert time.monotonic() < give_up, "it never came true"
        time.sleep(0.05)
    return value


def curl(lab: Lab, proxy: str, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """The machine's curl, outside of every node. `proxy` is scheme://user@, the port is the lab's."""
    environment = {
        name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
    }
    done = subprocess.run(
        [
            "curl",
            "-sS",
            "-m30",
            "--cacert",
            str(lab.dir.pki / "ca.pem"),
            "-x",
            f"{proxy}127.0.0.1:{where(lab).socks}",
            *arguments,
        ],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def ray(head: str) -> str:
    return head.lower().split("cf-ray: ")[1].split()[0].rpartition("-")[2].upper()


# The proxy


@pytest.mark.parametrize(
    ("proxy", "pop"),
    [
        ("socks5h://new-york@", "IAD"),
        ("socks5h://london:any@", "LHR"),
        ("socks5h://", "LHR"),  # the first visitor
        ("http://new-york@", "IAD"),
        ("http://New-York@", "IAD"),
        ("http://", "LHR"),
    ],
)
@pytest.mark.parametrize("url", [PAGE, "http://app.example.com"])
def test_the_user_is_the_city(lab: Lab, proxy: str, pop: str, url: str) -> None:
    done = curl(lab, proxy, "-i", url + "/")
    assert "200" in done.stdout.split("\n")[0] or "\nHTTP/2 200" in done.stdout
    assert ray(done.stdout) == pop


def test_it_is_that_visitor_for_the_service_too(lab: Lab) -> None:
    done = curl(lab, "socks5h://new-york@", "-H", "accept: application/json", PAGE + "/")
    headers = {name.lower(): value for name, value in json.loads(done.stdout)["headers"]}
    assert headers["cf-connecting-ip"] == lab.plan.nodes["new-york"].address


def test_nodes_have_names_and_the_world_outside_has_none(lab: Lab) -> None:
    # The name is resolved; nothing but TLS for host names of the world listens there.
    curl(lab, "socks5h://london@", "http://LHR:81/", code=97)
    done = curl(lab, "http://london@", "-i", "http://www.debian.org/")
    assert done.stdout.startswith("HTTP/1.1 502 www.debian.org does not exist in this lab")
    curl(lab, "socks5h://london@", "http://www.debian.org/", code=97)


def test_an_unknown_city_is_refused_and_the_known_ones_are_told(lab: Lab) -> None:
    done = curl(lab, "http://atlantis@", "-i", "http://app.example.com/")
    line = "HTTP/1.1 403 no visitor 'atlantis' in this world; known: london, new-york"
    assert done.stdout.startswith(line)
    since = lab.events_so_far()
    curl(lab, "socks5h://atlantis@", PAGE, code=97)
    (event,) = [one for one in lab.events(since=since) if one["event"] == "gateway_refused"]
    assert "known: london, new-york" in event["why"]


@pytest.mark.parametrize("proxy", ["socks5h://london@", "http://london@"])
def test_large_bodies_both_ways(lab: Lab, tmp_path: Path, proxy: str) -> None:
    body = hashlib.sha256(b"popnet").digest() * (5 * 1024 * 1024 // 32)
    (tmp_path / "sent").write_bytes(body)
    curl(
        lab,
        proxy,
        "--data-binary",
        f"@{tmp_path}/sent",
        "-o",
        f"{tmp_path}/echo",
        PAGE + "/echo",
    )
    assert (tmp_path / "echo").read_bytes() == body


def test_nobody_but_this_machine_reaches_it(lab: Lab) -> None:
    for port in (where(lab).web, where(lab).socks):
        listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
        (mine,) = [
            line.split()[1]
            for line in listening
            if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
        ]
        assert mine.startswith("0100007F")


def test_an_agent_gives_sockets_of_two_kinds(lab: Lab) -> None:
    with pytest.raises(LabError, match="type 'raw' is none of tcp, udp"):
        lab.agent("london", "socket", type="raw")


# What befalls it


def test_the_end_of_a_visitor_is_the_end_of_its_connections_and_of_no_others(lab: Lab) -> None:
    address = PAGE + "/sse?n=200&every_ms=100"
    proxy = f"socks5h://{{}}@127.0.0.1:{where(lab).socks}"

    def reading(city: str) -> subprocess.Popen[bytes]:
        authority = str(lab.dir.pki / "ca.pem")
        return subprocess.Popen(
            ["curl", "-sSN", "-m60", "--cacert", authority, "-x", proxy.format(city), address],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    with reading("new-york") as cut, reading("london") as other:
        assert cut.stdout is not None
        assert other.stdout is not None
        try:
            cut.stdout.readline()
            other.stdout.readline()
            lab.agent("new-york", "exit")
            assert cut.wait(10) != 0
            assert other.poll() is None
            done = curl(lab, "http://new-york@", "-i", "http://app.example.com/")
            assert done.stdout.startswith("HTTP/1.1 503 new-york is not running")
        finally:
            other.kill()
    lab.supervisor("node", node="new-york", do="start")
    until(lambda: state_of(lab, "new-york") == "ready")
    done = until(lambda: _head(lab, "new-york"))
    assert ray(done) == "IAD"


def state_of(lab: Lab, name: str) -> str:
    return next(str(node["state"]) for node in state(lab)["nodes"] if node["name"] == name)


def _head(lab: Lab, city: str) -> str:
    proxy = f"socks5h://{city}@127.0.0.1:{where(lab).socks}"
    authority = str(lab.dir.pki / "ca.pem")
    done = subprocess.run(
        ["curl", "-sS", "-m5", "-I", "--cacert", authority, "-x", proxy, PAGE],
        capture_output=True,
        text=True,
    )
    return done.stdout if done.returncode == 0 else ""


def test_a_killed_gateway_comes_back_where_it_was(lab: Lab) -> None:
    before = where(lab)
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: where(lab).pid != before.pid)
    after = where(lab)
    assert (after.web, after.socks) == (before.web, before.socks)
    assert ray(until(lambda: _head(lab, "london"))) == "LHR"
    assert lab.status()["gateway"]["ready"]


def test_labs_side_by_side_have_ports_of_their_own(lab: Lab, popnet: Popnet, world: Path) -> None:
    popnet("up", str(world), "-n", "s2", "--detach")
    try:
        second = Lab(popnet.run_dir("s2"))
        assert {where(lab).web, where(lab).socks}.isdisjoint(
            {where(second).web, where(second).socks}
        )
        assert any("is taken" in note for note in where(second).notes)
        assert where(second).page in popnet("status", "-n", "s2")
        assert state(second)["lab"] == "s2"
    finally:
        popnet("down", "-n", "s2")


def test_a_port_that_was_asked_for_and_is_taken_fails_the_whole(
    popnet: Popnet, world: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = str(somebody.getsockname()[1])
        with popnet.popen("up", str(world), "-n", "s3", "--web-port", port) as process:
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"port {port} for the page: somebody else has it" in errors
    popnet.assert_nothing_left("s3")


def test_ports_may_be_off_and_wrong_ones_are_said(popnet: Popnet, world: Path) -> None:
    popnet("up", str(world), "--web-port", "http", code=2)
    popnet("up", str(world), "-n", "s4", "-d", "--web-port", "off", "--socks-port", "off")
    try:
        found = where(Lab(popnet.run_dir("s4")))
        assert (found.web, found.socks) == (None, None)
        assert "http" not in popnet("status", "-n", "s4")
    finally:
        popnet("down", "-n", "s4")


# Metrics


def test_every_target_of_prometheus_answers(lab: Lab) -> None:
    targets = json.loads(get(lab, "/api/http_sd"))
    names = {target["labels"]["node"] for target in targets}
    assert names == {*lab.plan.pops, "dublin", "wan", "lab"}
    for target in targets:
        assert target["targets"] == [f"127.0.0.1:{where(lab).web}"]
        page = get(lab, target["labels"]["__metrics_path__"]).decode()
        assert page.startswith("# HELP ")
        assert page.endswith("\n")


def test_a_node_without_an_answer_is_down_for_prometheus(lab: Lab) -> None:
    assert refusal(lab, "/metrics/atlantis") == 404
    lab.agent("FRA", "kill")
    try:
        assert refusal(lab, "/metrics/FRA") == 503
        assert 'popnet_up{node="FRA"} 0' in get(lab, "/metrics").decode()
    finally:
        lab.agent("FRA", "start")
        until(lambda: state_of(lab, "FRA") == "ready")
        until(lambda: state(lab)["connectors"][0]["ready"] == 4)


def test_every_metric_of_the_dashboard_is_exported(lab: Lab) -> None:
    exported = {
        line.split()[2]
        for line in get(lab, "/metrics").decode().splitlines()
        if line.startswith("# TYPE ")
    }
    used = set()
    panels = json.loads(DASHBOARD.read_text())["panels"]
    for panel in panels:
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "popnet"
            found = re.findall(r"\b(?:popnet|process)_\w+", target["expr"])
            assert found, f"{panel['title']} asks for nothing of ours"
            used.update(name.removesuffix("_bucket") for name in found)
    # A family is named with its _total in the text format, and sometimes without in its head.
    assert {name for name in used if {name, name.removesuffix("_total")}.isdisjoint(exported)} == (
        set()
    )


# A browser


@pytest.fixture(scope="module")
def page(lab: Lab) -> Iterator[Browser]:
    """The lab's page, opened once for all tests that look at it."""
    if (lacking := missing()) is not None:
        pytest.skip(f"NO BROWSER: {lacking} is not installed (apt-get install chromium-driver)")
    with browser() as found:
        found.open(f"http://localhost:{where(lab).web}/")
        found.until("return document.querySelectorAll('#nodes tr').length > 5")
        yield found


def test_the_page_shows_the_lab(lab: Lab, page: Browser, tmp_path: Path) -> None:
    curl(lab, "socks5h://new-york@", "-o/dev/null", PAGE + "/<b>bold</b>")
    row = page.until(
        "const row = [...document.querySelectorAll('#requests tr')]"
        ".find((one) => one.innerText.includes('bold')); return row && row.innerText"
    )
    assert "new-york › IAD › " in row
    assert "GET app.example.com/<b>bold</b>" in row
    assert page.run("return document.querySelectorAll('#requests b').length") == 0
    text = page.text()
    assert "3/3 PoPs" in text
    assert "4/4 tunnel connections" in text
    assert re.search(r"new-york\s+IAD\s+\d+\s+IAD", text)
    assert text.count("serving") == 4
    assert "tunnel_connected" in text
    assert f"--proxy-server=localhost:{where(lab).socks}" in text
    assert page.run("return document.querySelectorAll('#map circle.pop').length") == 3
    assert page.run("return document.querySelectorAll('#map path.journey').length") > 1
    page.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 20_000
    assert page.console_errors() == []


def test_the_page_follows_what_happens(lab: Lab, page: Browser) -> None:
    lab.wan("set", changes=[{"from": "LHR", "to": "IAD", "both": True, "set": {"rtt_s": 0.05}}])
    try:
        page.until("return document.querySelectorAll('#rtts td.warn').length == 2")
        page.until("return document.querySelectorAll('#map path.changed').length > 0")
    finally:
        lab.wan("reset", pairs=[["LHR", "IAD"], ["IAD", "LHR"]])
    lab.agent("IAD", "kill")
    try:
        page.until("return document.body.innerText.includes('2/3 PoPs')")
        page.until(
            "return [...document.querySelectorAll('#catchment tr')]"
            ".some((row) => /new-york\\s+LHR/.test(row.innerText))"
        )
        page.until("return document.querySelectorAll('#map .pop.off').length == 1")
    finally:
        lab.agent("IAD", "start")
        page.until("return document.body.innerText.includes('3/3 PoPs')")


def test_a_browser_walks_in_by_the_proxy(lab: Lab) -> None:
    if (lacking := missing()) is not None:
        pytest.skip(f"NO BROWSER: {lacking} is not installed (apt-get install chromium-driver)")
    # As if the lab's authority were imported: this very key is trusted, and no other.
    certificate = x509.load_pem_x509_certificate((lab.dir.pki / "visitor.pem").read_bytes())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pin = base64.b64encode(hashlib.sha256(key).digest()).decode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{where(lab).web}/api/city",
        b'{"city": "new-york"}',
        {"content-type": "application/json"},
        method="PUT",
    )
    with _DIRECT.open(request, timeout=10) as answer:
        assert json.load(answer)["city"] == "new-york"
    proxy = f"--proxy-server=localhost:{where(lab).socks}"
    with browser(proxy, f"--ignore-certificate-errors-spki-list={pin}") as found:
        found.open(PAGE + "/")
        text = found.text()
        assert "hello from dublin" in text
        assert lab.plan.nodes["new-york"].address in text
        protocol = "return performance.getEntriesByType('navigation')[0].nextHopProtocol"
        assert found.run(protocol) == "h2"
        found.open("http://www.debian.org/")
        assert "www.debian.org does not exist in this lab" in found.text()


def test_an_ordinary_user_has_a_way_in_too(ordinary: Popnet, world: Path) -> None:
    ordinary("up", str(world), "-n", "o", "--detach")
    try:
        mine = Lab(ordinary.run_dir("o"))
        assert ray(curl(mine, "socks5h://new-york@", "-i", PAGE + "/").stdout) == "IAD"
        assert state(mine)["silent"] == []
    finally:
        ordinary("down", "-n", "o")

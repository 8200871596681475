"""DNS records from the command line: what becomes of a change when some PoPs cannot be reached."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from types import SimpleNamespace
from typing import Any, ClassVar

import msgspec
import pytest
from typer.testing import CliRunner

from lab import everywhere, records
from lab.cli import dns
from lab.driver import LabError
from pops.core.records import Records, encode_records, parse_records
from topology.load import parse_world
from topology.plan import Plan

WORLD = """\
popnet: 1
pops: {LHR: {region: 1}, FRA: {region: 2}, NRT: {region: 1}}
visitors: [tokyo]
sites: {dublin: {service: hello}}
tunnels: {app: {site: dublin}}
dns: {app.example.com: {tunnel: app}}
"""
SHOP = {"name": "shop.example.com", "tunnel": "app"}


class Pop(ThreadingMixIn, UnixStreamServer):
    """The admin door of a PoP, with its records behind it; what it changes it tells `others`."""

    daemon_threads = True

    def __init__(self, name: str, path: Path) -> None:
        self.records = Records(name)
        self.others: list[Pop] = []
        super().__init__(str(path), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    server: Pop
    lock: ClassVar = threading.Lock()

    def do_GET(self) -> None:
        self._answer(200, encode_records(self.server.records.everything()))

    def do_PUT(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = asked.pop("name")
        if "_" in name:
            return self._answer(400, b"no host name")
        with self.lock:
            made = self.server.records.put(name, **asked)
            for other in self.server.others:
                other.records.receive([made])
        return self._answer(200, msgspec.json.encode(made))

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


class FakeLab:
    """A lab with three PoPs; those in `silent` take connections and say nothing."""

    def __init__(self, directory: Path, silent: str = "", vanished: str = "") -> None:
        self.plan = Plan.of(parse_world(WORLD))
        self.dir = SimpleNamespace(records=directory / "records.json")
        self._directory = directory
        self._vanished = vanished
        self.pops: dict[str, Pop] = {}
        self.listening: list[socket.socket] = []
        for name in self.plan.pops:
            if name == silent:
                door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                door.bind(str(self.admin_socket(name)))
                door.listen()
                self.listening.append(door)
            else:
                self.pops[name] = Pop(name, self.admin_socket(name))
        for name, pop in self.pops.items():
            if name != vanished:
                pop.others = [o for n, o in self.pops.items() if n not in (name, vanished)]

    def admin_socket(self, name: str) -> Path:
        return self._directory / f"{name}.sock"

    def status(self) -> dict[str, Any]:
        return {"nodes": [{"name": name, "ready": True} for name in self.plan.pops]}

    def wan(self, operation: str, **_: Any) -> dict[str, Any]:
        assert operation == "status"
        return {"nodes": [{"node": n, "vanished": n == self._vanished} for n in self.plan.pops]}

    def kept(self) -> dict[str, int]:
        return {one.name: one.version for one in parse_records(self.dir.records.read_bytes())}

    def close(self) -> None:
        for pop in self.pops.values():
            pop.shutdown()
            pop.server_close()
        for door in self.listening:
            door.close()


@pytest.fixture
def lab_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    monkeypatch.setattr(everywhere, "ANSWER_S", 0.2)
    monkeypatch.setattr(records, "PATIENCE_S", 0.2)
    labs: list[FakeLab] = []

    def make(**how: str) -> FakeLab:
        lab = FakeLab(tmp_path, **how)
        labs.append(lab)
        monkeypatch.setattr(dns.Lab, "open", lambda *_, **__: lab)
        return lab

    yield make
    for lab in labs:
        lab.close()


def popnet(*arguments: str, code: int = 0) -> tuple[str, str]:
    """Standard output and error of `popnet dns ...`."""
    done = CliRunner().invoke(dns.dns_app, list(arguments))
    assert done.exit_code == code, f"{done.output} {done.exception}"
    return done.stdout, done.stderr


def test_all_pops_have_a_change_and_it_is_kept(lab_with: Callable[..., Any]) -> None:
    lab = lab_with()
    said, _ = popnet("add", "Shop.example.com".lower(), "--tunnel", "app")
    assert said.startswith("shop.example.com leads to app at every PoP after ")
    assert lab.kept() == {"shop.example.com": 1}
    said, _ = popnet("remove", "shop.example.com")
    assert said.startswith("shop.example.com is gone from every PoP after ")
    assert lab.kept() == {"shop.example.com": 2}, "a removal is kept too"


@pytest.mark.parametrize("cut_off", ["LHR", "FRA", "NRT"])
def test_a_pop_that_vanished_is_told_of_and_takes_no_change(
    lab_with: Callable[..., Any], cut_off: str
) -> None:
    """LHR is the first of the world file: it would keep the change to itself."""
    lab = lab_with(vanished=cut_off)
    said, _ = popnet("add", "shop.example.com", "--tunnel", "app", code=1)
    assert said == f"shop.example.com leads to app; not yet at {cut_off} (vanished)\n"
    assert lab.kept() == {"shop.example.com": 1}
    holding = {name for name, pop in lab.pops.items() if pop.records.get("shop.example.com")}
    assert holding == {"LHR", "FRA", "NRT"} - {cut_off}


@pytest.mark.parametrize("paused", ["LHR", "NRT"])
def test_a_pop_that_is_paused_is_told_of(lab_with: Callable[..., Any], paused: str) -> None:
    lab = lab_with(silent=paused)
    said, _ = popnet("add", "shop.example.com", "--tunnel", "app", code=1)
    assert said == f"shop.example.com leads to app; not yet at {paused} (no answer)\n"
    assert lab.kept() == {"shop.example.com": 1}
    said, told = popnet("list")
    assert said.splitlines()[1].endswith(f"yes; {paused}: no answer")
    assert told == f"popnet: no answer from {paused} within 0.2 s\n"
    (row,) = json.loads(popnet("list", "-o", "json")[0])
    assert (row["agreed"], row["no_answer"], row["version"]) == (True, [paused], 1)


def test_a_change_is_kept_before_anybody_is_waited_for(
    lab_with: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = lab_with()
    lab.pops["LHR"].others = []
    monkeypatch.setattr(records.time, "sleep", lambda _: lab.kept()["shop.example.com"])
    said, _ = popnet("add", "shop.example.com", "--tunnel", "app", "-o", "json", code=1)
    told = json.loads(said)
    assert told["reached"] == ["LHR"]
    assert told["missing"] == dict.fromkeys(["FRA", "NRT"], "has not heard of it within 0.2 s")
    said, _ = popnet("list")
    assert said.splitlines()[1].endswith("not yet at FRA, NRT")


def test_who_knows_most_takes_the_change(lab_with: Callable[..., Any]) -> None:
    """A PoP that has missed changes would give one of them the version that another has already."""
    lab = lab_with()
    for n in range(4):
        lab.pops["NRT"].records.put(f"n{n}.example.com", tunnel="app")
    lab.pops["NRT"].others = list(lab.pops.values())
    popnet("add", "shop.example.com", "--tunnel", "app")
    assert lab.kept()["shop.example.com"] == 5


def test_what_was_kept_stays_when_nobody_remembers_it(lab_with: Callable[..., Any]) -> None:
    lab = lab_with()
    lab.dir.records.write_text('[{"version":7,"origin":"X","name":"x.example.com","tunnel":"app"}]')
    popnet("add", "shop.example.com", "--tunnel", "app")
    assert lab.kept() == {"shop.example.com": 1, "x.example.com": 7}


def test_replacing_a_name_is_told(lab_with: Callable[..., Any]) -> None:
    lab_with()
    popnet("add", "shop.example.com", "--load-balancer", "www")
    said, _ = popnet("add", "shop.example.com", "--tunnel", "app")
    assert said.endswith("; replaces: load balancer www\n")
    said, _ = popnet("add", "shop.example.com", "--tunnel", "app", "--ttl", "5")
    assert said.endswith("; replaces: TTL 60\n")
    said, _ = popnet("add", "shop.example.com", "--tunnel", "app", "--ttl", "5")
    assert "replaces" not in said


def test_an_error_comes_without_a_word_about_certificates(lab_with: Callable[..., Any]) -> None:
    lab = lab_with()
    done = CliRunner().invoke(dns.dns_app, ["add", "a_b.other.org", "--tunnel", "app"])
    assert isinstance(done.exception, LabError)
    assert str(done.exception) == "no host name"
    assert done.stderr == ""
    assert not lab.dir.records.exists()
    _, told = popnet("add", "a.other.org", "--tunnel", "app")
    assert "certificate is for *.example.com" in told


def test_when_no_pop_answers(lab_with: Callable[..., Any]) -> None:
    lab = lab_with(silent="LHR")
    lab.plan = SimpleNamespace(pops=["LHR"])
    done = CliRunner().invoke(dns.dns_app, ["list"])
    assert isinstance(done.exception, LabError)
    assert str(done.exception) == "no answer from LHR"


@pytest.mark.parametrize("command", ["list", "add", "remove"])
def test_help_has_an_example(command: str) -> None:
    said, _ = popnet(command, "--help")
    assert f"popnet dns {command}" in " ".join(said.split())

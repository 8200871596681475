"""The policy from the command line: which files are taken, and what becomes of a change when some PoPs are away."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from cryptography import x509
from typer.testing import CliRunner

from lab import everywhere, pki, policy, policy_file
from lab.cli import policy as command
from lab.driver import Lab, LabError
from lab.worlds import load_world
from pops.core.ingress import Ingress
from pops.core.records import Record, encode_records
from pops.core.rules import PolicyError, parse_policy
from pops.drivers.security import Security
from runtime.events import EventLog
from topology.load import parse_world
from topology.model_security import SecurityRule
from topology.plan import Plan
from topology.problems import WorldError

WORLD = """\
popnet: 1
pops: {LHR: {region: 1}, FRA: {region: 2}, NRT: {region: 1}}
visitors: [tokyo]
sites: {dublin: {service: hello}}
tunnels: {app: {site: dublin}}
dns: {app.example.com: {tunnel: app}}
security: [{path: /vault/*, require: mtls}, {allow: all}]
access: {certificates: [alice]}
"""
PLAN = Plan.of(parse_world(WORLD))
GUARD = "security: [{path: /admin/*, require: service_token}, {allow: all}]\n"


class Pop(ThreadingMixIn, UnixStreamServer):
    """The admin door of a PoP, with its security behind it."""

    daemon_threads = True

    def __init__(self, path: Path, policy: Path) -> None:
        ingress = cast(Ingress, SimpleNamespace(guard=None))
        events = cast(EventLog, SimpleNamespace(emit=lambda *_, **__: None))
        self.security = Security(ingress, clock=lambda: 0.0, events=events)
        self.security.load(policy)
        super().__init__(str(path), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    server: Pop

    def do_GET(self) -> None:
        assert self.path == "/policy"
        self._answer(200, json.dumps(self.server.security.snapshot()).encode())

    def do_PUT(self) -> None:
        try:
            self.server.security.replace(self._body())
        except PolicyError as error:
            return self._answer(400, str(error).encode())
        return self._answer(200, b"{}")

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


class FakeLab:
    """A lab with three PoPs; those in `silent` take connections and say nothing, those in `dead` do not run."""

    def __init__(self, directory: Path, silent: tuple[str, ...], dead: tuple[str, ...]) -> None:
        self.plan = PLAN
        self.dir = SimpleNamespace(policy=directory / "policy.json", pki=directory / "pki")
        self._directory = directory
        self._dead = dead
        pki.write(self.dir.pki, PLAN.world.dns, PLAN.pops, PLAN.world.access.certificates)
        policy.write(self.dir.policy, policy.of_plan(PLAN))
        self.pops: dict[str, Pop] = {}
        self.doors: list[socket.socket] = []
        for name in PLAN.pops:
            if name in silent:
                door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                door.bind(str(self.admin_socket(name)))
                door.listen()
                self.doors.append(door)
            elif name not in dead:
                self.pops[name] = Pop(self.admin_socket(name), self.dir.policy)

    def admin_socket(self, name: str) -> Path:
        return self._directory / f"{name}.sock"

    def status(self) -> dict[str, Any]:
        return {"nodes": [{"name": n, "ready": n not in self._dead} for n in self.plan.pops]}

    def file(self, text: str) -> str:
        path = self._directory / "guard.yaml"
        path.write_text(text)
        return str(path)

    def versions(self) -> dict[str, int]:
        return {name: pop.security.snapshot()["version"] for name, pop in self.pops.items()}

    def close(self) -> None:
        for pop in self.pops.values():
            pop.shutdown()
            pop.server_close()
        for door in self.doors:
            door.close()


@pytest.fixture
def lab_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FakeLab]]:
    monkeypatch.setattr(everywhere, "ANSWER_S", 0.3)
    labs: list[FakeLab] = []

    def make(silent: tuple[str, ...] = (), dead: tuple[str, ...] = ()) -> FakeLab:
        lab = FakeLab(tmp_path, silent, dead)
        labs.append(lab)
        monkeypatch.setattr(Lab, "open", lambda *_, **__: lab)
        return lab

    yield make
    for lab in labs:
        lab.close()


def popnet(*arguments: str, code: int = 0) -> tuple[str, str]:
    """Standard output and error of `popnet policy ...`."""
    done = CliRunner().invoke(command.policy_app, list(arguments))
    assert done.exit_code == code, f"{done.output} {done.exception}"
    return done.stdout, done.stderr


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(command.policy_app, list(arguments))
    assert isinstance(done.exception, LabError), f"{done.output} {done.exception!r}"
    return str(done.exception)


# Which files are taken


def problem_of(tmp_path: Path, text: str) -> str:
    file = tmp_path / "guard.yaml"
    file.write_text(text)
    with pytest.raises(WorldError) as caught:
        policy_file.read(PLAN, file)
    return str(caught.value).replace(str(tmp_path) + os.sep, "")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "guard.yaml:1:1: found nothing; allowed: a mapping with security, access"),
        ("- 1\n", "guard.yaml:1:1: found a list; allowed: a mapping with security, access"),
        ("security:\n", "guard.yaml:1:1: security: found nothing; allowed: a list of rules, []"),
        ("access: {}\n", "guard.yaml:1:1: security: found no such key; allowed: a list of rules"),
        (
            "securty: []\n",
            "securty: found an unknown key; allowed: security, access (did you mean 'security'?)",
        ),
        (
            "security: []\ndns: {}\n",
            "guard.yaml:2:1: dns: found an unknown key; allowed: security, access (a whole world",
        ),
        (WORLD.replace("security:", "load:  "), "load"),
        (WORLD[: WORLD.index("security:")], "security: found no such key"),
        (WORLD.replace("access:", "acess:"), "'access'?"),
        ("security: [{visitor: paris, allow: all}]\n", "guard.yaml:1:22: security[0].visitor"),
    ],
)
def test_a_file_that_says_no_policy_is_refused(tmp_path: Path, text: str, told: str) -> None:
    assert told in problem_of(tmp_path, text)


def test_no_rules_are_taken_where_they_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "open.yaml").write_text("security: []\n")
    assert policy_file.read(PLAN, tmp_path / "open.yaml")[0].rules == ()


def test_a_world_file_gives_its_policy(tmp_path: Path) -> None:
    """It is the first thing that people try."""
    (tmp_path / "world.yaml").write_text(WORLD.replace("certificates: [alice]", "certificates: x"))
    new, access = policy_file.read(PLAN, tmp_path / "world.yaml")
    assert [rule.action for rule in new.rules] == ["require", "allow"]
    assert access.certificates == ("x",)


def test_its_visitors_are_those_of_the_running_world(tmp_path: Path) -> None:
    other = WORLD.replace("[tokyo]", "[tokyo, paris]")
    other = other.replace("{allow: all}", "{visitor: paris, allow: all}")
    told = problem_of(tmp_path, other)
    assert "found 'paris', which is no visitor; allowed: tokyo" in told


def test_a_visitor_becomes_its_address(tmp_path: Path) -> None:
    (tmp_path / "guard.yaml").write_text("security: [{visitor: tokyo, block: true}]\n")
    new, _ = policy_file.read(PLAN, tmp_path / "guard.yaml")
    assert new.rules[0].address == (PLAN.nodes["tokyo"].address,)


def test_keys_that_no_pop_can_use_are_found_before_any_has_them(tmp_path: Path) -> None:
    shared = '{"keys": [{"kty": "oct", "k": "AAAA", "alg": "HS256"}]}'
    text = f"security: [{{require: jwt}}]\naccess: {{jwt: {{team: {{jwks: '{shared}', audience: a}}}}}}\n"
    told = problem_of(tmp_path, text)
    assert told.startswith("guard.yaml:2:29: access.jwt.team.jwks: found no usable key")
    assert "\n" not in told


def test_a_certificate_that_nobody_asks_for_is_told_of(tmp_path: Path) -> None:
    plan = Plan.of(parse_world(WORLD.replace("{path: /vault/*, require: mtls}, ", "")))
    file = tmp_path / "guard.yaml"
    file.write_text("security: [{require: mtls}]\naccess: {certificates: [alice]}\n")
    with pytest.raises(WorldError, match=r"security\[0\].require: found mtls, and no PoP"):
        policy_file.read(plan, file)
    assert policy_file.read(PLAN, file)[0].rules


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match=r"\.yaml: No such file or directory$"):
        policy_file.read(PLAN, tmp_path / "none.yaml")


# A change of a running lab


def test_a_change_is_in_force_everywhere_and_written_down(
    lab_with: Callable[..., FakeLab],
) -> None:
    lab = lab_with()
    said, _ = popnet("set", lab.file(GUARD))
    assert said == "version 2 with 2 rules is in force at 3 PoPs\n"
    assert lab.versions() == {"LHR": 2, "FRA": 2, "NRT": 2}
    assert parse_policy(lab.dir.policy.read_bytes()).version == 2
    said, _ = popnet("set", lab.file(GUARD), "-o", "json")
    told = {"version": 3, "rules": 2, "reached": ["LHR", "FRA", "NRT"], "missing": {}}
    assert json.loads(said) == told


def test_a_file_that_is_wrong_changes_nothing(lab_with: Callable[..., FakeLab]) -> None:
    lab = lab_with()
    before = lab.dir.policy.read_bytes()
    done = CliRunner().invoke(command.policy_app, ["set", lab.file("")])
    assert isinstance(done.exception, WorldError)
    assert lab.versions() == {"LHR": 1, "FRA": 1, "NRT": 1}
    assert lab.dir.policy.read_bytes() == before


@pytest.mark.parametrize("paused", ["LHR", "FRA", "NRT"])
def test_a_silent_pop_keeps_the_change_from_nobody_else(
    lab_with: Callable[..., FakeLab], paused: str
) -> None:
    lab = lab_with(silent=(paused,))
    others = [pop for pop in PLAN.pops if pop != paused]
    said, _ = popnet("set", lab.file(GUARD), code=1)
    where = ", ".join(others)
    no_answer = f"{paused} (no answer within 0.3 s)"
    assert said == f"version 2 with 2 rules is in force at {where}; not at {no_answer}\n"
    assert lab.versions() == dict.fromkeys(others, 2)
    assert parse_policy(lab.dir.policy.read_bytes()).version == 2, "for its next start"


def test_what_a_pop_has_against_it_is_told(
    lab_with: Callable[..., FakeLab], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = lab_with()

    def refuse(_: bytes) -> None:
        raise PolicyError("rules", "what it does not know", "what it knows")

    monkeypatch.setattr(lab.pops["FRA"].security, "replace", refuse)
    said, _ = popnet("set", lab.file(GUARD), "-o", "json", code=1)
    told = json.loads(said)
    assert told["reached"] == ["LHR", "NRT"]
    assert told["missing"] == {"FRA": "rules: found what it does not know, allowed: what it knows"}
    _, errors = popnet("show")
    assert "FRA has version 1 still; 2 is the newest" in errors


def test_without_pops_it_is_written_down_for_their_start(
    lab_with: Callable[..., FakeLab],
) -> None:
    lab = lab_with(dead=PLAN.pops)
    said, _ = popnet("set", lab.file(GUARD))
    assert "no PoP is running, each reads it when it starts" in said
    assert parse_policy(lab.dir.policy.read_bytes()).version == 2


@pytest.mark.parametrize("left", [b"", b'{"rules": [', b"[]", None])
def test_a_policy_that_nobody_can_read_is_replaced(
    lab_with: Callable[..., FakeLab], left: bytes | None
) -> None:
    lab = lab_with()
    popnet("set", lab.file(GUARD))
    lab.dir.policy.unlink() if left is None else lab.dir.policy.write_bytes(left)
    said, _ = popnet("set", lab.file(GUARD))
    assert said.startswith("version 3 with 2 rules"), "above what PoPs have"
    assert parse_policy(lab.dir.policy.read_bytes()).version == 3


# What is shown


def test_show_says_when_nobody_can_be_asked(lab_with: Callable[..., FakeLab]) -> None:
    lab_with(dead=PLAN.pops)
    assert refused("show") == "no PoP is running"


def test_show_names_the_silent_ones(lab_with: Callable[..., FakeLab]) -> None:
    lab_with(silent=("FRA",))
    said, errors = popnet("show")
    assert said.splitlines()[1].split() == ["1", "/vault/*", "require", "mtls", "0", "0"]
    assert errors == "popnet: no answer from FRA within 0.3 s\n"


def test_show_says_when_nothing_passes(lab_with: Callable[..., FakeLab]) -> None:
    lab = lab_with()
    lab.dir.policy.write_bytes(b"{")
    for pop in lab.pops.values():
        pop.security.load(lab.dir.policy)
    said, errors = popnet("show")
    assert said == "no policy is in force: nothing passes\n"
    assert "LHR lets nothing pass" in errors
    told = json.loads(popnet("show", "-o", "json")[0])
    assert set(told["errors"]) == {"LHR", "FRA", "NRT"}
    popnet("set", lab.file("security: []\n"))
    assert popnet("show") == ("no rules: every request passes\n", "")


# Credentials


def test_credentials_are_those_of_the_policy_in_force(lab_with: Callable[..., FakeLab]) -> None:
    lab = lab_with()
    assert popnet("certificate", "alice")[0].endswith("client-alice.pem\n")
    assert popnet("token", "lab")[0].startswith("CF-Access-Client-Id: lab.popnet\n")
    rules = "security: [{require: service_token}]\n"
    popnet(
        "set",
        lab.file(rules + "access: {service_tokens: [other], certificates: [alice, carol]}\n"),
    )
    secret = popnet("token", "other")[0].split()[-1]
    written = parse_policy(lab.dir.policy.read_bytes())
    assert written.service_tokens["other"].secret_sha256 == policy.digest(secret)
    path = Path(popnet("certificate", "carol")[0].strip())
    certificate, authority = (
        x509.load_pem_x509_certificate(one.read_bytes()[one.read_bytes().index(b"-----BEGIN C") :])
        for one in (path, lab.dir.pki / "ca.pem")
    )
    certificate.verify_directly_issued_by(authority)
    assert path.stat().st_mode & 0o077 == 0
    assert "no name in access.service_tokens 'lab'" in refused("token", "lab")
    popnet("set", lab.file("security: []\naccess: {certificates: []}\n"))
    told = "access.certificates of the policy in force names none"
    assert refused("certificate", "carol") == told


def test_what_is_asked_about_has_to_be_a_url() -> None:
    for wrong in ("https://[bad", "ftp://app.example.com/", "https:///x"):
        with pytest.raises(LabError, match="is no URL; allowed: http"):
            command._split(wrong)
    assert command._split("app.example.com/a?b=1") == ("app.example.com", "/a?b=1")


def test_a_question_keeps_the_method_as_it_was_asked(
    lab_with: Callable[..., FakeLab], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Methods are case-sensitive (RFC 9110, section 9.1): what is asked about is what would be sent."""
    lab: Any = lab_with()
    asked = []

    def admin(_: str, method: str, target: str, body: bytes | None = None) -> Any:
        if target == "/records":
            body = encode_records(
                [Record(0, "", "app.example.com", "app"), Record(2, "NRT", "gone.example.com")]
            )
            return SimpleNamespace(body=body)
        asked.append(msgspec.json.decode(body or b""))
        verdict = {"name": "rule 1 allow", "status": 0, "detail": ""}
        return SimpleNamespace(status=200, json=lambda: verdict)

    lab.admin = admin
    lab.visitor = lambda name: name
    lab.wan = lambda *_, **__: {"rows": [{"visitor": "tokyo", "lands": "NRT"}]}
    popnet("test", "https://app.example.com/", "--from", "tokyo", "--request", "get")
    assert asked[0]["method"] == "get"
    assert "no host name" in refused("test", "https://gone.example.com/", "--from", "tokyo")


def test_a_world_is_not_brought_up_with_keys_that_no_pop_can_use(tmp_path: Path) -> None:
    """Its PoPs would let nothing pass."""
    (tmp_path / "jwks.json").write_text('{"keys": [{"kty": "oct", "k": "AAAA", "alg": "HS256"}]}')
    file = tmp_path / "w.yaml"
    file.write_text(WORLD.replace("[alice]", "[alice], jwt: {team: {jwks: jwks.json}}"))
    with pytest.raises(WorldError, match=r"access\.jwt\.team\.jwks: found no usable key"):
        load_world(file)


def test_the_help_names_every_key_of_a_rule() -> None:
    for said in (popnet("--help")[0], popnet("set", "--help")[0]):
        words = set(re.findall(r"[a-z_]+", said))
        assert set(SecurityRule.__struct_fields__) - {"note"} <= words


def test_the_key_sets_that_a_policy_names_are_those_beside_it(tmp_path: Path) -> None:
    for name in ("a.json", "keys/b.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    named = [
        "a.json",
        "keys/b.json",
        "missing.json",
        f"{tmp_path}/a.json",
        "../a.json",
        '{"keys": []}',
    ]
    issuers = ", ".join(f"i{n}: {{jwks: '{name}'}}" for n, name in enumerate(named))
    file = tmp_path / "guard.yaml"
    file.write_text(f"access: {{jwt: {{{issuers}}}}}\nsecurity: []\n")
    assert policy_file.key_files(file) == ["a.json", "keys/b.json"]
    for wrong in ("security: []", "access: [1]", "access: {jwt: {a: 1}}", "- : [", ""):
        file.write_text(wrong)
        assert policy_file.key_files(file) == []

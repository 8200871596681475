"""One lab with a policy, records and a load balancer over two sites: what real curl and dig meet."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from lab.cli.policy import policy_app
from lab.driver import Lab
from lab.rundir import BASE_VARIABLE

from .conftest import Popnet

pytestmark = pytest.mark.system

WORLD = """
popnet: 1
name: front
pops: {LHR: {region: 1}, FRA: {region: 2}, IAD: {region: 1}, NRT: {region: 2}}
internet:
  rtt_ms:
    LHR: {FRA: 6, IAD: 20, NRT: 40, london: 4, dublin: 4, new-york: 24, boston: 24, tokyo: 40}
    FRA: {IAD: 24, NRT: 40, london: 8, dublin: 6, new-york: 28, boston: 28, tokyo: 40}
    IAD: {NRT: 30, london: 22, dublin: 22, new-york: 4, boston: 4, tokyo: 30}
    NRT: {london: 40, dublin: 40, new-york: 30, boston: 30, tokyo: 4}
anycast: {convergence: 500ms}
visitors: [london, new-york, tokyo]
sites: {dublin: {service: hello}, boston: {service: hello}}
tunnels: {app: {site: dublin}, america: {site: boston}}
dns:
  app.example.com: {tunnel: app}
  www.example.com: {load_balancer: www}
load_balancers:
  www: {pool: [app, america], steering: failover, health: {path: /, every: 1s, timeout: 1s}}
security:
  - {path: /block/*, block: true}
  - {method: DELETE, block: 405}
  - {path: /not-in-japan, country: JP, block: 451}
  - {path: /not-from-there, visitor: new-york, block: true, note: no New York}
  - {header: {x-scanner: "*"}, block: true}
  - {path: /challenge, challenge: true}
  - {path: /rare, rate_limit: {per_s: 0.01, burst: 2}}
  - {path: /admin/*, require: service_token}
  - {path: /jwt/*, require: jwt}
  - {path: /mtls/*, require: mtls}
  - {path: /log/*, log: true}
  - {allow: all}
access:
  service_tokens: [lab]
  certificates: [alice]
  jwt: {team: {jwks: jwks.json, audience: front}}
"""
APP = "https://app.example.com"
WWW = "https://www.example.com"


@dataclass(frozen=True)
class Front:
    """The running lab, its command, and the key that its tokens are signed by."""

    lab: Lab
    popnet: Popnet
    key: ec.EllipticCurvePrivateKey

    def __call__(self, *arguments: str, code: int | None = 0) -> str:
        return self.popnet(*arguments, "-n", "front", code=code)

    def policy(self, *arguments: str, code: int = 0) -> str:
        """`popnet policy`, without a process of its own: a second each is much for so many."""
        environment = {BASE_VARIABLE: str(self.popnet.base)}
        done = CliRunner(env=environment).invoke(policy_app, [*arguments, "-n", "front"])
        assert done.exit_code == code, f"{arguments}: {done.output} {done.exception}"
        return done.stdout

    def curl(self, visitor: str, *arguments: str) -> str:
        wanted = ["curl", "-sS", "-m", "20", *arguments]
        done = self.lab.run(visitor, wanted, capture_output=True, timeout=60)
        assert done.returncode == 0, f"curl {' '.join(arguments)}: {done.stderr.decode()}"
        return str(done.stdout.decode())

    def dig(self, visitor: str, name: str) -> str:
        wanted = ["dig", "+short", "+tries=1", "+time=2", name]
        return str(self.lab.run(visitor, wanted, capture_output=True).stdout.decode().strip())

    def token(self, audience: str) -> str:
        claims = {"aud": audience, "exp": time.time() + 600}
        return str(jwt.encode(claims, self.key, algorithm="ES256", headers={"kid": "k"}))


@pytest.fixture(scope="module")
def front(popnet: Popnet, base: Path) -> Iterator[Front]:
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    base.with_name("jwks.json").write_text(json.dumps({"keys": [{**public, "kid": "k"}]}))
    world = base.with_name("front.yaml")
    world.write_text(WORLD)
    popnet("up", str(world), "-n", "front", "--detach")
    yield Front(Lab(popnet.run_dir("front")), popnet, key)
    popnet("down", "-n", "front", code=None)


@dataclass(frozen=True)
class Try:
    """A request, and the rule that it must meet; status 0: that lets it pass."""

    path: str
    rule: str
    status: int = 0
    visitor: str = "london"
    method: str = "GET"
    header: str = ""
    certificate: str = ""


TRIES = {
    "path": Try("/block/x", "rule 1 block", 403),
    "path, written otherwise": Try("/a/%2e%2e/block/x", "rule 1 block", 403),
    "another path": Try("/blocks", "rule 12 allow"),
    "method": Try("/", "rule 2 block", 405, method="DELETE"),
    "method, in small letters": Try("/", "rule 2 block", 405, method="delete"),
    "another method": Try("/", "rule 12 allow", method="OPTIONS"),
    "country": Try("/not-in-japan", "rule 3 block", 451, visitor="tokyo"),
    "another country": Try("/not-in-japan", "rule 12 allow"),
    "address": Try("/not-from-there", "rule 4 no New York", 403, visitor="new-york"),
    "another address": Try("/not-from-there", "rule 12 allow", visitor="tokyo"),
    "header": Try("/", "rule 5 block", 403, header="x-scanner: nikto"),
    "challenge": Try("/challenge", "rule 6 challenge", 403),
    "no service token": Try("/admin/", "rule 8 require", 403),
    "service token": Try("/admin/", "rule 8 require", header="TOKEN"),
    "no jwt": Try("/jwt/", "rule 9 require", 403),
    "jwt": Try("/jwt/", "rule 9 require", header="JWT front"),
    "jwt for somebody else": Try("/jwt/", "rule 9 require", 403, header="JWT back"),
    "no client certificate": Try("/mtls/", "rule 10 require", 403),
    "client certificate": Try("/mtls/", "rule 10 require", certificate="alice"),
    "log": Try("/log/", "rule 12 allow; logged by rule 11 log"),
}


def _fields(front: Front, one: Try) -> list[str]:
    if one.header == "TOKEN":
        return front.policy("token", "lab").splitlines()
    if one.header.startswith("JWT"):
        return [f"cf-access-jwt-assertion: {front.token(one.header.split()[1])}"]
    return [one.header] if one.header else []


def _said(front: Front, one: Try) -> tuple[str, int]:
    """What `popnet policy test` says."""
    asked = ["test", APP + one.path, "--from", one.visitor, "-X", one.method]
    for field in _fields(front, one):
        asked += ["-H", field]
    asked += ["--certificate", one.certificate] if one.certificate else []
    told = json.loads(front.policy(*asked, "-o", "json", code=1 if one.status else 0))
    return told["name"], told["status"]


def _met(front: Front, one: Try) -> tuple[str, int]:
    """What a request meets: the rule that the response names, and its status where the edge refused."""
    asked = ["-X", one.method, "--path-as-is", "-o/dev/null", "-D-", APP + one.path]
    for field in _fields(front, one):
        asked += ["-H", field]
    if one.certificate:
        asked += ["--cert", front.policy("certificate", one.certificate).strip()]
    first, *lines = front.curl(one.visitor, *asked).splitlines()
    head = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
    status = int(first.split()[1])
    return head["popnet-security"], 0 if "popnet-tunnel" in head else status


@pytest.mark.parametrize("name", TRIES)
def test_policy_test_and_a_real_request_agree(front: Front, name: str) -> None:
    one = TRIES[name]
    wanted = (one.rule, one.status)
    assert _said(front, one) == wanted
    rule, status = _met(front, one)
    assert (rule.lower(), status) == (wanted[0].lower(), wanted[1])


def test_trace_and_get_show_credentials(front: Front, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(front.policy("token", "lab"))
    refused = front("trace", f"{APP}/admin/", "--from", "london").splitlines()
    assert refused[0].endswith("security: rule 8 require")
    assert refused[1].startswith("Forbidden: ")
    passed = front("trace", f"{APP}/admin/", "--from", "london", "-H", f"@{token}", "-o", "json")
    told = json.loads(passed)
    assert (told["security"], told["problem"]) == ("rule 8 require", None)
    assert told["connection"] is not None
    got = front("get", f"{APP}/mtls/", "--from", "london", "--certificate", "alice")
    assert "popnet-security: rule 10 require" in got
    assert "popnet-problem" not in got


def test_a_rate_is_kept_and_policy_test_takes_nothing_of_it(front: Front) -> None:
    within, beyond = Try("/rare", "rule 12 allow"), Try("/rare", "rule 7 rate_limit", 429)
    for _ in range(2):
        assert _said(front, within) == (within.rule, 0)
        assert _met(front, within) == (within.rule, 0)
    assert _said(front, beyond) == (beyond.rule, 429)
    assert _met(front, beyond) == (beyond.rule, 429)
    # Another visitor has a bucket of its own.
    assert _met(front, Try("/rare", "", visitor="tokyo")) == (within.rule, 0)


def test_a_blocked_request_never_reaches_another_pop(front: Front) -> None:
    """New York enters at IAD, and what it asks for is behind London: packets between PoPs are counted."""
    passed = _packets(front, "/x?[1-100]")
    blocked = _packets(front, "/block/?[1-100]")
    assert passed >= 100
    # Probes and link state go on meanwhile.
    assert blocked < 50


def test_a_paused_pop_has_the_newest_policy_when_it_resumes(front: Front) -> None:
    """What it was told meanwhile waits at its door. The world file brings the same rules once more."""
    world = str(front.popnet.base.with_name("front.yaml"))
    front("pause", "FRA")
    try:
        for _ in range(2):
            told = json.loads(front.policy("set", world, "-o", "json", code=1))
            assert list(told["missing"]) == ["FRA"]
            assert told["reached"] == ["LHR", "IAD", "NRT"]
    finally:
        front("resume", "FRA")
    wanted = dict.fromkeys(("LHR", "FRA", "IAD", "NRT"), told["version"])
    _until(lambda: json.loads(front.policy("show", "-o", "json"))["versions"] == wanted)


def _packets(front: Front, path: str) -> int:
    def count() -> int:
        pairs = [["IAD", other] for other in ("LHR", "FRA", "NRT")]
        links = front.lab.wan("links", pairs=pairs)["links"]
        return sum(link["counters"]["packets"] for link in links if link["from"] == "IAD")

    before = count()
    codes = front.curl("new-york", "-o/dev/null", "-w%{http_code}\n", APP + path)
    assert len(codes.split()) == 100
    return count() - before


def test_a_record_added_is_answered_and_served_in_under_a_second(front: Front) -> None:
    assert front.dig("tokyo", "shop.example.com") == ""
    said = front("dns", "add", "shop.example.com", "--tunnel", "app")
    assert "leads to app at every PoP after" in said
    assert front.dig("tokyo", "shop.example.com") == front.dig("tokyo", "app.example.com")

    began = time.monotonic()
    body = json.dumps({"name": "quick.example.com", "tunnel": "app"}).encode()
    assert front.lab.admin("LHR", "PUT", "/records", body).status < 300
    while not front.dig("tokyo", "quick.example.com"):
        assert time.monotonic() < began + 1.0
    assert "hello from dublin" in front.curl("tokyo", "https://quick.example.com/")
    took = time.monotonic() - began
    print(f"added at London, answered and served in Tokyo after {took * 1e3:.0f} ms")
    assert took < 1.0


def test_all_pops_give_the_same_answer_after_one_restarts(front: Front) -> None:
    front("dns", "add", "kept.example.com", "--load-balancer", "www")
    front("kill", "NRT")
    front("dns", "remove", "kept.example.com")
    front("dns", "add", "later.example.com", "--tunnel", "america")
    front("start", "NRT")
    _until(lambda: "hello from boston" in _try(front, "tokyo", "https://later.example.com/"))
    answers = {front.dig(visitor, "later.example.com") for visitor in ("london", "tokyo")}
    assert answers == {front.dig("new-york", "later.example.com")} != {""}
    assert {front.dig(visitor, "kept.example.com") for visitor in ("london", "tokyo")} == {""}
    told = json.loads(front("dns", "list", "-o", "json"))
    assert all(record["agreed"] for record in told)
    assert "later.example.com" in {record["name"] for record in told}


def _try(front: Front, visitor: str, url: str) -> str:
    done = front.lab.run(visitor, ["curl", "-sS", "-m", "3", url], capture_output=True)
    return str(done.stdout.decode())


def _until(holds: Callable[[], bool], within_s: float = 40.0) -> None:
    give_up = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.1)


def test_killing_a_site_under_load_loses_no_repeatable_request(
    front: Front, tmp_path: Path
) -> None:
    _until(lambda: _site(front) == "dublin")
    # To stderr, which is not buffered: the site shall die in the middle.
    report = "-w%{stderr}%{http_code} %header{popnet-site}\n"
    asking = []
    for visitor, count in (("london", 300), ("new-york", 120)):
        wanted = ["curl", "-sS", "-m60", "-o/dev/null", report, f"{WWW}/?[1-{count}]"]
        with open(tmp_path / visitor, "wb") as file:
            asking.append(front.lab.popen(visitor, wanted, stderr=file))
    _until(lambda: len((tmp_path / "london").read_bytes().splitlines()) >= 50)
    front.lab.agent("dublin", "kill")
    assert [process.wait(60) for process in asking] == [0, 0]
    answers = [line.split() for one in tmp_path.iterdir() for line in one.read_text().splitlines()]
    assert len(answers) == 420
    assert {status for status, _ in answers} == {"200"}
    assert {site for _, site in answers} == {"dublin", "boston"}
    assert _site(front) == "boston"
    front.lab.agent("dublin", "start")
    _until(lambda: _site(front) == "dublin")


def _site(front: Front) -> str:
    return front.curl("london", "-o/dev/null", "-w%header{popnet-site}", f"{WWW}/")


def test_a_change_while_a_pop_is_cut_off_is_kept_and_reaches_it_later(front: Front) -> None:
    front("vanish", "LHR", "--no-wait")
    said = front("dns", "add", "late.example.com", "--tunnel", "america", code=1)
    assert said == "late.example.com leads to america; not yet at LHR (vanished)\n"
    assert "late.example.com" in front.lab.dir.records.read_text()
    front("start", "LHR")

    def agreed() -> bool:
        told = json.loads(front("dns", "list", "-o", "json"))
        return all(one["agreed"] for one in told if one["name"] == "late.example.com")

    _until(agreed)
    assert "hello from boston" in _try(front, "london", "https://late.example.com/")

"""Security rules: which one decides, and that no spelling of a request passes by it."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from pops.core.buckets import Buckets
from pops.core.policy import Judge, Verdict, plain_path
from pops.core.rules import Policy, PolicyError, parse_policy

NOON = 1_800_000_000.0
SECRET = "a long secret"
EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
JWKS = {
    "keys": [
        {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(EC_KEY.public_key())), "kid": "e"},
        {
            **json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA_KEY.public_key())),
            "kid": "r",
            "alg": "RS256",
        },
    ]
}


def policy(*rules: dict[str, Any], **more: Any) -> Policy:
    return parse_policy(json.dumps({"rules": rules, **more}).encode())


def ask(judge: Judge, path: str = "/", **given: Any) -> Verdict:
    headers = [(name.encode(), value.encode()) for name, value in given.pop("headers", {}).items()]
    return judge.judge(
        given.pop("method", "GET").encode(),
        given.pop("host", "app.example.com"),
        path.encode(),
        headers,
        address=given.pop("address", "100.64.0.9"),
        country=given.pop("country", "JP"),
        certificate=given.pop("certificate", ""),
        now=given.pop("now", 0.0),
        wall=lambda: given.get("wall", NOON),
        peek=given.get("peek", False),
    )


def test_the_first_rule_that_matches_decides() -> None:
    judge = Judge(
        policy(
            {"action": "block", "path": "/a/*", "status": 451},
            {"action": "allow", "path": "/a/b"},
            {"action": "block", "note": "the rest"},
        )
    )
    assert (ask(judge, "/a/b").rule, ask(judge, "/a/b").status) == (1, 451)
    assert ask(judge, "/c").name == "rule 3 the rest"
    assert judge.hits == [0, 2, 0, 1]


def test_without_a_matching_rule_a_request_passes() -> None:
    judge = Judge(policy({"action": "block", "method": ["DELETE"]}))
    assert ask(judge).passes
    assert ask(judge).rule == 0
    assert not ask(judge, method="DELETE").passes


@pytest.mark.parametrize(
    ("rule", "hit", "miss"),
    [
        ({"host": "app.example.com"}, {}, {"host": "www.example.com"}),
        ({"host": "*.example.com"}, {}, {"host": "example.org"}),
        ({"country": ["JP", "BR"]}, {}, {"country": "DE"}),
        ({"address": ["100.64.0.0/16"]}, {}, {"address": "100.65.0.1"}),
        ({"address": ["2001:db8::/32"]}, {"address": "2001:db8::1"}, {}),
        ({"method": ["post"]}, {"method": "POST"}, {}),
        ({"method": ["DELETE"]}, {"method": "delete"}, {"method": "deletes"}),
        ({"header": {"User-Agent": "*bot*"}}, {"headers": {"user-agent": "a bot 1"}}, {}),
        ({"header": {"x-key": "1"}}, {"headers": {"x-key": "1"}}, {"headers": {"x-key": "11"}}),
        ({"path": "*.php"}, {"path": "/x.php?y"}, {"path": "/x.phpx"}),
        ({"path": "/only"}, {"path": "/only?x=/other"}, {"path": "/only/more"}),
    ],
)
def test_what_a_rule_is_held_against(
    rule: dict[str, Any], hit: dict[str, Any], miss: dict[str, Any]
) -> None:
    judge = Judge(policy({"action": "block", **rule}))
    assert ask(judge, **hit).rule == 1
    assert ask(judge, **miss).rule == 0


@pytest.mark.parametrize(
    "path",
    [
        "/admin/x",
        "/%61dmin/x",
        "//admin/x",
        "/./admin/x",
        "/a/../admin/x",
        "/a/%2e%2e/admin/x",
        "/admin%2fx",
        "/\\admin\\x",
        "/admin/x?/../",
        "/admin/x#/",
        "/../../admin/./x",
    ],
)
def test_no_spelling_of_a_path_passes_by_its_rule(path: str) -> None:
    judge = Judge(policy({"action": "block", "path": "/admin/*"}))
    assert not ask(judge, path).passes


def test_an_allowed_directory_does_not_open_its_neighbour() -> None:
    judge = Judge(policy({"action": "allow", "path": "/public/*"}, {"action": "block"}))
    assert ask(judge, "/public/a").passes
    assert not ask(judge, "/public/../admin").passes
    assert not ask(judge, "/public/%2e%2e/admin").passes


@given(st.lists(st.sampled_from([b"a", b"..", b".", b"", b"%2e", b"b%2f"]), max_size=8))
def test_a_plain_path_is_plain_already(parts: list[bytes]) -> None:
    once = plain_path(b"/" + b"/".join(parts))
    assert plain_path(once) == once
    assert b"//" not in once
    assert b"/../" not in once + b"/"


def test_a_rate_is_kept_for_each_key_and_says_when_to_come_again() -> None:
    judge = Judge(
        policy({"action": "rate_limit", "rate": {"per_s": 2.0, "burst": 3}}, {"action": "allow"})
    )
    assert [ask(judge, now=10.0).status for _ in range(4)] == [0, 0, 0, 429]
    late = ask(judge, now=10.0)
    assert late.retry_after_s == pytest.approx(0.5)
    assert ask(judge, now=10.0, address="100.64.0.10").passes
    assert ask(judge, now=10.0, peek=True).status == 429
    assert ask(judge, now=10.51).passes
    assert ask(judge, now=10.52).status == 429


@pytest.mark.parametrize(
    ("by", "same", "other"),
    [
        ("country", {"address": "1.1.1.1"}, {"country": "BR"}),
        ("host", {"address": "1.1.1.1"}, {"host": "www.example.com"}),
        ("header:x-user", {"address": "1.1.1.1"}, {"headers": {"x-user": "b"}}),
    ],
)
def test_what_a_rate_counts(by: str, same: dict[str, Any], other: dict[str, Any]) -> None:
    judge = Judge(policy({"action": "rate_limit", "rate": {"per_s": 1.0, "by": by}}))
    assert ask(judge).passes
    assert ask(judge, **same).status == 429
    assert ask(judge, **other).passes


@given(st.lists(st.floats(0.0, 2.0), max_size=40), st.integers(1, 5))
def test_a_bucket_never_gives_more_than_its_rate(gaps: list[float], burst: int) -> None:
    buckets, now, times = Buckets(2.0, burst), 0.0, []
    for gap in gaps:
        now += gap
        if buckets.take("x", now) == 0.0:
            times.append(now)
    for i, start in enumerate(times):
        for count, end in enumerate(times[i:], 1):
            assert count <= burst + 2.0 * (end - start) + 1e-6


def test_buckets_are_bounded() -> None:
    buckets = Buckets(1.0, 1, most=10)
    for key in range(100):
        buckets.take(key, 0.0)
    assert len(buckets) == 10


def test_log_counts_and_goes_on() -> None:
    judge = Judge(policy({"action": "log", "path": "/a*"}, {"action": "block"}))
    assert ask(judge, "/a").logged == (1,)
    assert ask(judge, "/b").logged == ()
    assert judge.hits == [0, 1, 2]


def test_a_peek_leaves_no_trace() -> None:
    judge = Judge(policy({"action": "block"}))
    assert ask(judge, peek=True).status == 403
    assert judge.hits == [0, 0]


TOKENS = {
    "ci": {"id": "ci.popnet", "secret_sha256": sha256(SECRET.encode()).hexdigest()},
    "ops": {"id": "ops.popnet", "secret_sha256": sha256(b"other").hexdigest()},
}


def test_a_service_token_opens_what_requires_one() -> None:
    rule = {"action": "require", "require": "service_token", "path": "/admin/*", "of": ["ci"]}
    judge = Judge(policy(rule, service_tokens=TOKENS))

    def with_token(name: str, secret: str) -> Verdict:
        headers = {"cf-access-client-id": name, "cf-access-client-secret": secret}
        return ask(judge, "/admin/x", headers=headers)

    assert with_token("ci.popnet", SECRET).passes
    assert with_token("ci.popnet", "other").status == 403
    assert with_token("ops.popnet", "other").status == 403, "another's token"
    assert with_token("nobody", "").status == 403
    assert ask(judge, "/admin/x").detail == "a service token is needed"
    assert ask(judge, "/").rule == 0


def test_an_unknown_id_is_not_let_in_by_an_empty_secret() -> None:
    judge = Judge(policy({"action": "require", "require": "service_token"}))
    assert not ask(judge, headers={"cf-access-client-id": "", "cf-access-client-secret": ""}).passes


def test_a_client_certificate_counts_by_its_name() -> None:
    judge = Judge(policy({"action": "require", "require": "mtls", "of": ["laptop"]}))
    assert judge.wants_certificates
    assert ask(judge, certificate="Laptop").passes
    assert ask(judge, certificate="phone").status == 403
    assert ask(judge).status == 403


ISSUERS = {"team": {"jwks": JWKS, "audience": "app", "issuer": "https://issuer.example"}}
CLAIMS = {"aud": ["app", "x"], "iss": "https://issuer.example", "exp": NOON + 60}


def signed(key: Any = EC_KEY, algorithm: str = "ES256", kid: str = "e", **claims: Any) -> str:
    said = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    return jwt.encode(said, key, algorithm=algorithm, headers={"kid": kid})


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        (signed(), None),
        (signed(RSA_KEY, "RS256", "r"), None),
        (signed(aud="app"), None),
        (signed(exp=NOON - 6), "expired"),
        (signed(exp=None), "no time"),
        (signed(nbf=NOON + 60), "not valid yet"),
        (signed(aud="other"), "another audience"),
        (signed(aud=None), "another audience"),
        (signed(iss="https://else.example"), "another issuer"),
        (signed(OTHER_KEY), "signature is wrong"),
        (signed(kid="x"), "nobody known"),
        (signed()[:-6], "wrong"),
        ("no token", "nobody known"),
        ("x." * 5000, "too long"),
        (jwt.encode(CLAIMS, None, algorithm="none", headers={"kid": "e"}), "nobody known"),
        (jwt.encode(CLAIMS, "k" * 32, algorithm="HS256", headers={"kid": "e"}), "nobody known"),
        (jwt.encode(CLAIMS, EC_KEY, "ES256", headers={"kid": "e", "crit": ["x"]}), "nobody known"),
        (urlsafe_b64encode(b"[" * 5000).decode() + ".e30.AAAA", "nobody known"),
        (signed().replace(".", "\xe9.", 1), "nobody known"),
        (signed().rpartition(".")[0] + ".\xe9", "wrong"),
    ],
)
def test_a_token_opens_when_all_of_it_is_right(token: str, problem: str | None) -> None:
    judge = Judge(policy({"action": "require", "require": "jwt"}, issuers=ISSUERS))
    for headers in (
        {"cf-access-jwt-assertion": token},
        {"authorization": f"Bearer {token}"},
    ):
        verdict = ask(judge, headers=headers)
        assert verdict.passes == (problem is None), verdict
        assert problem is None or problem in verdict.detail
    assert ask(judge).detail == "a token is needed"


def test_a_token_that_was_once_proven_expires_all_the_same() -> None:
    judge = Judge(policy({"action": "require", "require": "jwt"}, issuers=ISSUERS))
    headers = {"cf-access-jwt-assertion": signed()}
    assert ask(judge, headers=headers).passes
    assert "expired" in ask(judge, headers=headers, wall=NOON + 66).detail


@pytest.mark.parametrize(
    ("document", "key", "allowed"),
    [
        ("{", "policy", "JSON"),
        ('{"rules": [{"action": "permit"}]}', "rules[0].action", "permit"),
        ('{"rules": [{"action": "allow", "paths": "/"}]}', "rules[0]", "paths"),
        ('{"rules": [{"action": "block", "status": 200}]}', "rule 1.status", "400 to 599"),
        ('{"rules": [{"action": "allow", "address": ["300.1"]}]}', "rule 1.address", "prefix"),
        ('{"rules": [{"action": "require"}]}', "rule 1.require", "only there"),
        ('{"rules": [{"action": "allow", "require": "jwt"}]}', "rule 1.require", "only there"),
        ('{"rules": [{"action": "rate_limit"}]}', "rule 1.rate", "only there"),
        ('{"rules": [{"action": "rate_limit", "rate": {"per_s": 0}}]}', "rule 1.rate", "above 0"),
        (
            '{"rules": [{"action": "rate_limit", "rate": {"per_s": 1, "by": "moon"}}]}',
            "rule 1.rate.by",
            "address",
        ),
        (
            '{"rules": [{"action": "require", "require": "jwt", "of": ["x"]}]}',
            "rule 1.of",
            "none is declared",
        ),
        ('{"rules": [{"action": "allow", "path": "admin"}]}', "rule 1.path", "/"),
        (
            '{"service_tokens": {"a": {"id": "x", "secret_sha256": "12"}}}',
            "service_tokens.a",
            "64",
        ),
    ],
)
def test_an_unusable_policy_says_where(document: str, key: str, allowed: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(document.encode())
    assert key in str(caught.value)
    assert allowed in str(caught.value)


@pytest.mark.parametrize("document", [b'{"rules": "\xff"}', b"[" * 100_000, b"\x00"])
def test_bytes_that_are_no_policy_are_refused_as_that(document: bytes) -> None:
    with pytest.raises(PolicyError):
        parse_policy(document)


def test_keys_that_cannot_be_used_are_refused_at_once() -> None:
    shared = {"keys": [{"kty": "oct", "k": "AAAA", "kid": "s", "alg": "HS256"}]}
    with pytest.raises(PolicyError, match="no usable key"):
        Judge(policy({"action": "require", "require": "jwt"}, issuers={"a": {"jwks": shared}}))
    with pytest.raises(PolicyError, match="jwks"):
        Judge(policy({"action": "require", "require": "jwt"}, issuers={"a": {"jwks": {}}}))

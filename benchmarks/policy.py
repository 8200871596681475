"""What the front door's filters cost a request: twenty rules of which the last decides, and a token's signature."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from benchmarks.report import Row, show
from pops.core.policy import Judge
from pops.core.rules import parse_policy

RULES_AT_MOST_US = 5.0
TOKEN_AT_MOST_US = 100.0
_WALL = 1_800_000_000.0
_HEADERS = [(b"user-agent", b"curl/8"), (b"accept", b"*/*"), (b"accept-language", b"en")]


def _twenty() -> Judge:
    """As a site has them: most by path, some by host, method, address, country and header."""
    rules: list[dict[str, object]] = [
        {"action": "block", "path": f"/internal/{number}/*"} for number in range(12)
    ]
    rules += [
        {"action": "block", "host": "old.example.com"},
        {"action": "block", "method": ["TRACE", "CONNECT"]},
        {"action": "block", "address": ["203.0.113.0/24", "198.51.100.7"]},
        {"action": "challenge", "country": ["AQ"], "path": "/login"},
        {"action": "block", "header": {"user-agent": "*sqlmap*"}},
        {"action": "rate_limit", "path": "/api/*", "rate": {"per_s": 100}},
        {"action": "log", "path": "/checkout/*"},
        {"action": "allow"},
    ]
    return Judge(parse_policy(json.dumps({"rules": rules}).encode()))


def _least_us(once: Callable[[int], object], count: int, rounds: int = 5) -> float:
    """The quickest of some rounds: other work on the machine only ever adds."""
    found = []
    for round_ in range(rounds):
        begun = time.process_time()
        for number in range(count):
            once(round_ * count + number)
        found.append((time.process_time() - begun) / count * 1e6)
    return min(found)


def _ask(judge: Judge, headers: list[tuple[bytes, bytes]]) -> bool:
    return judge.judge(
        b"GET",
        "app.example.com",
        b"/shop/cart",
        headers,
        address="100.64.0.9",
        country="JP",
        certificate="",
        now=0.0,
        wall=lambda: _WALL,
    ).passes


def rules() -> Row:
    judge = _twenty()
    assert _ask(judge, _HEADERS)
    took = _least_us(lambda _: _ask(judge, _HEADERS), 20_000)
    return Row("a policy of 20 rules, the last decides", took, "us CPU", RULES_AT_MOST_US)


def tokens() -> list[Row]:
    rows = []
    ec_key = ec.generate_private_key(ec.SECP256R1())
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for name, key, jwk in (
        ("ES256", ec_key, jwt.algorithms.ECAlgorithm.to_jwk(ec_key.public_key())),
        ("RS256", rsa_key, jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key.public_key())),
    ):
        known = {**json.loads(jwk), "kid": "k", "alg": name}
        issuers = {"team": {"jwks": {"keys": [known]}}}
        said = {"rules": [{"action": "require", "require": "jwt"}], "issuers": issuers}
        judge = Judge(parse_policy(json.dumps(said).encode()))
        fresh = [
            jwt.encode({"exp": _WALL + 60, "n": n}, key, name, headers={"kid": "k"})
            for n in range(3000)
        ]
        requests = [[*_HEADERS, (b"cf-access-jwt-assertion", one.encode())] for one in fresh]
        assert _ask(judge, requests[0])
        took = _least_us(lambda n, r=requests, j=judge: _ask(j, r[n]), 600)  # type: ignore[misc]
        rows.append(
            Row(f"a token seen for the first time, {name}", took, "us CPU", TOKEN_AT_MOST_US)
        )
        took = _least_us(lambda _, r=requests, j=judge: _ask(j, r[-1]), 5000)  # type: ignore[misc]
        rows.append(Row(f"a token seen before, {name}", took, "us CPU", TOKEN_AT_MOST_US))
    return rows


def run() -> list[Row]:
    return [rules(), *tokens()]


if __name__ == "__main__":
    show(run())

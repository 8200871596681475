"""A security policy as an operator writes it: an ordered list of rules, and what they may ask for.

JSON in a PoP's configuration and over its admin socket. Read once, checked, frozen. What a rule does with a request
stands in `pops.core.policy`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import Any, Literal

import msgspec

from wire.errors import UNREADABLE

Action = Literal["allow", "block", "challenge", "require", "rate_limit", "log"]
ACTIONS: tuple[Action, ...] = ("allow", "block", "challenge", "require", "rate_limit", "log")
Credential = Literal["service_token", "jwt", "mtls"]

_KEY = re.compile(r"address|country|host|all|header:[a-z0-9!#$%&'*+.^_`|~-]+")


class PolicyError(Exception):
    """A policy that cannot be used: which rule and key, what was found, what is allowed."""

    def __init__(self, key: str, found: str, allowed: str) -> None:
        super().__init__(f"{key}: found {found}, allowed: {allowed}")
        self.key, self.found, self.allowed = key, found, allowed


class _Part(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """Base of every part: immutable, and a misspelt key is an error and not a default."""


class RateLimit(_Part, frozen=True):
    """A token bucket for each key: `burst` requests at once, `per_s` in the long run.

    `by`: what makes a key: address | country | host | all | header:NAME.
    """

    per_s: float
    burst: int = 1
    by: str = "address"


class Rule(_Part, frozen=True):
    """What a request must be like (all that is given must hold; nothing given: any), and one action.

    `path` and `host` may hold `*` for any text. `header`: name -> text that may hold `*`.
    `require`: with the credential the request passes, without it 403. `of` names those that count.
    """

    action: Action
    host: str | None = None
    path: str | None = None
    method: tuple[str, ...] = ()
    address: tuple[str, ...] = ()  # addresses or prefixes: 100.64.0.9, 10.0.0.0/8
    country: tuple[str, ...] = ()
    header: dict[str, str] = {}
    status: int | None = None  # of block; 403
    require: Credential | None = None
    of: tuple[str, ...] = ()
    rate: RateLimit | None = None
    note: str = ""


class ServiceToken(_Part, frozen=True):
    """`id` in clear, of the secret only its SHA-256, in hex: a PoP need not know more."""

    id: str
    secret_sha256: str


class Issuer(_Part, frozen=True):
    """Who signs JSON Web Tokens: its public keys (a JWKS, RFC 7517) and what a token must say."""

    jwks: dict[str, Any]
    audience: str | None = None
    issuer: str | None = None


class Policy(_Part, frozen=True):
    """All of it, as one document: it replaces every earlier one as a whole."""

    rules: tuple[Rule, ...] = ()
    service_tokens: dict[str, ServiceToken] = {}
    issuers: dict[str, Issuer] = {}
    version: int = 0

    def named(self, number: int) -> str:
        """How trace, logs and metrics name rule `number`, counted from 1; 0 is the end of the list."""
        if number == 0:
            return "no rule"
        rule = self.rules[number - 1]
        return f"rule {number} {rule.note or rule.action}"


def parse_policy(text: bytes) -> Policy:
    """Raises PolicyError with the first problem found."""
    try:
        policy = msgspec.json.decode(text, type=Policy)
    except msgspec.ValidationError as error:
        what, _, where = str(error).rpartition(" - at `$")
        where = where.rstrip("`").lstrip(".")
        raise PolicyError(where or "policy", "something else", what or str(error)) from None
    except UNREADABLE as error:
        raise PolicyError("policy", f"no JSON ({error})", "a JSON object with rules") from None
    for number, rule in enumerate(policy.rules, 1):
        _check(policy, rule, f"rule {number}")
    for name, token in policy.service_tokens.items():
        if not re.fullmatch(r"[0-9a-f]{64}", token.secret_sha256):
            raise PolicyError(
                f"service_tokens.{name}.secret_sha256", "other text", "64 hexadecimal digits"
            )
    return policy


def _check(policy: Policy, rule: Rule, where: str) -> None:
    needs = {"require": rule.require, "rate_limit": rule.rate}
    for action, value in needs.items():
        key = "rate" if action == "rate_limit" else action
        if (rule.action == action) != (value is not None):
            found = "nothing" if value is None else f"one beside {rule.action}"
            raise PolicyError(f"{where}.{key}", found, f"one with action {action}, only there")
    if rule.status is not None and not (rule.action == "block" and 400 <= rule.status <= 599):
        raise PolicyError(f"{where}.status", str(rule.status), "400 to 599, with action block")
    for address in rule.address:
        try:
            ipaddress.ip_network(address)
        except ValueError as error:
            raise PolicyError(f"{where}.address", repr(address), f"a prefix: {error}") from None
    if rule.path is not None and not rule.path.startswith(("/", "*")):
        raise PolicyError(f"{where}.path", repr(rule.path), "text that begins with / or *")
    if rule.rate is not None:
        if rule.rate.per_s <= 0 or rule.rate.burst < 1:
            raise PolicyError(f"{where}.rate", str(rule.rate), "per_s above 0, burst at least 1")
        if not _KEY.fullmatch(rule.rate.by):
            allowed = "address, country, host, all or header:name"
            raise PolicyError(f"{where}.rate.by", repr(rule.rate.by), allowed)
    known: dict[str, Collection[str]] = {
        "service_token": policy.service_tokens,
        "jwt": policy.issuers,
    }
    for name in rule.of:
        if rule.require is None:
            raise PolicyError(f"{where}.of", repr(name), "only beside require")
        if rule.require in known and name not in known[rule.require]:
            names = ", ".join(known[rule.require]) or "none is declared"
            raise PolicyError(f"{where}.of", repr(name), names)

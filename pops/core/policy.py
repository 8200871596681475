"""What a security policy says of a request: the first rule that matches decides.

    allow       it passes, and no later rule is looked at
    block       403, or the rule's own status
    challenge   403 with a page that says what would let it pass
    require     passes with the credential, 403 without
    rate_limit  matches only beyond the rate: then 429; below it the next rule is looked at
    log         is counted and told, and the next rule is looked at

A request that no rule matches passes. A policy that cannot be read lets nothing pass (`DENY_ALL`).

Host, address and country are the same for all requests of a visitor: what they leave of the rules is worked out once
and remembered, so that a request costs a look at method, path and header fields only.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from pops.core import credentials
from pops.core.buckets import Buckets
from pops.core.credentials import Headers
from pops.core.rules import Policy, Rule

_REMEMBERED: Final = 8192


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rule` counts from 1; 0: none matched. `status` 0 lets the request pass.

    `name` is what visitors and operators read: the rule that decided, then those that have logged the request.
    """

    rule: int
    name: str
    status: int = 0
    detail: str = ""
    retry_after_s: float = 0.0
    challenge: bool = False
    logged: tuple[int, ...] = ()

    @property
    def passes(self) -> bool:
        return self.status == 0


PASS: Final = Verdict(0, "no rule")
DENY_ALL: Final = Verdict(0, "policy unreadable", 403, "its security policy cannot be read")

Matches = Callable[[bytes], object]


class _Compiled:
    """One rule, ready for many requests."""

    __slots__ = (
        "action",
        "blocked",
        "buckets",
        "check",
        "countries",
        "fields",
        "host",
        "key",
        "methods",
        "name",
        "networks",
        "number",
        "passed",
        "path",
        "prefix",
    )

    def __init__(self, number: int, rule: Rule, policy: Policy) -> None:
        self.number = number
        self.name = name = policy.named(number)
        self.action = rule.action
        self.host = _pattern(rule.host.lower()) if rule.host else None
        self.methods = frozenset(method.upper().encode() for method in rule.method)
        self.networks = [ipaddress.ip_network(one) for one in rule.address]
        self.countries = frozenset(country.upper() for country in rule.country)
        self.fields = [(key.lower().encode(), _pattern(text)) for key, text in rule.header.items()]
        self.prefix: bytes | None = None
        self.path: Matches | None = None
        if rule.path is not None:
            if rule.path.endswith("*") and "*" not in rule.path[:-1]:
                self.prefix = rule.path[:-1].encode()
            else:
                self.path = _pattern(rule.path)
        self.passed = Verdict(number, name)
        challenged = rule.action == "challenge"
        detail = "it has to show that it may" if challenged else "a security rule forbids it"
        self.blocked = Verdict(number, name, rule.status or 403, detail, challenge=challenged)
        self.check = None
        match rule.require:
            case "service_token":
                self.check = credentials.service_token(policy.service_tokens, rule.of)
            case "jwt":
                self.check = credentials.json_web_token(policy.issuers, rule.of)
            case "mtls":
                self.check = credentials.client_certificate(rule.of)
        self.buckets = Buckets(rule.rate.per_s, rule.rate.burst) if rule.rate is not None else None
        self.key = rule.rate.by if rule.rate is not None else ""

    def concerns(self, host: str, address: str, country: str) -> bool:
        """Whether it can match a request of this visitor to this host at all."""
        if self.host is not None and not self.host(host.encode()):
            return False
        if self.countries and country not in self.countries:
            return False
        if not self.networks:
            return True
        try:
            one = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(one in network for network in self.networks)

    def bucket_key(self, host: str, address: str, country: str, headers: Headers) -> object:
        match self.key:
            case "address":
                return address
            case "country":
                return country
            case "host":
                return host
            case "all":
                return None
        wanted = self.key.removeprefix("header:").encode()
        return next((value for name, value in headers if name == wanted), b"")


class Judge:
    """A policy at work. `hits` counts verdicts by rule number; index 0: no rule."""

    def __init__(self, policy: Policy) -> None:
        """Raises PolicyError when keys of an issuer cannot be read."""
        self.policy = policy
        self._rules = [_Compiled(n, rule, policy) for n, rule in enumerate(policy.rules, 1)]
        self.names = [policy.named(number) for number in range(len(self._rules) + 1)]
        self._concerned: dict[tuple[str, str, str], tuple[_Compiled, ...]] = {}
        self.hits = [0] * (len(self._rules) + 1)
        self.refusals = [0] * (len(self._rules) + 1)
        self.wants_certificates = any(rule.require == "mtls" for rule in policy.rules)

    def judge(
        self,
        method: bytes,
        host: str,
        path: bytes,
        headers: Headers,
        *,
        address: str,
        country: str,
        certificate: str,
        now: float,
        wall: Callable[[], float],
        peek: bool = False,
    ) -> Verdict:
        """Decide. `now` drives the buckets; `wall` is asked only where a credential has an end.

        `peek` takes no token and counts nothing: what would happen?
        """
        key = (host, address, country)
        rules = self._concerned.get(key)
        if rules is None:
            rules = self._concern(key)
        verdict = PASS
        logged: tuple[int, ...] = ()
        plain: bytes | None = None
        for rule in rules:
            # Methods are case-sensitive (RFC 9110 section 9.1), but not to every service: `delete` must not pass
            # where DELETE does not.
            if rule.methods and method.upper() not in rule.methods:
                continue
            prefix = rule.prefix
            if prefix is not None or rule.path is not None:
                if plain is None:
                    plain = plain_path(path)
                if prefix is not None:
                    if not plain.startswith(prefix):
                        continue
                elif rule.path is not None and not rule.path(plain):
                    continue
            if rule.fields and not _fields_match(rule, headers):
                continue
            action = rule.action
            if action == "log":
                logged += (rule.number,)
                continue
            if action == "rate_limit":
                assert rule.buckets is not None
                bucket = rule.bucket_key(host, address, country, headers)
                wait = rule.buckets.take(bucket, now, peek=peek)
                if wait == 0.0:
                    continue
                detail = f"it asks too often; again in {wait:.1f} s"
                verdict = Verdict(rule.number, rule.name, 429, detail, retry_after_s=wait)
            elif action == "require":
                assert rule.check is not None
                problem = rule.check(headers, certificate, wall())
                verdict = (
                    rule.passed
                    if problem is None
                    else Verdict(rule.number, rule.name, 403, problem)
                )
            else:
                verdict = rule.passed if action == "allow" else rule.blocked
            break
        if logged:
            named = ", ".join([self.names[number] for number in logged])
            verdict = Verdict(
                verdict.rule,
                f"{verdict.name}; logged by {named}",
                verdict.status,
                verdict.detail,
                verdict.retry_after_s,
                verdict.challenge,
                logged,
            )
        if not peek:
            self.hits[verdict.rule] += 1
            if verdict.status:
                self.refusals[verdict.rule] += 1
            for number in logged:
                self.hits[number] += 1
        return verdict

    def _concern(self, key: tuple[str, str, str]) -> tuple[_Compiled, ...]:
        if len(self._concerned) >= _REMEMBERED:
            self._concerned.clear()
        rules = tuple(rule for rule in self._rules if rule.concerns(*key))
        self._concerned[key] = rules
        return rules


def _fields_match(rule: _Compiled, headers: Headers) -> bool:
    return all(
        any(name == wanted and matches(value) for name, value in headers)
        for wanted, matches in rule.fields
    )


def _pattern(text: str) -> Matches:
    """A whole text in which `*` stands for any."""
    if "*" not in text:
        whole = text.encode()
        return lambda value: value == whole
    parts = [re.escape(part.encode()) for part in text.split("*")]
    return re.compile(b".*".join(parts), re.DOTALL).fullmatch


_ODD = re.compile(rb"[%\\]|//|/\.")


def plain_path(path: bytes) -> bytes:
    """The path that rules are held against: without query, escapes decoded, `.`, `..` and `//` resolved.

    RFC 3986 section 6.2.2, and further: an escaped slash or a backslash counts as a slash, because some services take
    them for one. So /%61dmin, /x/../admin and //admin do not pass by a rule for /admin.
    """
    if b"?" in path or b"#" in path:
        path = path.partition(b"?")[0].partition(b"#")[0]
    if _ODD.search(path) is None:
        return path
    parts = unquote_to_bytes(path).replace(b"\\", b"/").split(b"/")
    kept: list[bytes] = []
    for part in parts[1:]:
        if part == b"..":
            del kept[-1:]
        elif part not in (b"", b"."):
            kept.append(part)
    # A final slash, or what ends in one after resolving, stays a directory.
    end = b"/" if kept and parts[-1] in (b"", b".", b"..") else b""
    return b"/" + b"/".join(kept) + end

"""Ingress rules: which service a request is for, by its host and path.

Rules are tried in order and the first that matches serves; the last one must match everything. No
rules at all means 503 for every request. The form is that of cloudflared's configuration:
`hostname` (exact, or `*.` in front), `path` (a regular expression, searched anywhere in the path),
`service`, `originRequest`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunnel_client.core.services import (
    OriginRequest,
    Service,
    StatusService,
    origin_request_json,
    parse_origin_request,
    parse_service,
)
from tunnel_client.errors import ConfigurationError

_RULE_KEYS = ("hostname", "path", "service", "originRequest")
MAX_RULES = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """`hostname` is lower-case ASCII, "" for any; `path` is compiled, None for any.

    A rule equals only itself, so that finding what belongs to it costs one look at its identity.
    """

    hostname: str
    path: re.Pattern[str] | None
    service: Service
    origin_request: OriginRequest = field(default_factory=OriginRequest)

    @property
    def catches_all(self) -> bool:
        return self.hostname in ("", "*") and self.path is None

    def matches(self, host: str, path: str) -> bool:
        name = self.hostname
        if name not in ("", "*"):
            if name.startswith("*."):
                if not host.endswith(name[1:]):
                    return False
            elif host != name:
                return False
        return self.path is None or self.path.search(path) is not None

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.hostname:
            found["hostname"] = self.hostname
        if self.path is not None:
            found["path"] = self.path.pattern
        found["service"] = self.service.text
        found["originRequest"] = origin_request_json(self.origin_request)
        return found


NO_RULES = Rule("", None, StatusService(503, "http_status:503"))


@dataclass(frozen=True, slots=True)
class Ingress:
    rules: tuple[Rule, ...] = ()

    def match(self, host: str, path: str) -> Rule:
        """The rule for a request. `host` as in `host_of`, `path` without its query."""
        for rule in self.rules:
            if rule.matches(host, path):
                return rule
        return NO_RULES

    def as_json(self) -> list[dict[str, Any]]:
        return [rule.as_json() for rule in self.rules]


def host_of(authority: str) -> str:
    """The host of an authority as rules compare it: no port, lower case, no final dot."""
    if authority.startswith("["):
        return authority.partition("]")[0][1:].lower()
    return authority.partition(":")[0].lower().rstrip(".")


def single_service(service: Service, origin_request: OriginRequest | None = None) -> Ingress:
    """One rule for everything: what `--url` means."""
    return Ingress((Rule("", None, service, origin_request or OriginRequest()),))


def parse_ingress(
    rules: Sequence[Any] | None, origin_request: Mapping[str, Any] | None = None
) -> Ingress:
    """Read `ingress` and the `originRequest` that all rules inherit. Raises `ConfigurationError`."""
    base = parse_origin_request(
        _mapping(origin_request, "originRequest"), OriginRequest(), "originRequest"
    )
    if rules is None:
        return Ingress()
    if isinstance(rules, str | bytes) or not isinstance(rules, Sequence):
        raise ConfigurationError(f"ingress: {rules!r} found, a list of rules is allowed")
    if len(rules) > MAX_RULES:
        raise ConfigurationError(
            f"ingress: {len(rules)} rules found, at most {MAX_RULES} are allowed"
        )
    parsed = tuple(_rule(rule, base, f"ingress[{i}]") for i, rule in enumerate(rules))
    for i, rule in enumerate(parsed[:-1]):
        if rule.catches_all:
            raise ConfigurationError(
                f"ingress[{i}]: it matches every request, so the rules after it never serve"
            )
    if parsed and not parsed[-1].catches_all:
        raise ConfigurationError(
            f"ingress[{len(parsed) - 1}]: the last rule must match every request: "
            "no hostname (or *) and no path"
        )
    return Ingress(parsed)


def _mapping(given: Any, where: str) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{where}: {given!r} found, keys and values are allowed")
    return given


def _text(rule: Mapping[str, Any], key: str, where: str) -> str:
    value = rule.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ConfigurationError(f"{where}.{key}: {value!r} found, text is allowed")
    return value


def _rule(given: Any, base: OriginRequest, where: str) -> Rule:
    rule = _mapping(given, where)
    for key in rule:
        if key not in _RULE_KEYS:
            raise ConfigurationError(
                f"{where}.{key}: unknown key; allowed: {', '.join(_RULE_KEYS)}"
            )
    service_text = _text(rule, "service", where)
    if not service_text:
        raise ConfigurationError(f"{where}.service: missing")
    hostname = _hostname(_text(rule, "hostname", where), f"{where}.hostname")
    path_text = _text(rule, "path", where)
    path = None
    if path_text:
        try:
            path = re.compile(path_text)
        except re.error as error:
            raise ConfigurationError(
                f"{where}.path: {path_text!r} found, a regular expression is allowed: {error}"
            ) from None
    try:
        service = parse_service(service_text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}.{error}") from None
    settings = _mapping(rule.get("originRequest"), f"{where}.originRequest")
    request = parse_origin_request(settings, base, f"{where}.originRequest")
    return Rule(hostname, path, service, request)


def _hostname(text: str, where: str) -> str:
    if text in ("", "*"):
        return text
    if ":" in text:
        raise ConfigurationError(f"{where}: {text!r} found, no port is allowed")
    if "*" in text.removeprefix("*."):
        raise ConfigurationError(
            f"{where}: {text!r} found, a * is allowed only in front: *.example"
        )
    # Hosts arrive in their ASCII form, whatever was typed.
    prefix, name = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    try:
        return prefix + name.encode("idna").decode().lower().rstrip(".")
    except UnicodeError:
        raise ConfigurationError(f"{where}: {text!r} found, which is no host name") from None

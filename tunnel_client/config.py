"""Everything that was said, parsed once, into one frozen `Settings`.

Sources in order of rank: command line, environment, configuration file (`--config`), defaults. The
file is YAML as cloudflared has it: `tunnel`, `credentials-file`, `ingress`, `originRequest`, and
any flag by its name. Errors are one line: for files with file, line and key.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from tunnel_client import credentials as creds
from tunnel_client.core.addresses import Family
from tunnel_client.core.ingress import Ingress, parse_ingress, single_service
from tunnel_client.core.policy import Policy
from tunnel_client.core.services import (
    HelloService,
    OriginRequest,
    Service,
    UnixService,
    parse_duration,
    parse_service,
)
from tunnel_client.credentials import Credentials
from tunnel_client.errors import ConfigurationError, UsageError
from tunnel_client.flags import BY_NAME, Flag, Given, Kind, Value, parse

LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
REGIONS = ("", "us", "fed")
# Of all flags that were given, those a dashboard shows (they say how a connector runs, not who it
# is).
_REPORTED = (
    "loglevel",
    "protocol",
    "retries",
    "grace-period",
    "ha-connections",
    "edge-ip-version",
    "region",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one connector runs by."""

    credentials: Credentials
    ingress: Ingress
    policy: Policy
    edges: tuple[tuple[str, int], ...] = ()
    """Of `--edge`: names or addresses, not looked up yet."""
    region: str = ""
    ca: str | None = None
    bind_address: str | None = None
    metrics: tuple[str, int] | None = None
    admin: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    label: str = ""
    pidfile: str = ""
    log_level: str = "info"
    log_json: bool = False
    reported_flags: Mapping[str, str] = field(default_factory=dict)


def load(argv: list[str], environ: Mapping[str, str]) -> Settings:
    """From the process's arguments and environment. Raises `UsageError`."""
    given = parse(argv, environ)
    document = _read_config(given)
    values = _Values(given)
    policy = _policy(values)
    credentials = _credentials(given, document)
    region = values.text("region")
    if region not in REGIONS:
        raise values.wrong("region", region, "us or fed is")
    if region and credentials.endpoint:
        raise UsageError("--region and the endpoint in the tunnel's credentials exclude each other")
    level = values.text("loglevel") or "info"
    if level not in LOG_LEVELS:
        raise values.wrong("loglevel", level, f"{', '.join(LOG_LEVELS)} are")
    output = values.text("output") or "default"
    if output not in ("default", "json"):
        raise values.wrong("output", output, "default or json is")
    protocol = values.text("protocol") or "http2"
    if protocol not in ("http2", "auto"):
        raise UsageError(f"--protocol {protocol}: this connector speaks http2 only")
    metrics = values.text("metrics")
    return Settings(
        credentials=credentials,
        ingress=_ingress(values, document),
        policy=policy,
        edges=tuple(_host_port(e, values.source("edge")) for e in values.texts("edge")),
        region=region or credentials.endpoint,
        ca=values.text("cacert") or None,
        bind_address=values.text("edge-bind-address") or None,
        metrics=_host_port(metrics, values.source("metrics")) if metrics else None,
        admin=values.text("admin") or None,
        tags=tuple(_tag(tag) for tag in values.texts("tag")),
        label=values.text("label"),
        pidfile=values.text("pidfile"),
        log_level=level,
        log_json=output == "json",
        reported_flags={
            name: str(given.values[name]) for name in _REPORTED if name in given.values
        },
    )


class _Values:
    """What was given, read by kind; an error names where the value was said."""

    def __init__(self, given: Given) -> None:
        self._given = given

    def source(self, name: str) -> str:
        return self._given.sources.get(name, f"--{name}")

    def wrong(self, name: str, found: object, allowed: str) -> UsageError:
        return UsageError(f"{self.source(name)}: {found!r} found, {allowed} allowed")

    def text(self, name: str) -> str:
        value = self._given.values.get(name, "")
        assert isinstance(value, str)
        return value

    def texts(self, name: str) -> list[str]:
        value = self._given.values.get(name, [])
        assert isinstance(value, list)
        return value

    def switch(self, name: str) -> bool:
        return self._given.values.get(name, False) is True

    def number(self, name: str, default: int, least: int = 0) -> int:
        text = self.text(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit()) or int(text) < least:
            raise self.wrong(name, text, f"a number from {least} is")
        return int(text)

    def duration(self, name: str, default: float) -> float:
        text = self.text(name)
        if not text:
            return default
        try:
            return parse_duration(text, self.source(name))
        except ConfigurationError as error:
            raise UsageError(str(error)) from None


def _policy(values: _Values) -> Policy:
    default = Policy()
    family = values.text("edge-ip-version") or "auto"
    if family not in ("4", "6", "auto"):
        raise values.wrong("edge-ip-version", family, "4, 6 or auto is")
    interval = values.duration("heartbeat-interval", default.heartbeat_interval_s)
    if interval <= 0:
        raise values.wrong("heartbeat-interval", interval, "a duration above 0 is")
    answer = values.duration("rpc-timeout", default.register_timeout_s)
    return Policy(
        connections=values.number("ha-connections", default.connections, 1),
        retries=min(values.number("retries", default.retries), 16),
        max_edge_addr_retries=values.number(
            "max-edge-addr-retries", default.max_edge_addr_retries, 1
        ),
        # Longer than three minutes is refused by cloudflared too.
        grace_period_s=min(values.duration("grace-period", default.grace_period_s), 180.0),
        dial_timeout_s=values.duration("dial-timeout", default.dial_timeout_s),
        register_timeout_s=answer,
        unregister_timeout_s=min(answer, default.unregister_timeout_s),
        heartbeat_interval_s=interval,
        heartbeat_count=values.number("heartbeat-count", default.heartbeat_count, 1),
        family=None if values.texts("edge") else Family(family),
    )


def _host_port(text: str, source: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{source}: {text!r} found, HOST:PORT is allowed")
    return host.strip("[]"), int(port)


def _tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.replace("-", "").isalnum() or not key.isascii():
        raise UsageError(f"--tag: {text!r} found, KEY=VALUE is allowed")
    if not value.isascii() or not value.isprintable():
        raise UsageError(f"--tag: the value of {key} has characters that no header may have")
    return key, value


# Files


@dataclass(frozen=True, slots=True)
class _Document:
    """A configuration file; `line` finds where a key stands."""

    path: str
    content: Mapping[str, Any]

    def where(self, key: str) -> str:
        positions = getattr(self.content, "lc", None)
        try:
            line = positions.key(key)[0] + 1  # type: ignore[union-attr]
        except (AttributeError, KeyError, TypeError):
            return self.path
        return f"{self.path}:{line}"


_FILE_KEYS = ("tunnel", "ingress", "originRequest", "warp-routing", "credentials-file")
_EMPTY = _Document("", {})


def _read_config(given: Given) -> _Document:
    """Read `--config` and add what it says to `given`, where nothing of higher rank was said."""
    path = given.values.get("config")
    if not path:
        return _EMPTY
    assert isinstance(path, str)
    text = _read(path, given.sources["config"])
    # Of all its modes only this one keeps the positions of keys.
    loader: Any = YAML(typ="rt", pure=True)
    try:
        content = loader.load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise UsageError(f"{path}:{line}: {error.problem or 'not YAML'}") from None
    except YAMLError:
        raise UsageError(f"{path}: not YAML") from None
    if content is None:
        return _EMPTY
    if not isinstance(content, Mapping):
        raise UsageError(f"{path}: keys and values are expected")
    document = _Document(path, content)
    for key, value in content.items():
        if key in _FILE_KEYS and key != "credentials-file":
            continue
        flag = BY_NAME.get(key) if isinstance(key, str) else None
        if flag is None:
            raise UsageError(f"{document.where(key)}: unknown key {key!r}")
        if flag.name not in given.values:
            source = f"{document.where(key)}: {key}"
            given.set(flag, _from_yaml(flag, value, source), source)
    return document


def _from_yaml(flag: Flag, value: Any, source: str) -> Value:
    if flag.kind is Kind.SWITCH:
        if isinstance(value, bool):
            return value
        raise UsageError(f"{source}: {value!r} found, true or false is allowed")
    if flag.kind is Kind.LIST:
        values = value if isinstance(value, list) else [value]
        return [str(item) for item in values]
    if isinstance(value, bool | dict | list) or value is None:
        raise UsageError(f"{source}: {value!r} found, text or a number is allowed")
    return str(value)


def _read(path: str, source: str) -> str:
    try:
        return Path(os.path.expanduser(path)).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{source}: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{source}: {path}: not text in UTF-8") from None


def _first(values: Mapping[str, Value], name: str) -> str:
    value = values.get(name, "")
    assert isinstance(value, str)
    return value


def _credentials(given: Given, document: _Document) -> Credentials:
    """Token before token file before contents before file, as cloudflared ranks them."""
    values, sources = given.values, given.sources
    if token := _first(values, "token"):
        found = creds.from_token(token, sources["token"])
    elif path := _first(values, "token-file"):
        found = creds.from_token(_read(path, sources["token-file"]), path)
    elif contents := _first(values, "credentials-contents"):
        found = creds.from_json(contents, sources["credentials-contents"])
    elif path := _first(values, "credentials-file"):
        found = creds.from_json(_read(path, sources["credentials-file"]), path)
    else:
        raise UsageError("which tunnel? Give --token, --token-file or --credentials-file")
    named = given.tunnel or document.content.get("tunnel")
    if named:
        try:
            wanted = UUID(str(named))
        except ValueError:
            raise UsageError(
                f"tunnel {named!r}: give its UUID; names are known to the edge only"
            ) from None
        if wanted != found.tunnel_id:
            raise UsageError(f"the credentials are those of tunnel {found.tunnel_id}, not {wanted}")
    return found


def _ingress(values: _Values, document: _Document) -> Ingress:
    """Rules of the file; without any, the one service of the command line; without it, none."""
    rules = document.content.get("ingress")
    if rules:
        try:
            return parse_ingress(rules, document.content.get("originRequest"))
        except ConfigurationError as error:
            raise UsageError(f"{document.where('ingress')}: {error}") from None
    service: Service | None = None
    try:
        if values.switch("hello-world"):
            service = HelloService()
        elif path := values.text("unix-socket"):
            service = UnixService(path, tls=False, text=f"unix:{path}")
        elif url := values.text("url"):
            service = parse_service(url if "://" in url or ":" in url else f"http://{url}")
    except ConfigurationError as error:
        raise UsageError(f"{values.source('url')}: {error}") from None
    if service is None:
        return Ingress()
    return single_service(service, _origin_request(values))


def _origin_request(values: _Values) -> OriginRequest:
    default = OriginRequest()
    return replace(
        default,
        connect_timeout=values.duration("proxy-connect-timeout", default.connect_timeout),
        tls_timeout=values.duration("proxy-tls-timeout", default.tls_timeout),
        keep_alive_timeout=values.duration("proxy-keepalive-timeout", default.keep_alive_timeout),
        keep_alive_connections=values.number(
            "proxy-keepalive-connections", default.keep_alive_connections
        ),
        http_host_header=values.text("http-host-header"),
        origin_server_name=values.text("origin-server-name"),
        ca_pool=values.text("origin-ca-pool"),
        no_tls_verify=values.switch("no-tls-verify"),
    )

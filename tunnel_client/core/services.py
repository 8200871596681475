"""What an ingress rule leads to, how it is written, and how requests to it are made.

    http://host:port, https://..., ws://..., wss://...     an HTTP/1.1 origin
    unix:/path, unix+tls:/path                             the same on a Unix socket
    http_status:404                                        an answer of our own
    hello_world                                            a small page of our own

cloudflared has more (raw TCP, bastion, SOCKS); they are refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from tunnel_client.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class HttpService:
    """`host` is a name or an IP literal without brackets."""

    host: str
    port: int
    tls: bool
    text: str

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixService:
    path: str
    tls: bool
    text: str


@dataclass(frozen=True, slots=True)
class StatusService:
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class HelloService:
    text: str = "hello_world"


Service = HttpService | UnixService | StatusService | HelloService

_HTTP_SCHEMES = {"http": (80, False), "ws": (80, False), "https": (443, True), "wss": (443, True)}
_NOT_SERVED = ("tcp", "ssh", "rdp", "smb", "bastion", "socks-proxy", "hello-world")
ALLOWED = (
    "http://HOST:PORT, https://HOST:PORT, unix:PATH, unix+tls:PATH, http_status:CODE, hello_world"
)


def parse_service(text: str) -> Service:
    """Read a service as written in a rule. Raises `ConfigurationError`."""
    if text == "hello_world":
        return HelloService()
    for prefix, tls in (("unix:", False), ("unix+tls:", True)):
        if text.startswith(prefix):
            path = text.removeprefix(prefix)
            if not path:
                raise ConfigurationError(f"service {text!r}: a path belongs after {prefix!r}")
            return UnixService(path, tls, text)
    if text.startswith("http_status:"):
        code = text.removeprefix("http_status:")
        if not re.fullmatch(r"[1-9][0-9][0-9]", code):
            raise ConfigurationError(f"service {text!r}: the status must be 100 to 999")
        return StatusService(int(code), text)
    scheme = text.partition("://")[0].partition(":")[0]
    if scheme in _NOT_SERVED:
        raise ConfigurationError(f"service {text!r} is not served here; allowed: {ALLOWED}")
    return _parse_url(text)


def _parse_url(text: str) -> HttpService:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise ConfigurationError(f"service {text!r}: {error}") from None
    if url.scheme not in _HTTP_SCHEMES or not url.hostname:
        raise ConfigurationError(f"service {text!r}: not a service; allowed: {ALLOWED}")
    if url.path not in ("", "/") or url.query or url.fragment:
        raise ConfigurationError(
            f"service {text!r}: a service has no path, query or fragment; requests bring their own"
        )
    if url.username is not None:
        raise ConfigurationError(f"service {text!r}: no user name belongs in a service")
    default, tls = _HTTP_SCHEMES[url.scheme]
    return HttpService(url.hostname, default if port is None else port, tls, text)


@dataclass(frozen=True, slots=True)
class OriginRequest:
    """How requests to an origin are made. Times in seconds."""

    connect_timeout: float = 30.0
    tls_timeout: float = 10.0
    keep_alive_timeout: float = 90.0
    keep_alive_connections: int = 100
    http_host_header: str = ""
    origin_server_name: str = ""
    match_sni_to_host: bool = False
    ca_pool: str = ""
    no_tls_verify: bool = False


# Key in a configuration -> (field, kind).
_KEYS: dict[str, tuple[str, type]] = {
    "connectTimeout": ("connect_timeout", float),
    "tlsTimeout": ("tls_timeout", float),
    "keepAliveTimeout": ("keep_alive_timeout", float),
    "keepAliveConnections": ("keep_alive_connections", int),
    "httpHostHeader": ("http_host_header", str),
    "originServerName": ("origin_server_name", str),
    "matchSNItoHost": ("match_sni_to_host", bool),
    "caPool": ("ca_pool", str),
    "noTLSVerify": ("no_tls_verify", bool),
}
# Known to cloudflared and without effect here: an origin is HTTP/1.1, bodies of unknown length are
# chunked, both address families are tried, and nothing but HTTP is carried.
_WITHOUT_EFFECT = frozenset(
    {
        "tcpKeepAlive",
        "noHappyEyeballs",
        "disableChunkedEncoding",
        "bastionMode",
        "proxyAddress",
        "proxyPort",
        "proxyType",
        "ipRules",
        "http2Origin",
        "access",
    }
)
# What a rule must not silently go without: it decides who may come in.
_REFUSED_WHEN_SET = {
    "access": "this connector checks no Access tokens",
    "ipRules": "this connector serves no proxy to apply them to",
    "bastionMode": "this connector is no bastion",
}


def parse_origin_request(
    given: Mapping[str, Any], base: OriginRequest, where: str
) -> OriginRequest:
    """`base` with the keys of `given` changed. Raises `ConfigurationError` naming the key."""
    values: dict[str, Any] = {field.name: getattr(base, field.name) for field in fields(base)}
    for key, value in given.items():
        place = f"{where}.{key}"
        if key in _REFUSED_WHEN_SET and _is_set(value):
            raise ConfigurationError(f"{place}: {_REFUSED_WHEN_SET[key]}")
        if key in _WITHOUT_EFFECT or value is None:
            continue
        if key not in _KEYS:
            raise ConfigurationError(f"{place}: unknown key; allowed: {', '.join(sorted(_KEYS))}")
        name, kind = _KEYS[key]
        values[name] = _value(place, value, kind)
    return OriginRequest(**values)


def _is_set(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value.get("required"))
    return bool(value)


def _value(place: str, value: Any, kind: type) -> Any:
    if kind is float:
        return parse_duration(value, place)
    if kind is int:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        raise ConfigurationError(f"{place}: {value!r} found, a number from 0 is allowed")
    if not isinstance(value, kind):
        allowed = "true or false is" if kind is bool else "text is"
        raise ConfigurationError(f"{place}: {value!r} found, {allowed} allowed")
    return value


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def parse_duration(value: Any, place: str) -> float:
    """Seconds: a number (as in pushed configurations) or text such as "1m30s"."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9:
        return float(value)
    if isinstance(value, str):
        if value == "0":
            return 0.0
        parts = _PART.findall(value)
        if parts and "".join(number + unit for number, unit in parts) == value:
            return float(sum(float(number) * _UNITS[unit] for number, unit in parts))
    raise ConfigurationError(f'{place}: {value!r} found, a duration such as "30s" is allowed')


def origin_request_json(settings: OriginRequest) -> dict[str, Any]:
    """What differs from the defaults, in a configuration's own words; durations in whole seconds."""
    default = OriginRequest()
    found: dict[str, Any] = {}
    for key, (name, kind) in _KEYS.items():
        value = getattr(settings, name)
        if value != getattr(default, name):
            found[key] = round(value) if kind is float else value
    return found

"""The command line and the environment, in the words of cloudflared.

    tunnel_client [tunnel] [FLAGS] run [FLAGS] [TUNNEL-UUID]

A flag may stand before or after `run`, with one dash or two, its value behind `=` or as the next
word. Command line before environment before configuration file. A flag that cannot mean anything
here but does no harm is taken and ignored; one that would be a broken promise is refused with the
reason; an unknown one is an error.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from tunnel_client.errors import UsageError


class Kind(Enum):
    TEXT = auto()
    NUMBER = auto()
    DURATION = auto()
    SWITCH = auto()
    LIST = auto()


@dataclass(frozen=True, slots=True)
class Flag:
    """`refused` says why, when giving it is an error; `ignored` flags have no effect here."""

    name: str
    kind: Kind
    env: tuple[str, ...] = ()
    help: str = ""
    aliases: tuple[str, ...] = ()
    ignored: bool = False
    refused: str = ""


def _flag(name: str, kind: Kind, env: str = "", help: str = "", *aliases: str) -> Flag:
    return Flag(name, kind, tuple(env.split()), help, aliases)


def _ignored(name: str, kind: Kind, env: str = "", *aliases: str) -> Flag:
    return Flag(name, kind, tuple(env.split()), "", aliases, ignored=True)


def _refused(name: str, kind: Kind, env: str, why: str, *aliases: str) -> Flag:
    return Flag(name, kind, tuple(env.split()), "", aliases, refused=why)


T, N, D, S, L = Kind.TEXT, Kind.NUMBER, Kind.DURATION, Kind.SWITCH, Kind.LIST

FLAGS: tuple[Flag, ...] = (
    _flag("token", T, "TUNNEL_TOKEN", "which tunnel, and its secret"),
    _flag("token-file", T, "TUNNEL_TOKEN_FILE", "file with a token"),
    _flag("credentials-file", T, "TUNNEL_CRED_FILE", "tunnel credentials, JSON", "cred-file"),
    _flag("credentials-contents", T, "TUNNEL_CRED_CONTENTS", "tunnel credentials themselves"),
    _flag("config", T, "", "configuration file, YAML"),
    _flag("url", T, "TUNNEL_URL", "the service: http://localhost:8080"),
    _flag("unix-socket", T, "TUNNEL_UNIX_SOCKET", "the service's Unix socket, instead of --url"),
    _flag("hello-world", S, "TUNNEL_HELLO_WORLD", "serve a small page of our own"),
    _flag("edge", L, "TUNNEL_EDGE", "HOST:PORT of the edge, repeatable; no look-up then"),
    _flag("region", T, "TUNNEL_REGION", "look up another set of regions: us"),
    _flag("edge-ip-version", T, "TUNNEL_EDGE_IP_VERSION", "4, 6 or auto"),
    _flag("edge-bind-address", T, "TUNNEL_EDGE_BIND_ADDRESS", "source address towards the edge"),
    _flag("cacert", T, "TUNNEL_CACERT", "trust only this CA for the edge, PEM"),
    _flag("protocol", T, "TUNNEL_TRANSPORT_PROTOCOL", "http2 or auto", "p"),
    _flag("ha-connections", N, "TUNNEL_HA_CONNECTIONS", "connections to the edge (4)"),
    _flag("retries", N, "TUNNEL_RETRIES", "doublings of the longest wait (5)"),
    _flag("max-edge-addr-retries", N, "TUNNEL_MAX_EDGE_ADDR_RETRIES", "dials before a new look-up"),
    _flag("grace-period", D, "TUNNEL_GRACE_PERIOD", "for running requests at the end (30s)"),
    _flag("rpc-timeout", D, "", "for answers of the edge (10s)"),
    _flag("dial-timeout", D, "TUNNEL_DIAL_EDGE_TIMEOUT", "for TCP and TLS to the edge (10s)"),
    _flag("heartbeat-interval", D, "TUNNEL_HEARTBEAT_INTERVAL", "between pings to the edge (3s)"),
    _flag("heartbeat-count", N, "TUNNEL_HEARTBEAT_COUNT", "silent intervals until dead (3)"),
    _flag("metrics", T, "TUNNEL_METRICS", "HOST:PORT of /ready and /metrics"),
    _flag("admin", T, "POPNET_ADMIN", "Unix socket with the same as --metrics"),
    _flag("pidfile", T, "TUNNEL_PIDFILE", "written after the first connection"),
    _flag("label", T, "", "a name for this connector in its metrics"),
    _flag("tag", L, "TUNNEL_TAG", "K=V, told to the origin with each request"),
    _flag("loglevel", T, "TUNNEL_LOGLEVEL", "debug, info, warn, error or fatal"),
    _flag("output", T, "TUNNEL_MANAGEMENT_OUTPUT TUNNEL_LOG_OUTPUT", "log lines: default or json"),
    _flag("http-host-header", T, "TUNNEL_HTTP_HOST_HEADER", "Host header towards the service"),
    _flag("origin-server-name", T, "TUNNEL_ORIGIN_SERVER_NAME", "name in its certificate"),
    _flag("origin-ca-pool", T, "TUNNEL_ORIGIN_CA_POOL", "CA of its certificate, PEM"),
    _flag("no-tls-verify", S, "NO_TLS_VERIFY", "take any certificate from it"),
    _flag("proxy-connect-timeout", D, "", "for connecting to it (30s)"),
    _flag("proxy-tls-timeout", D, "", "for its TLS handshake (10s)"),
    _flag("proxy-keepalive-connections", N, "", "idle connections kept to it (100)"),
    _flag("proxy-keepalive-timeout", D, "", "how long they are kept (90s)"),
    _ignored("no-autoupdate", S, "NO_AUTOUPDATE"),
    _ignored("autoupdate-freq", D),
    _ignored("is-autoupdated", S),
    _ignored("no-prechecks", S, "TUNNEL_NO_PRECHECKS"),
    _ignored("transport-loglevel", T, "TUNNEL_PROTO_LOGLEVEL", "proto-loglevel"),
    _ignored("metrics-update-freq", D, "TUNNEL_METRICS_UPDATE_FREQ"),
    _ignored("management-diagnostics", S, "TUNNEL_MANAGEMENT_DIAGNOSTICS"),
    _ignored("management-hostname", T, "TUNNEL_MANAGEMENT_HOSTNAME"),
    _ignored("compression-quality", N, "TUNNEL_COMPRESSION_LEVEL"),
    _ignored("proxy-tcp-keepalive", D),
    _ignored("proxy-no-happy-eyeballs", S),
    _ignored("proxy-connection-timeout", D),
    _ignored("proxy-expect-continue-timeout", D),
    _ignored("no-chunked-encoding", S, "TUNNEL_NO_CHUNKED_ENCODING"),
    _ignored("http2-origin", S, "TUNNEL_ORIGIN_ENABLE_HTTP2"),
    _ignored("features", L, "", "F"),
    _ignored("origincert", T, "TUNNEL_ORIGIN_CERT"),
    _ignored("icmpv4-src", T, "TUNNEL_ICMPV4_SRC"),
    _ignored("icmpv6-src", T, "TUNNEL_ICMPV6_SRC"),
    _ignored("max-active-flows", N, "TUNNEL_MAX_ACTIVE_FLOWS"),
    _ignored("dns-resolver-addrs", L, "TUNNEL_DNS_RESOLVER_ADDRS"),
    _refused("post-quantum", S, "TUNNEL_POST_QUANTUM", "this connector cannot promise it", "pq"),
    _refused("bastion", S, "TUNNEL_BASTION", "this connector serves HTTP only"),
    _refused("socks5", S, "TUNNEL_SOCKS", "this connector serves HTTP only"),
    _refused("hostname", T, "TUNNEL_HOSTNAME", "names are configured at the edge"),
    _refused("lb-pool", T, "TUNNEL_LB_POOL", "load balancers are configured at the edge"),
    _refused("name", T, "TUNNEL_NAME", "tunnels are made at the edge", "n"),
    _refused("logfile", T, "TUNNEL_LOGFILE", "the log goes to standard error"),
    _refused("log-directory", T, "TUNNEL_LOGDIRECTORY", "the log goes to standard error"),
    _refused("trace-output", T, "TUNNEL_TRACE_OUTPUT", "there is no trace to write"),
)

BY_NAME: dict[str, Flag] = {name: flag for flag in FLAGS for name in (flag.name, *flag.aliases)}

Value = str | bool | list[str]


@dataclass(slots=True)
class Given:
    """What the caller said: by flag name, and where it was said."""

    values: dict[str, Value] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    tunnel: str = ""

    def set(self, flag: Flag, value: Value, source: str) -> None:
        if flag.refused and value is not False:
            raise UsageError(f"{source}: {flag.refused}")
        if flag.kind is Kind.LIST and self.sources.get(flag.name) == source:
            earlier = self.values[flag.name]
            assert isinstance(earlier, list)
            assert isinstance(value, list)
            value = [*earlier, *value]
        self.values[flag.name] = value
        self.sources[flag.name] = source


class HelpError(Exception):
    """Not a failure: the caller asked for the help text."""


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Given:
    """Read the command line and the environment. Raises `UsageError` or `HelpError`."""
    given = Given()
    for flag in FLAGS:
        for name in flag.env:
            if environ.get(name):
                given.set(flag, _from_text(flag, environ[name], f"${name}"), f"${name}")
                break
    words = list(argv)
    commands: list[str] = []
    while words:
        word = words.pop(0)
        if word == "--":
            commands += words
            break
        if word in ("-h", "--help", "help"):
            raise HelpError
        if len(word) > 1 and word.startswith("-"):
            _take_flag(given, word, words)
        else:
            commands.append(word)
    if commands[:1] == ["tunnel"]:
        commands.pop(0)
    if not commands:
        raise UsageError("which command? There is one: run")
    if commands[0] != "run":
        raise UsageError(f"unknown command {commands[0]!r}; there is one: run")
    if len(commands) > 2:
        raise UsageError(f"unexpected {commands[2]!r} behind the tunnel's id")
    given.tunnel = commands[1] if len(commands) == 2 else ""
    return given


def _take_flag(given: Given, word: str, words: list[str]) -> None:
    name, equals, text = word.lstrip("-").partition("=")
    flag = BY_NAME.get(name)
    source = f"--{name}"
    if flag is None:
        raise UsageError(f"unknown flag {source}{_near_miss(name)}")
    if not equals:
        if flag.kind is Kind.SWITCH:
            given.set(flag, True, source)
            return
        if not words:
            raise UsageError(f"{source} needs a value")
        text = words.pop(0)
    given.set(flag, _from_text(flag, text, source), source)


def _near_miss(name: str) -> str:
    near = difflib.get_close_matches(name, BY_NAME, n=1)
    return f"; did you mean --{near[0]}?" if near else ""


_TRUE, _FALSE = ("true", "1", "t", "yes"), ("false", "0", "f", "no")


def _from_text(flag: Flag, text: str, source: str) -> Value:
    if flag.kind is Kind.SWITCH:
        if text.lower() in _TRUE:
            return True
        if text.lower() in _FALSE:
            return False
        raise UsageError(f"{source}: {text!r} found, true or false is allowed")
    if flag.kind is Kind.LIST:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def help_text() -> str:
    lines = [
        "tunnel_client [tunnel] [FLAGS] run [FLAGS] [TUNNEL-UUID]",
        "",
        "Connects a private web service to the edge. Flags, environment and files as cloudflared's.",
        "",
    ]
    for flag in FLAGS:
        if flag.help:
            env = f" [${', $'.join(flag.env)}]" if flag.env else ""
            lines.append(f"  --{flag.name:<28}{flag.help}{env}")
    ignored = ", ".join(f"--{flag.name}" for flag in FLAGS if flag.ignored)
    lines += ["", f"Taken without effect: {ignored}"]
    return "\n".join(lines)

"""What one PoP is told at its start: a JSON file, read once, frozen after that.

The lab writes it from the topology; a test writes it by hand. Every address and port stands in
it, so a PoP runs as well on 127.0.0.x as inside an emulated network. Units: seconds, bytes. RTTs
are there and back.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from routing.errors import RoutingError
from routing.estimators import estimator
from wire.errors import UNREADABLE


class ConfigError(Exception):
    """One thing wrong with a configuration file. `str` is one line that an operator can act on."""

    def __init__(self, file: str, key: str, found: str, allowed: str) -> None:
        super().__init__(f"{file}: {key}: found {found}, allowed: {allowed}")
        self.file, self.key, self.found, self.allowed = file, key, found, allowed


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every part: immutable, and a misspelt key is an error and not a default."""


class Visitors(_Part, frozen=True):
    """Where visitors are served. A port that is null is not served."""

    addresses: list[str]
    http: int | None = 80
    https: int | None = 443
    certificate: str | None = None  # PEM file: chain and key. Needed for https.
    client_ca: str | None = None  # PEM file: who signs the certificates that visitors may show


class Dns(_Part, frozen=True):
    addresses: list[str]
    port: int = 53
    ttl: int = 60


class TunnelsListen(_Part, frozen=True):
    """Where connectors dial in."""

    addresses: list[str]
    certificate: str
    port: int = 7844
    advertised_port: int | None = None  # in SRV answers; null: the same as `port`


class Overlay(_Part, frozen=True):
    """Where other PoPs dial in, on `PopConfig.address`. `ca` signs every PoP, each in its name."""

    certificate: str
    ca: str
    port: int = 7843


class Pop(_Part, frozen=True):
    name: str
    address: str
    region: int = 1
    lat: float = 0.0
    lon: float = 0.0
    port: int | None = None  # of its overlay; null: the same as ours


class Node(_Part, frozen=True):
    name: str
    address: str
    country: str | None = None  # two letters; what the edge says of a visitor there


class Host(_Part, frozen=True):
    """A public name and what serves it: a tunnel or a load balancer."""

    tunnel: str | None = None
    load_balancer: str | None = None


class PoolMember(_Part, frozen=True):
    """A tunnel; with `site`, a node's name, only its connectors there."""

    tunnel: str
    site: str = ""
    weight: float = 1.0


class Health(_Part, frozen=True):
    """How the service behind each tunnel of a pool is checked. `expect`: 200, or 2xx for all of a hundred."""

    path: str = "/"
    host: str = ""  # the Host that is asked for
    expect: list[str] = msgspec.field(default_factory=lambda: ["2xx", "3xx"])
    every: float = 5.0
    timeout: float = 2.0
    fall: int = 2
    rise: int = 2


class Balancer(_Part, frozen=True):
    """A pool of tunnels. `affinity`: the name of a cookie; `fallback`: a tunnel for when all are down."""

    members: list[PoolMember]
    steering: Literal[
        "proximity", "dynamic", "least_outstanding", "random", "weighted", "failover"
    ] = "proximity"
    affinity: str | None = None
    affinity_s: float = 3600.0
    fallback: str | None = None
    health: Health = Health()


class Tunnel(_Part, frozen=True):
    name: str
    id: str  # UUID
    account_tag: str
    secret: str  # base64

    @property
    def uuid(self) -> uuid.UUID:
        return uuid.UUID(self.id)

    @property
    def secret_bytes(self) -> bytes:
        return base64.b64decode(self.secret)


def _ewma() -> str | dict[str, float | list[float]]:
    return {"ewma": 0.3}


class Probe(_Part, frozen=True):
    """How links to neighbours are measured: see core/probing. `estimator` as in routing/estimators."""

    every: float = 1.0
    estimator: str | dict[str, float | list[float]] = msgspec.field(default_factory=_ewma)
    budget_per_s: float = 40.0  # probes of this PoP, all neighbours together
    burst: int = 4
    burst_gap: float = 0.02
    overdue: float = 0.1
    quick: float = 0.1
    dead_after: float = 1.0
    dead_unmeasured: float = 5.0


class Flooding(_Part, frozen=True):
    """How link state spreads: see routing/lsdb."""

    min_interval: float = 1.0
    refresh: float = 30.0
    max_age: float = 100.0
    hold: float = 0.02  # news waits so long for company
    compare: float = (
        10.0  # between two comparisons of databases, with one neighbour after the other
    )
    recompute: float = 0.1  # from news to routes


class Damping(_Part, frozen=True):
    """When a better route is refused: see routing/damping."""

    min_gain_pct: float = 5.0
    min_gain: float = 0.0
    hold: float = 10.0
    max_moved_pct: float = 100.0
    interval: float = 1.0


class Routing(_Part, frozen=True):
    """`plugin`: a Python file with `decide`, instead of `algorithm`. `beside`: algorithms that are computed as well,
    for visitors' requests that ask for one by name."""

    algorithm: str = "lowest-rtt"
    params: dict[str, Any] = {}
    plugin: str | None = None
    hop_limit: int = 8
    probe: Probe = Probe()
    flooding: Flooding = Flooding()
    damping: Damping = Damping()
    beside: list[str] = []


# Bounds of the two parts below. A world file has the same keys, defaults and bounds: topology/model_limits.py.
_Count = Annotated[int, Meta(ge=1, le=1_000_000)]
_Amount = Annotated[int, Meta(ge=0, le=1_000_000)]
_Wait = Annotated[float, Meta(ge=0.001, le=86_400)]
_Pause = Annotated[float, Meta(ge=0, le=86_400)]


class Limits(_Part, frozen=True):
    # Name + value of all fields of a request, else 431.
    header_bytes: Annotated[int, Meta(ge=1024, le=2**20)] = 64 * 1024
    body_bytes: Annotated[int, Meta(ge=0, le=2**50)] = 4 * 1024**3  # of a request, else 413
    # Concurrent, one connection. With a window of 1 MiB each, 1024 are what Http2Settings bears.
    streams_per_visitor: Annotated[int, Meta(ge=1, le=1024)] = 128
    visitor_connections: _Count = 10_000
    connections_per_visitor: _Count = 512  # of one address
    streams_per_address: _Count = 256  # concurrent, over all connections of one address
    request_body_rate: _Amount = 64  # bytes per second, else 408: see Timeouts.request_body
    # HTTP/2 frames that cost only us; above, the connection is cut.
    flood_burst: Annotated[int, Meta(ge=100, le=1_000_000)] = 1000
    penalty: _Pause = 10.0  # seconds outside for a visitor's address that flooded; 0: none
    dns_answers_per_s: _Amount = 500  # over UDP, to one address (IPv6: one /64); 0: any number
    dns_burst: _Count = 1000
    tunnel_connections: _Count = 1_000
    attempts: Annotated[int, Meta(ge=1, le=16)] = 3  # ways tried before the visitor gets an error
    # Retries per request, over some seconds; and so many in any case.
    retry_share: Annotated[float, Meta(ge=0, le=1)] = 0.2
    retries_per_s: Annotated[float, Meta(ge=0, le=1_000_000)] = 10.0
    # Of a request's body, so that it can be sent again.
    keep_bytes: Annotated[int, Meta(ge=0, le=2**24)] = 64 * 1024


class Timeouts(_Part, frozen=True):
    connect: _Wait = 5.0  # TCP to a neighbour
    handshake: _Wait = 10.0  # TLS, either side
    request_head: _Wait = 15.0  # a visitor's slow header
    request_body: _Pause = 30.0  # when Limits.request_body_rate begins; it ends with the answer
    response_head: _Wait = 100.0  # from the whole path, else 504
    doubt: _Wait = 1.0  # without an answer, until the next hop is asked whether it is there
    idle: _Wait = 300.0  # a stream without a byte in either direction
    keep_alive: _Wait = 120.0  # a visitor connection without a stream
    register: _Wait = 10.0  # a tunnel connection that never registers
    refuse_linger: _Pause = 0.2  # a refused connector reads the error before TCP closes
    tunnel_ping: _Wait = 5.0
    tunnel_ping_deadline: _Wait = 10.0
    reconnect_first: _Wait = 0.1
    reconnect_most: _Wait = 5.0
    first_try: _Pause = 2.0  # how long readiness waits for the neighbours
    drain: _Pause = 30.0


def _region_addresses() -> dict[int, list[str]]:
    return {n: [f"198.18.{n}.{host}" for host in range(1, 11)] for n in (1, 2)}


class PopConfig(_Part, frozen=True):
    name: str
    address: str
    visitors: Visitors
    overlay: Overlay
    admin: str | None = None
    events: str | None = None
    policy: str | None = None  # JSON file with the security policy; null: everything passes
    region: int = 1
    country: str = "XX"
    dns: Dns | None = None
    tunnels_listen: TunnelsListen | None = None
    # Region -> its anycast addresses, for DNS.
    regions: dict[int, list[str]] = msgspec.field(default_factory=_region_addresses)
    pops: list[Pop] = []
    neighbors: list[str] = []
    nodes: list[Node] = []
    hosts: dict[str, Host] = {}
    load_balancers: dict[str, Balancer] = {}
    records: str | None = None  # JSON file with DNS records that were changed since the world began
    tunnels: list[Tunnel] = []
    routing: Routing = Routing()
    seed: int = 1
    engine: Literal["ngh2", "h2"] = "ngh2"
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()


def load(path: Path | str) -> PopConfig:
    """Read and check a file. Raises ConfigError with the first problem found."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(str(path), "(file)", error.strerror or "an error", "a file") from error
    return parse(text, str(path))


def parse(text: bytes, file: str = "(text)") -> PopConfig:
    try:
        raw = msgspec.json.decode(text)
    except UNREADABLE as error:
        raise ConfigError(file, "(file)", str(error), "JSON") from error
    try:
        config = msgspec.convert(raw, PopConfig, str_keys=True)
    except msgspec.ValidationError as error:
        raise _explain(file, raw, str(error)) from error
    _check(file, config)
    return config


_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<where>.*)`)?$", re.DOTALL)
_STEP = re.compile(r"\[(?:'(?P<name>[^']*)'|(?P<index>\d+)|\.\.\.)\]|\.(?P<plain>[^.\[]+)")


def _explain(file: str, raw: Any, message: str) -> ConfigError:
    """msgspec says what it expected and where; we add what stood there."""
    match = _AT.match(message)
    assert match is not None
    what, where = match["what"], (match["where"] or "$")
    value: Any = raw
    known = True
    for step in _STEP.finditer(where):
        key: Any = step["name"] or step["plain"]
        if step["index"] is not None:
            key = int(step["index"])
        try:
            value = value[key]
        except (
            LookupError,
            TypeError,
        ):  # `[...]`: some value of a mapping, msgspec does not say which
            known = False
            break
    key_text = where.removeprefix("$").removeprefix(".") or "(top level)"
    if what.startswith("Object contains unknown field"):
        return ConfigError(file, key_text, what.split("`")[1], "only the known keys")
    if what.startswith("Object missing required field"):
        return ConfigError(file, key_text, "nothing", f"a value for {what.split('`')[1]}")
    found = msgspec.json.encode(value).decode()[:80] if known else what
    return ConfigError(file, key_text, found, what)


def _check(file: str, config: PopConfig) -> None:
    """What types cannot say: names that must exist, values that must parse."""
    pops = {pop.name for pop in config.pops} | {config.name}
    for index, name in enumerate(config.neighbors):
        if name not in pops or name == config.name:
            allowed = "one of " + ", ".join(sorted(pops - {config.name}))
            raise ConfigError(file, f"neighbors[{index}]", repr(name), allowed)
    tunnels = {tunnel.name for tunnel in config.tunnels}
    for host, target in config.hosts.items():
        if target.load_balancer is not None and target.tunnel is None:
            if target.load_balancer not in config.load_balancers:
                key, known = f"hosts[{host!r}].load_balancer", ", ".join(config.load_balancers)
                raise ConfigError(file, key, repr(target.load_balancer), f"one of {known}")
        elif target.tunnel not in tunnels or target.load_balancer is not None:
            allowed = "one of " + (", ".join(sorted(tunnels)) or "(no tunnel is declared)")
            raise ConfigError(file, f"hosts[{host!r}].tunnel", repr(target.tunnel), allowed)
    for name, balancer in config.load_balancers.items():
        for one in [*(m.tunnel for m in balancer.members), *filter(None, [balancer.fallback])]:
            if one not in tunnels:
                allowed = "one of " + (", ".join(sorted(tunnels)) or "(no tunnel is declared)")
                raise ConfigError(file, f"load_balancers[{name!r}]", repr(one), allowed)
    for index, tunnel in enumerate(config.tunnels):
        try:
            uuid.UUID(tunnel.id)
        except ValueError:
            raise ConfigError(file, f"tunnels[{index}].id", repr(tunnel.id), "a UUID") from None
        try:
            base64.b64decode(tunnel.secret, validate=True)
        except (binascii.Error, ValueError):
            # The value itself is a secret and stays out of the message.
            raise ConfigError(file, f"tunnels[{index}].secret", "no base64", "base64") from None
    probe = config.routing.probe
    try:
        estimator(probe.estimator)
    except RoutingError as error:
        raise ConfigError(
            file, "routing.probe.estimator", repr(probe.estimator), str(error)
        ) from None
    for key in ("every", "budget_per_s", "burst"):
        if not getattr(probe, key) > 0:
            found = repr(getattr(probe, key))
            raise ConfigError(file, f"routing.probe.{key}", found, "a number above 0")
    if config.visitors.https is not None and config.visitors.certificate is None:
        raise ConfigError(file, "visitors.certificate", "nothing", "a PEM file, for https is on")

"""What PoPs say to each other about one request: its way there, and what each hop saw of the answer.

The ingress PoP writes the whole way into the request (source routing): a relay decides nothing, so
two PoPs that disagree about the best way cannot send a request in circles. A request between PoPs
is the request as the connector will get it, plus one field:

    popnet-route: 1;POSITION;HOPS-LEFT;NRT>IAD>LHR;TUNNEL;CONNECTION       (the last field)

POSITION is the receiver's index in the path. Each PoP takes one from HOPS-LEFT as it passes the
request on; a path that visits a PoP twice is refused wherever it turns up. Ray and visitor stand in
cf-ray and cf-connecting-ip, which the connector gets too: so the route is the same for all requests
on one way, one byte on the wire (HPACK), and read once (the parser remembers).

A response carries back, behind its status and before the origin's own fields,

    popnet-timing: origin=800,LHR=11345,IAD=90100      microseconds until the response head came,
                                                       nearest to the origin first
    popnet-exit: CONNECTION[@SITE]                     the tunnel connection that was used, where it
                                                       leads to; or
    popnet-fault: CODE;POP;DETAIL                      instead of an origin's response: who failed

All of them stay inside the overlay: an ingress PoP lets none in from a visitor, none out to one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from wire.errors import WireError

ROUTE = b"popnet-route"
TIMING = b"popnet-timing"
EXIT = b"popnet-exit"
FAULT = b"popnet-fault"

VERSION = 1
LONGEST_PATH = 16
MOST_HOPS = 255
_LONGEST_ROUTE = 1280

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,62}"
_route = re.compile(
    rf"1;(\d{{1,2}});(\d{{1,3}});({_NAME}(?:>{_NAME}){{1,{LONGEST_PATH - 1}}});"
    rf"([0-9a-f\-]{{36}});([A-Za-z0-9.\-]{{1,64}})",
    re.ASCII,
).fullmatch
_timing = re.compile(
    rf"{_NAME}=\d{{1,12}}(?:,{_NAME}=\d{{1,12}}){{0,{LONGEST_PATH}}}", re.ASCII
).fullmatch
_fault = re.compile(rf"([a-z\-]{{1,32}});({_NAME});([\x20-\x7e]{{0,200}})", re.ASCII).fullmatch
_exit = re.compile(rf"([A-Za-z0-9.\-]{{1,64}})(?:@({_NAME}))?", re.ASCII).fullmatch
_unprintable = re.compile(r"[^\x20-\x7e]")


class OverlayError(WireError):
    """A PoP sent what the overlay does not allow."""


class LoopError(OverlayError):
    """A path visits a PoP twice, or has no hops left."""


@dataclass(frozen=True, slots=True)
class SourceRoute:
    """Where a request is and where it is going. `path[position]` is the PoP that reads this."""

    path: tuple[str, ...]
    position: int
    hops_left: int
    tunnel: str  # UUID
    connection: str  # preferred tunnel connection at the egress PoP

    @property
    def at_egress(self) -> bool:
        return self.position == len(self.path) - 1

    @property
    def next_hop(self) -> str:
        return self.path[self.position + 1]

    def encode(self) -> bytes:
        return (
            f"1;{self.position};{self.hops_left};{'>'.join(self.path)};{self.tunnel};"
            f"{self.connection}"
        ).encode()

    def advance(self) -> SourceRoute:
        """The same route as the next PoP must see it. Raises LoopError with no hops left."""
        if self.hops_left < 1:
            raise LoopError(f"no hops left at {self.path[self.position]}")
        return SourceRoute(
            self.path,
            self.position + 1,
            self.hops_left - 1,
            self.tunnel,
            self.connection,
        )


@lru_cache(maxsize=4096)
def encode_route(
    path: tuple[str, ...], hops_left: int, tunnel: str, connection: str
) -> tuple[bytes, bytes]:
    """The field with which an ingress PoP sends a request to the first PoP behind it."""
    return ROUTE, SourceRoute(path, 1, hops_left, tunnel, connection).encode()


@lru_cache(maxsize=4096)
def advance_route(route: SourceRoute) -> tuple[bytes, bytes]:
    """The field with which a relay passes a request on. Raises LoopError with no hops left."""
    return ROUTE, route.advance().encode()


def parse_route(value: bytes, me: str) -> SourceRoute:
    """Read a `popnet-route` field at PoP `me`. Raises LoopError or OverlayError."""
    # Only what has a sane size may take a place in the memory of `_parse_route`.
    if len(value) > _LONGEST_ROUTE:
        raise OverlayError(f"a route of {len(value)} bytes")
    return _parse_route(value, me)


@lru_cache(maxsize=4096)
def _parse_route(value: bytes, me: str) -> SourceRoute:
    match = _route(value.decode("latin-1"))
    if match is None:
        raise OverlayError(f"malformed route {value[:80]!r}")
    at, left, ways, tunnel, connection = match.groups()
    path = tuple(ways.split(">"))
    position, hops_left = int(at), int(left)
    if hops_left > MOST_HOPS:
        raise OverlayError(f"{hops_left} hops left are more than {MOST_HOPS}")
    if len(set(path)) != len(path):
        raise LoopError(f"path {ways} visits a PoP twice")
    if not 0 < position < len(path) or path[position] != me:
        raise OverlayError(f"position {position} of {ways} is not {me}")
    return SourceRoute(path, position, hops_left, tunnel, connection)


Timings = tuple[tuple[str, float], ...]
"""(who, seconds from passing the request on until the response head), nearest to the origin first.
The first may be `origin`: the connector's own measurement of the service behind it."""

ORIGIN = "origin"


def encode_timings(timings: Sequence[tuple[str, float]]) -> bytes:
    return ",".join([f"{who}={seconds * 1e6:.0f}" for who, seconds in timings]).encode()


def add_timing(value: bytes, who: str, seconds: float) -> bytes:
    """A `popnet-timing` field with one more record, without reading the others."""
    record = b"%s=%d" % (who.encode(), round(seconds * 1e6))
    return b"%s,%s" % (value, record) if value else record


def parse_timings(value: bytes) -> Timings:
    """Read a `popnet-timing` field. Raises OverlayError."""
    if not value:
        return ()
    if _timing(value.decode("latin-1")) is None:
        raise OverlayError(f"malformed timings {value[:80]!r}")
    timings = []
    for record in value.decode().split(","):
        who, _, micros = record.partition("=")
        timings.append((who, int(micros) / 1e6))
    return tuple(timings)


def encode_exit(connection: str, site: str) -> bytes:
    return (f"{connection}@{site}" if site else connection).encode()


@lru_cache(maxsize=1024)
def parse_exit(value: bytes) -> tuple[str, str]:
    """The connection, and the name of the node that it leads to, or ""."""
    found = _exit(value.decode("latin-1"))
    if found is None:
        raise OverlayError(f"malformed exit {value[:80]!r}")
    return found[1], found[2] or ""


class FaultCode(Enum):
    """Which hop failed, and how; the value is what stands on the wire."""

    NO_TUNNEL = "no-tunnel"  # nobody holds a connection of this tunnel
    TUNNEL_LOST = "tunnel-lost"  # the connection went away while it was used
    TUNNEL_PROTOCOL = "tunnel-protocol"  # the connector answered with what is no response
    ORIGIN = "origin"  # the connector could not get a response from the service
    OVERLAY = "overlay"  # the next PoP cannot be reached, or went away
    TIMEOUT = "timeout"  # no response head in time
    LOOP = "loop"
    ROUTE = "route"  # a PoP was given a route that it cannot follow
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there is no origin's response. `pop` is the PoP that noticed."""

    code: FaultCode
    pop: str
    detail: str = ""

    def encode(self) -> bytes:
        detail = _unprintable.sub("?", self.detail)[:200]
        return f"{self.code.value};{self.pop};{detail}".encode()


def parse_fault(value: bytes) -> Fault:
    """Read a `popnet-fault` field. Raises OverlayError."""
    match = _fault(value.decode("latin-1"))
    if match is None:
        raise OverlayError(f"malformed fault {value[:80]!r}")
    try:
        code = FaultCode(match[1])
    except ValueError:
        raise OverlayError(f"unknown fault {match[1]!r}") from None
    return Fault(code, match[2], match[3])

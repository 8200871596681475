"""Heads of requests and responses on their way between the edge and an origin. Pure functions.

A request comes from the edge with the visitor's headers as plain HTTP/2 headers and goes on to the
origin as they are, without what concerned the edge alone. A response goes back with the origin's
headers serialised into one header, see `wire.headers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from uuid import UUID

from wire import headers as h
from wire.headers import Headers, ResponseMeta


class Kind(Enum):
    """What a stream of the edge is."""

    CONFIGURATION = auto()
    WEBSOCKET = auto()
    TCP = auto()
    CONTROL = auto()
    HTTP = auto()


_UPGRADES = {
    h.UPGRADE_CONFIGURATION: Kind.CONFIGURATION,
    h.UPGRADE_WEBSOCKET: Kind.WEBSOCKET,
    h.UPGRADE_CONTROL: Kind.CONTROL,
}


def kind_of(headers: Headers) -> Kind:
    """First match wins: configuration, WebSocket, TCP, control stream, plain HTTP."""
    upgrade, source = None, False
    for name, value in headers:
        if name == h.UPGRADE:
            upgrade = _UPGRADES.get(value.lower())
        elif name == h.PROXY_SOURCE and value:
            source = True
    if upgrade in (Kind.CONFIGURATION, Kind.WEBSOCKET):
        return upgrade
    if source:
        return Kind.TCP
    return upgrade or Kind.HTTP


@dataclass(frozen=True, slots=True)
class Target:
    """What rules need to know of a request."""

    method: bytes
    authority: str
    path: str


def target_of(headers: Headers) -> Target | None:
    """None when a pseudo-header field is missing: such a request has no place to go."""
    method = authority = path = None
    host = b""
    for name, value in headers:
        if name == b":method":
            method = value
        elif name == b":authority":
            authority = value
        elif name == b":path":
            path = value
        elif name == b"host":
            host = value
    if not method or not path or path[:1] not in b"/*":
        return None
    # Obs-text and all: a name with such bytes matches no rule but the last.
    return Target(method, (authority or host).decode("latin-1"), path.decode("latin-1"))


def path_only(path: str) -> str:
    """The path a rule is matched against: no query, no fragment."""
    return path.partition("?")[0].partition("#")[0]


def origin_request_head(
    headers: Headers,
    *,
    scheme: bytes,
    extra: Headers,
    host: str = "",
    websocket: bool = False,
) -> Headers:
    """The head for the origin. `extra` is what this connector adds to every request.

    `host` (httpHostHeader) replaces the visitor's, which is then forwarded.
    """
    pseudo: Headers = []
    authority = b""
    rest = h.end_to_end(headers)
    for field in headers:
        name = field[0]
        if name == b":authority":
            authority = field[1]
        elif name == b"host" or name == b"expect":
            # The body is on its way already, nobody waits for a 100.
            authority = authority or (field[1] if name == b"host" else b"")
            rest = [other for other in rest if other[0] != name]
        elif name[:1] == b":" and name != b":scheme":
            pseudo.append(field)
    if host:
        rest = [field for field in rest if field[0] != h.X_FORWARDED_HOST]
        rest.append((h.X_FORWARDED_HOST, authority))
        authority = host.encode("latin-1", "replace")
    if websocket:
        rest = [field for field in rest if field[0] != b"sec-websocket-version"]
        # The encoder of HTTP/1.1 adds the Connection field that belongs to it.
        rest.append((b"upgrade", b"websocket"))
        rest.append((b"sec-websocket-version", b"13"))
    return [*pseudo, (b":scheme", scheme), (b":authority", authority), *rest, *extra]


def connector_fields(connector_id: UUID, tags: Sequence[tuple[str, str]]) -> Headers:
    """What every request to an origin says of this connector."""
    fields = [(h.CF_WARP_TAG_ID, str(connector_id).encode())]
    fields += [(b"cf-warp-tag-" + key.lower().encode(), value.encode()) for key, value in tags]
    return fields


def edge_response_head(headers: Headers, meta: ResponseMeta) -> Headers:
    """The head for the edge, from an origin's: status outside, everything else serialised."""
    status = headers[0][1]
    fields = h.end_to_end(headers)
    if status == b"101":
        # HTTP/2 has no 101 (RFC 9113 section 8.6); the serialised fields tell the edge.
        status = b"200"
        protocol = h.get(headers, b"upgrade") or b"websocket"
        fields = [(b"connection", b"Upgrade"), (b"upgrade", protocol), *fields]
    head = [
        (b":status", status),
        (h.RESPONSE_HEADERS, h.serialize_headers(fields)),
        (h.RESPONSE_META, meta.encode()),
    ]
    for field in fields:
        if field[0] == b"content-length":
            head.append(field)
            break
    return head


def own_response_head(
    status: int, fields: Headers, meta: ResponseMeta, *, length: int | None = None
) -> Headers:
    """The head of an answer that no origin made."""
    if length is not None:
        fields = [*fields, (b"content-length", str(length).encode())]
    return edge_response_head([(b":status", str(status).encode()), *fields], meta)


def failure_head(status: int, reason: str) -> Headers:
    """The connector could not get an answer; the edge makes a page of it."""
    return own_response_head(
        status, [], ResponseMeta("cloudflared", popnet_reason=reason), length=0
    )

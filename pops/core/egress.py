"""What a connector's answer means, and what of it leaves the edge.

A connector puts the origin's header fields, serialised, into one field, and says in another whether
the origin or the connector itself answered. What an HTTP library added around them (content-type,
date) is ignored. The failures of the last leg become a `Fault` here, for whoever renders it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from wire.errors import HeaderError
from wire.headers import (
    HOP_BY_HOP,
    INTERNAL_PREFIXES,
    RESPONSE_HEADERS,
    RESPONSE_META,
    parse_meta,
    parse_serialized_headers,
)
from wire.overlay import Fault, FaultCode

Headers = list[tuple[bytes, bytes]]

# What an HTTP library puts around an answer by itself. The origin's own are in the serialised field.
_OUTER = frozenset({b"content-type", b"date", RESPONSE_HEADERS, RESPONSE_META}) | HOP_BY_HOP
# What only the edge says.
_EDGE = frozenset({b"cf-ray"})
_EDGE_PREFIXES = (*INTERNAL_PREFIXES, b"popnet-")
_META_ORIGIN = b'{"src":"origin"}'
# So that a few large headers do not fill the memory of what was parsed before.
_REMEMBERED_BELOW = 2048


@dataclass(slots=True)
class Response:
    """The origin's response as visitors get it; `headers` without the status."""

    status: bytes
    headers: Headers
    origin_s: float | None  # how long the origin took, where the connector says it
    switching: bool  # a WebSocket was accepted


def understand(headers: Headers, me: str, *, websocket: bool) -> Response | Fault:
    """Read a connector's response head (not an informational one)."""
    status, serialised, meta_text = b"", None, b""
    for name, value in headers:
        if name == b":status":
            status = value
        elif name == RESPONSE_HEADERS:
            serialised = value
        elif name == RESPONSE_META:
            meta_text = value
    origin_s = None
    try:
        if meta_text and meta_text != _META_ORIGIN:
            meta = parse_meta(meta_text)
            if meta.origin_ms is not None:
                origin_s = meta.origin_ms / 1e3
            if not meta.from_origin and status in (b"502", b"504"):
                timeout = status == b"504"
                code = FaultCode.TIMEOUT if timeout else FaultCode.ORIGIN
                return Fault(code, me, meta.popnet_reason or "the connector could not reach it")
        if serialised is not None:
            fields = _visible(serialised)
        elif not status.startswith(b"5"):
            # Answered below the connector's own code, e.g. a 400 of its HTTP library.
            fields = [
                field
                for field in headers
                if field[0][:1] != b":" and field[0] not in _OUTER and _leaves(field[0])
            ]
        else:
            return Fault(FaultCode.TUNNEL_PROTOCOL, me, f"status {status.decode('latin-1')}")
    except HeaderError as error:
        return Fault(FaultCode.TUNNEL_PROTOCOL, me, str(error))
    switching = (
        websocket
        and status in (b"200", b"101")
        and any(name == b"sec-websocket-accept" for name, _ in fields)
    )
    return Response(status, fields, origin_s, switching)


def _visible(serialised: bytes) -> Headers:
    """The fields that leave the edge, of a connector's serialised ones."""
    if len(serialised) > _REMEMBERED_BELOW:
        return [f for f in parse_serialized_headers(serialised) if _leaves(f[0])]
    found = []
    for pair in serialised.split(b";") if serialised else ():
        field = _field(pair)
        if field is not None:
            found.append(field)
    return found


def _leaves(name: bytes) -> bool:
    return name not in HOP_BY_HOP and name not in _EDGE and not name.startswith(_EDGE_PREFIXES)


@lru_cache(maxsize=2048)
def _field(pair: bytes) -> tuple[bytes, bytes] | None:
    """One serialised field. Origins say the same things over and over: most are remembered."""
    if not pair:
        raise HeaderError("a serialised header has no colon")
    field = parse_serialized_headers(pair)[0]
    return field if _leaves(field[0]) else None

"""Header names, lists and small codecs that a PoP and a connector must agree on.

The connector answers with the origin's headers *serialised* into one header, so that nothing
between origin and PoP (HTTP/2 rules, an HTTP library that adds its own) can change them:
`b64(name):b64(value)` joined by `;`, standard alphabet, no padding, one pair per value. A second
header, the response meta, is JSON and says who produced the response: the origin, or the connector
itself. Both are as cloudflared writes them; our extra meta keys are ignored by others.

Headers are in HTTP/2 form: (name, value) bytes with lower-case names. RFC 9110 sections 5 and 7.6,
RFC 9113 section 8.2.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from wire.errors import UNREADABLE, HeaderError

Headers = list[tuple[bytes, bytes]]

# Edge to connector: what kind of stream this is. First match wins, in this order.
UPGRADE = b"cf-cloudflared-proxy-connection-upgrade"
UPGRADE_CONFIGURATION = b"update-configuration"
UPGRADE_WEBSOCKET = b"websocket"
UPGRADE_CONTROL = b"control-stream"
PROXY_SOURCE = b"cf-cloudflared-proxy-src"

# Connector to edge.
RESPONSE_HEADERS = b"cf-cloudflared-response-headers"
RESPONSE_META = b"cf-cloudflared-response-meta"

# What the edge says about the visitor, and the connector about itself.
CF_RAY = b"cf-ray"
CF_CONNECTING_IP = b"cf-connecting-ip"
CF_VISITOR = b"cf-visitor"
CF_IPCOUNTRY = b"cf-ipcountry"
CF_WARP_TAG_ID = b"cf-warp-tag-id"
CDN_LOOP = b"cdn-loop"
X_FORWARDED_FOR = b"x-forwarded-for"
X_FORWARDED_PROTO = b"x-forwarded-proto"
X_FORWARDED_HOST = b"x-forwarded-host"
SERVER_TIMING = b"server-timing"

# RFC 9110 section 7.6.1, and Proxy-* of section 11.7. `trailer` is not among them: section 6.6.2
# lets it pass, and a receiver may need it.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
# `Connection: content-length` must not change how a message is framed or where it goes.
_NEVER_HOP_BY_HOP = frozenset({b"content-length", b"host", b"cookie", b"authorization"})

# Names by which the edge's own parts speak to each other. Neither a visitor's request nor an
# origin's response may contain them.
INTERNAL_PREFIXES = (b"cf-cloudflared-", b"cf-int-", b"cf-proxy-")

# What only the edge may say about a visitor, so a visitor must not. `cdn-loop` is missing on
# purpose: it counts loops only because nobody removes it (RFC 8586 section 2).
FORGEABLE = frozenset(
    {
        CF_RAY,
        CF_CONNECTING_IP,
        CF_VISITOR,
        CF_IPCOUNTRY,
        b"cf-connecting-ipv6",
        b"cf-ew-via",
        b"cf-pseudo-ipv4",
        b"cf-worker",
        b"forwarded",
        b"true-client-ip",
        X_FORWARDED_FOR,
        X_FORWARDED_HOST,
        X_FORWARDED_PROTO,
        b"x-real-ip",
    }
)
FORGEABLE_PREFIXES = (*INTERNAL_PREFIXES, b"cf-warp-tag-", b"popnet-", b"x-popnet-")

_is_name = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_bad_in_value = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
_is_method = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch

valid_method = _is_method


def valid_name(name: bytes) -> bool:
    """A lower-case field name (RFC 9113 section 8.2.1); pseudo-header fields are not."""
    return _is_name(name) is not None


def valid_value(value: bytes) -> bool:
    """A field value: no control character but tab, no blank at either end."""
    return _bad_in_value(value) is None and (not value or value == value.strip(b" \t"))


def clean(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """What of `headers` may be sent: names lower-cased, values trimmed, malformed fields dropped.

    HTTP/2 engines need not validate what they send, and one bad byte costs the stream or the
    connection. Pseudo-header fields pass unseen.
    """
    kept: Headers = []
    for name, value in headers:
        if name[:1] == b":":
            kept.append((name, value))
            continue
        name = name.lower()
        value = value.strip(b" \t")
        if _is_name(name) is not None and _bad_in_value(value) is None:
            kept.append((name, value))
    return kept


def get(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The first value of `name`."""
    for key, value in headers:
        if key == name:
            return value
    return None


def strip_hop_by_hop(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Without the fields that concern one connection only, also those its Connection field names.

    `te: trailers` stays: it is the one value HTTP/2 allows (RFC 9113 section 8.2.2), and gRPC needs
    it.
    """
    headers = list(headers)
    named: set[bytes] = set()
    for name, value in headers:
        if name == b"connection":
            named.update(token.strip(b" \t").lower() for token in value.split(b","))
    named -= _NEVER_HOP_BY_HOP
    # A TE field is always named by Connection in HTTP/1.1 (RFC 9110 section 10.1.4).
    named.discard(b"te")
    kept: Headers = []
    for field in headers:
        name = field[0]
        if name in HOP_BY_HOP:
            if name == b"te" and _accepts_trailers(field[1]):
                kept.append((b"te", b"trailers"))
        elif name not in named:
            kept.append(field)
    return kept


def _accepts_trailers(value: bytes) -> bool:
    return any(token.strip(b" \t").lower() == b"trailers" for token in value.split(b","))


def drop_forged(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """A visitor's headers without those that only the edge may set, `_` counted as `-` as services do."""
    kept: Headers = []
    for field in headers:
        name = field[0].replace(b"_", b"-")
        if name not in FORGEABLE and not name.startswith(FORGEABLE_PREFIXES):
            kept.append(field)
    return kept


def drop_internal(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """An origin's headers without the edge's internal names."""
    return [field for field in headers if not field[0].startswith(INTERNAL_PREFIXES)]


@lru_cache(maxsize=4096)
def _passes(name: bytes) -> bool:
    """Whether a field of that name may go on to the next hop, whatever its value."""
    return (
        _is_name(name) is not None
        and name not in HOP_BY_HOP
        and not name.startswith(INTERNAL_PREFIXES)
    )


def end_to_end(headers: Headers) -> Headers:
    """`strip_hop_by_hop`, `drop_internal` and `clean` in one, without pseudo-header fields.

    This is done to every message, so it takes one pass: names are few, and each is judged once.
    """
    kept: Headers = []
    for field in headers:
        name, value = field
        if _passes(name):
            if _bad_in_value(value) is None:
                kept.append((name, value.strip(b" \t")))
        elif name == b"te" and _accepts_trailers(value):
            kept.append((b"te", b"trailers"))
        elif name == b"connection" or name.lower() != name:
            # Rare: it may name others, or names must be changed first.
            rest = [field for field in headers if field[0][:1] != b":"]
            return drop_internal(strip_hop_by_hop(clean(rest)))
    return kept


def _encode(raw: bytes) -> bytes:
    return b2a_base64(raw, newline=False).rstrip(b"=")


def _decode(text: bytes) -> bytes:
    if len(text) % 4 == 1:
        raise HeaderError("a serialised header is cut off")
    try:
        return a2b_base64(text + b"=" * (-len(text) % 4), strict_mode=True)
    except Base64Error as error:
        raise HeaderError(f"a serialised header is not base64: {error}") from None


# Names are few and values are many: only names are remembered.
_encode_name = lru_cache(maxsize=1024)(_encode)


@lru_cache(maxsize=1024)
def _decode_name(text: bytes) -> bytes:
    name = _decode(text).lower()
    if _is_name(name) is None:
        raise HeaderError(f"a serialised header has the name {name[:40]!r}")
    return name


# An origin says the same short things over and over.
_REMEMBERED = 128


@lru_cache(maxsize=2048)
def _encode_pair(name: bytes, value: bytes) -> bytes:
    return _encode_name(name) + b":" + _encode(value)


def serialize_headers(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The value of `RESPONSE_HEADERS`. Empty for no headers."""
    return b";".join(
        [
            _encode_pair(name, value)
            if len(value) <= _REMEMBERED
            else _encode_name(name) + b":" + _encode(value)
            for name, value in headers
        ]
    )


def parse_serialized_headers(text: bytes) -> Headers:
    """What `serialize_headers` made, or a connector of any make: names come out in lower case."""
    if not text:
        return []
    headers: Headers = []
    for pair in text.split(b";"):
        name, colon, value = pair.partition(b":")
        if not colon:
            raise HeaderError("a serialised header has no colon")
        decoded = _decode(value).strip(b" \t")
        if _bad_in_value(decoded) is not None:
            raise HeaderError("a serialised header has a control character in its value")
        headers.append((_decode_name(name), decoded))
    return headers


class ResponseMeta(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who produced a response. `src` is "origin" or "cloudflared" (any connector itself)."""

    src: str
    flow_rate_limited: bool = False
    # Ours: why the connector answered itself, and how long the origin took to its response head.
    popnet_reason: str = ""
    origin_ms: float | None = None

    @property
    def from_origin(self) -> bool:
        return self.src == "origin"

    def encode(self) -> bytes:
        """The value of `RESPONSE_META`."""
        return _meta_encoder.encode(self)


_meta_encoder = msgspec.json.Encoder()
_meta_decoder = msgspec.json.Decoder(ResponseMeta)

META_ORIGIN = ResponseMeta("origin")
META_CONNECTOR = ResponseMeta("cloudflared")


def parse_meta(text: bytes) -> ResponseMeta:
    """Parse a `RESPONSE_META` value; keys of other makes are ignored."""
    try:
        return _meta_decoder.decode(text)
    except UNREADABLE as error:
        raise HeaderError(f"response meta: {error}") from None

"""Header fields made safe before they are sent.

ngh2 sends what it is given: a CR, LF or NUL in a value, an upper-case name or a connection-specific field would go
on the wire, where RFC 9113 section 8.2 makes the message malformed, and where the next hop, if it speaks HTTP/1.1,
could be talked into seeing two requests. So every field list passes here, at the cost of about a microsecond: names
are looked up in a set of names that were checked before, values are checked all at once.
"""

from __future__ import annotations

import re

Headers = list[tuple[bytes, bytes]]

# RFC 9113 section 8.2.2: what only makes sense between two neighbours on an HTTP/1.1 connection.
CONNECTION_SPECIFIC = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    )
)

_NAME = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE = re.compile(rb"[\r\n\0]")

# Names are few and come again and again. The bound keeps a peer who invents names from filling our memory.
_KNOWN_LIMIT = 4096
_NAME_LIMIT = 256
_known: set[bytes] = set()


# What no peer need bear. nghttp2 ends the whole connection over one string of more than 64 KiB, ours over a list that
# is four times what it advertises: sending such a thing would cost every other exchange on the connection.
MAX_FIELD = 64 * 1024
MAX_LIST = 192 * 1024


class MalformedFieldError(ValueError):
    """The fields are not fit to be sent: a pseudo-header field is malformed, or they are too large."""


def safe(headers: Headers) -> Headers:
    """`headers` itself when it may be sent as it is, else a copy without what may not.

    Upper-case names are lowered; connection-specific fields, names that are no tokens, and values with CR, LF or
    NUL are left out: to mend a value would be to guess. Raises `MalformedFieldError` for a malformed pseudo-header
    field, and when a field or all of them are too large.
    """
    # Measured: a plain loop beats `issuperset(map(...))`, and looking for an int in bytes beats looking for bytes.
    for name, _ in headers:
        if name not in _known and not _learn(name):
            return _cleaned(headers)
    values = b"".join([value for _, value in headers])
    if 10 in values or 13 in values or 0 in values:
        return _cleaned(headers)
    if len(values) > MAX_FIELD:
        _refuse_oversized(headers)
    return headers


def list_size(headers: Headers) -> int:
    """The size of a field list as RFC 9113 section 6.5.2 counts it."""
    return 32 * len(headers) + sum([len(name) + len(value) for name, value in headers])


def _learn(name: bytes) -> bool:
    if name in CONNECTION_SPECIFIC or name == b"te" or len(name) > _NAME_LIMIT:
        return False
    if not _NAME.fullmatch(name):
        return False
    if len(_known) < _KNOWN_LIMIT:
        _known.add(name)
    return True


def _refuse_oversized(headers: Headers) -> None:
    if list_size(headers) > MAX_LIST:
        raise MalformedFieldError("the header fields are too large")
    for name, value in headers:
        if len(value) > MAX_FIELD:
            raise MalformedFieldError(f"the field {name[:100]!r} is too large")


def _cleaned(headers: Headers) -> Headers:
    kept: Headers = []
    for field in headers:
        name, value = field
        if not name.islower():
            field = (name.lower(), value)
            name = field[0]
        if name in CONNECTION_SPECIFIC or (name == b"te" and value.lower() != b"trailers"):
            continue
        if len(name) > MAX_FIELD or not _NAME.fullmatch(name) or _BAD_VALUE.search(value):
            if name.startswith(b":"):
                raise MalformedFieldError(f"{name!r}: {value[:100]!r}")
            continue
        kept.append(field)
    _refuse_oversized(kept)
    return kept

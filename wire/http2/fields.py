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
_known: set[bytes] = set()


class MalformedFieldError(ValueError):
    """A field that cannot be left out (a pseudo-header field) is not fit to be sent."""


def safe(headers: Headers) -> Headers:
    """`headers` itself when it may be sent as it is, else a copy without what may not.

    Upper-case names are lowered; connection-specific fields, names that are no tokens, and values with CR, LF or
    NUL are left out: to mend a value would be to guess. Raises `MalformedFieldError` for a pseudo-header field.
    """
    # Measured: a plain loop beats `issuperset(map(...))`, and looking for an int in bytes beats looking for bytes.
    for name, _ in headers:
        if name not in _known and not _learn(name):
            return _cleaned(headers)
    values = b"".join([value for _, value in headers])
    if 10 in values or 13 in values or 0 in values:
        return _cleaned(headers)
    return headers


def list_size(headers: Headers) -> int:
    """The size of a field list as RFC 9113 section 6.5.2 counts it."""
    return 32 * len(headers) + sum([len(name) + len(value) for name, value in headers])


def _learn(name: bytes) -> bool:
    if name in CONNECTION_SPECIFIC or name == b"te" or not _NAME.fullmatch(name):
        return False
    if len(_known) < _KNOWN_LIMIT:
        _known.add(name)
    return True


def _cleaned(headers: Headers) -> Headers:
    kept: Headers = []
    for field in headers:
        name, value = field
        if not name.islower():
            field = (name.lower(), value)
            name = field[0]
        if name in CONNECTION_SPECIFIC or (name == b"te" and value.lower() != b"trailers"):
            continue
        if not _NAME.fullmatch(name) or _BAD_VALUE.search(value):
            if name.startswith(b":"):
                raise MalformedFieldError(f"{name!r}: {value[:100]!r}")
            continue
        kept.append(field)
    return kept

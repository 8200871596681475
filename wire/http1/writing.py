"""HTTP/1.1 as bytes: heads from HTTP/2's form, chunks, trailers. Nothing unsafe gets through (`wire.http2.fields`)."""

from __future__ import annotations

import re
from http import HTTPStatus

from wire.http1.parsing import TRAILER_REFUSED
from wire.http2 import fields
from wire.http2.engine import Headers


def request_head(headers: Headers, *, chunked: bool) -> bytes:
    """The head of a request, from HTTP/2 form. `chunked`: the body's length is not known."""
    method, authority, path = b"GET", b"", b"/"
    lines = []
    fit, upgrade = _fit(headers)
    for name, value in fit:
        if name[0] == _COLON:
            if name == b":method":
                method = value
            elif name == b":path":
                path = value
            elif name == b":authority":
                authority = value
        elif name != b"host":
            lines.append(name + b": " + value)
        elif not authority:
            authority = value
    if not _TOKEN.fullmatch(method) or not path or _SPACE.search(path):
        raise fields.MalformedFieldError("the method or the path cannot be written in HTTP/1.1")
    if chunked:
        _chunk(lines)
    if upgrade is not None:
        lines.append(b"connection: upgrade\r\nupgrade: " + upgrade)
    start = method + b" " + path + b" HTTP/1.1\r\nhost: " + authority
    return b"\r\n".join([start, *lines, b"\r\n"])


def response_head(headers: Headers, *, chunked: bool, close: bool) -> bytes:
    """The head of an answer, from HTTP/2 form."""
    fit, upgrade = _fit(headers)
    status = fit[0][1]
    lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 " + status + b" "]
    for name, value in fit:
        if name[0] != _COLON:
            lines.append(name + b": " + value)
    if chunked:
        _chunk(lines)
    if status == b"101" and upgrade is not None:
        lines.append(b"connection: upgrade\r\nupgrade: " + upgrade)
    elif close:
        lines.append(b"connection: close")
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def chunk(data: bytes) -> bytes:
    """One chunk; empty data would end the body, so it gives nothing."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def last_chunk(trailers: Headers = []) -> bytes:  # noqa: B006  never changed
    """The end of a chunked body."""
    if not trailers:
        return b"0\r\n\r\n"
    try:
        kept, _ = _fit([field for field in trailers if field[0][:1] != b":"])
    except fields.MalformedFieldError:
        return b"0\r\n\r\n"  # trailers may always be dropped (RFC 9110 section 6.5.1)
    lines = [n + b": " + v for n, v in kept if n[0] != _COLON and n not in TRAILER_REFUSED]
    return b"\r\n".join([b"0", *lines, b"\r\n"])


def content_length(headers: Headers) -> int | None:
    """The declared length of a body. A value that is no number counts as not declared."""
    for name, value in headers:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) < 19 else None
    return None


def has_no_body(status: bytes, method_is_head: bool) -> bool:
    """RFC 9112 section 6.3: these answers end with their head, whatever it says."""
    return method_is_head or status in (b"204", b"304") or status[:1] == b"1"


def _chunk(lines: list[bytes]) -> None:
    """Never both framings in one head: that is how requests are smuggled (RFC 9112 section 6.3)."""
    lines[:] = [line for line in lines if not line.startswith(b"content-length: ")]
    lines.append(b"transfer-encoding: chunked")


def _fit(headers: Headers) -> tuple[Headers, bytes | None]:
    """Fields that may be sent, and the value of `upgrade` taken out of them."""
    fit = fields.safe(headers)
    if fit is headers:
        return fit, None
    upgrade = next((value for name, value in headers if name == b"upgrade"), None)
    if upgrade is not None and not _TOKEN_LIST.fullmatch(upgrade):
        upgrade = None
    return fit, upgrade


_COLON = ord(":")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TOKEN_LIST = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z/, ]+")
_SPACE = re.compile(rb"[\x00-\x20\x7f]")
_STATUS_LINES = {
    b"%d" % status.value: b"HTTP/1.1 %d %b" % (status.value, status.phrase.encode())
    for status in HTTPStatus
}

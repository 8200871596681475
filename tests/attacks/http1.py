"""HTTP/1.1: smuggling, and targets that disagree (RFC 9112 sections 3, 5, 6, 7 and 11.2).

Each attack is one piece of bytes on a connection of its own. Behind what is wrong stands `GET /smuggled`: a PoP that
reads on after an error, or that counts a body otherwise than its author, would pass it to the connector.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tests.attacks.case import Case
from tests.attacks.raw import Wire
from tests.attacks.target import HOST, Target

_HOST = f"Host: {HOST}\r\n".encode()
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + _HOST + b"\r\n"


def _post(*lines: bytes, body: bytes = b"") -> bytes:
    return (
        b"POST / HTTP/1.1\r\n" + _HOST + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body
    )


def _get(*lines: bytes, target: bytes = b"/", host: bytes = _HOST) -> bytes:
    return (
        b"GET " + target + b" HTTP/1.1\r\n" + host + b"".join(x + b"\r\n" for x in lines) + b"\r\n"
    )


async def told(wire: Wire, target: Target) -> str:
    """Statuses of all answers until the PoP hangs up, and whether it hung up by itself."""
    answers = await wire.rest()
    statuses = [
        line[9:12].decode() for line in answers.split(b"\n") if line.startswith(b"HTTP/1.1 ")
    ]
    paths = [dict(request.message.headers).get(b":path") for request in target.connector.requests]
    if b"/smuggled" in paths:
        return "SMUGGLED " + " ".join(statuses)
    return " ".join(statuses) or "closed"


def _sends(data: bytes) -> Any:
    async def play(target: Target) -> str:
        target.connector.requests.clear()
        wire = await target.plain()
        await wire.send(data)
        return await told(wire, target)

    return play


_CHUNKED = b"Transfer-Encoding: chunked"
_FIVE = b"Content-Length: 5"
REFUSED: list[tuple[str, bytes]] = [
    ("both lengths", _post(_FIVE, _CHUNKED, body=b"0\r\n\r\n" + SMUGGLED)),
    ("both lengths, the other way round", _post(_CHUNKED, _FIVE, body=b"0\r\n\r\n" + SMUGGLED)),
    ("two Content-Lengths that differ", _post(_FIVE, b"Content-Length: 0", body=SMUGGLED)),
    ("two Content-Lengths that agree", _post(_FIVE, _FIVE, body=b"hello" + SMUGGLED)),
    ("a list of lengths", _post(b"Content-Length: 5, 5", body=b"hello" + SMUGGLED)),
    ("a length with a sign", _post(b"Content-Length: +5", body=b"hello" + SMUGGLED)),
    ("a negative length", _post(b"Content-Length: -1", body=SMUGGLED)),
    ("a length in hexadecimal", _post(b"Content-Length: 0x5", body=b"hello" + SMUGGLED)),
    ("a length beyond 64 bits", _post(b"Content-Length: 18446744073709551621", body=b"hello" + SMUGGLED)),
    ("a length with a blank inside", _post(b"Content-Length: 1 0", body=b"hello" + SMUGGLED)),
    ("a blank before the colon", _post(b"Content-Length : 5", body=b"hello" + SMUGGLED)),
    ("an unknown coding", _post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + SMUGGLED)),
    ("chunked twice", _post(_CHUNKED, _CHUNKED, body=b"0\r\n\r\n" + SMUGGLED)),
    ("chunked and then another coding", _post(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n" + SMUGGLED)),
    ("another coding before chunked", _post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n" + SMUGGLED)),
    ("a vertical tab before chunked", _post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n" + SMUGGLED)),
    ("a coding in HTTP/1.0", b"POST / HTTP/1.0\r\n" + _HOST + _CHUNKED + b"\r\n\r\n0\r\n\r\n" + SMUGGLED),
    ("a chunk size with a sign", _post(_CHUNKED, body=b"+5\r\nhello\r\n0\r\n\r\n" + SMUGGLED)),
    ("a chunk size of 0x", _post(_CHUNKED, body=b"0x5\r\nhello\r\n0\r\n\r\n" + SMUGGLED)),
    ("a chunk size beyond 64 bits", _post(_CHUNKED, body=b"10000000000000005\r\nhello\r\n0\r\n\r\n" + SMUGGLED)),
    ("a chunk longer than its size", _post(_CHUNKED, body=b"3\r\nhello\r\n0\r\n\r\n" + SMUGGLED)),
    ("a chunk that ends with LF", _post(_CHUNKED, body=b"5\r\nhello\n0\r\n\r\n" + SMUGGLED)),
    ("a chunk size that ends with LF", _post(_CHUNKED, body=b"5\nhello\r\n0\r\n\r\n" + SMUGGLED)),
    ("a chunk size that ends with CR", _post(_CHUNKED, body=b"5\rXhello\r\n0\r\n\r\n" + SMUGGLED)),
    ("LF in a chunk extension", _post(_CHUNKED, body=b"5;a\nb\r\nhello\r\n0\r\n\r\n" + SMUGGLED)),
    ("obsolete folding", _get(b"X: a", b" b")),
    ("folding of a length", _post(b"Content-Length:", b" 5", body=b"hello" + SMUGGLED)),
    ("a bare CR in a value", _get(b"X: a\rY: b")),
    ("a bare LF in a value", b"GET / HTTP/1.1\nHost: " + HOST.encode() + b"\n\n"),
    ("NUL in a value", _get(b"X: a\0b")),
    ("NUL in a name", _get(b"X\0Y: a")),
    ("a name of no bytes", _get(b": a")),
    ("a line without a colon", _get(b"X")),
    ("a control character in a value", _get(b"X: a\x01b")),
    ("a blank before the first field", b"GET / HTTP/1.1\r\n " + _HOST + b"\r\n"),
    ("no Host", b"GET / HTTP/1.1\r\n\r\n"),
    ("two Hosts", _get(b"Host: www.example.com")),
    ("a Host with user and password", _get(host=b"Host: a@" + HOST.encode() + b"\r\n")),
    ("a Host with a path", _get(host=b"Host: " + HOST.encode() + b"/admin\r\n")),
    ("a Host with a blank", _get(host=b"Host: " + HOST.encode() + b" x\r\n")),
    ("a target of another scheme", _get(target=b"ftp://" + HOST.encode() + b"/")),
    ("a target that is a name", _get(target=HOST.encode())),
    ("a target with NUL", _get(target=b"/a\0b")),
    ("a target with a control character", _get(target=b"/a\x01b")),
    ("a target with a blank", _get(target=b"/a b")),
    ("HTTP/0.9", b"GET /\r\n\r\n"),
    ("HTTP/1.2", b"GET / HTTP/1.2\r\n" + _HOST + b"\r\n"),
    ("HTTP/2.0 without its preface", b"GET / HTTP/2.0\r\n" + _HOST + b"\r\n"),
    ("CONNECT", b"CONNECT 10.0.0.1:22 HTTP/1.1\r\n" + _HOST + b"\r\n"),
    ("an unknown method", b"SMUGGLE / HTTP/1.1\r\n" + _HOST + b"\r\n"),
    ("an unknown expectation", _post(b"Expect: a-miracle", _FIVE, body=b"hello")),
    ("an upgrade with a chunked body",
     _post(b"Connection: upgrade", b"Upgrade: websocket", _CHUNKED, body=b"0\r\n\r\n" + SMUGGLED)),
    ("a TLS hello at the plain door", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64)),
    ("a head of 1 MB", _get(*[b"X: " + b"y" * 1000] * 1000)),
    ("a field of 1 MB that does not end", b"GET / HTTP/1.1\r\n" + _HOST + b"X: " + b"y" * 1_000_000),
    ("a target of 1 MB", _get(target=b"/" + b"y" * 1_000_000)),
    ("10,000 fields", _get(*[b"X: y"] * 10_000)),
]  # fmt: skip

# Refused after the head was understood, so the connection may go on; what is behind is asked to close it.
_CLOSE = b"Connection: close"


def tiny_chunks(count: int) -> bytes:
    """A body of so many chunks of a byte."""
    return _post(_CHUNKED, body=b"1\r\nx\r\n" * count + b"0\r\n\r\n")


async def _absolute_form(target: Target) -> str:
    """RFC 9112 section 3.2.2: the target counts, Host is overwritten. So the name that is judged is the one sent on."""
    target.connector.requests.clear()
    wire = await target.plain()
    await wire.send(
        _get(_CLOSE, target=f"http://{HOST}/".encode(), host=b"Host: other.example.net\r\n")
    )
    statuses = await told(wire, target)
    seen = [
        value for request in target.connector.requests for name, value in request.message.headers
        if name in (b":authority", b"host")
    ]  # fmt: skip
    return f"{statuses}, the connector hears {b' '.join(seen).decode()}"


async def _absolute_elsewhere(target: Target) -> str:
    wire = await target.plain()
    await wire.send(_get(_CLOSE, target=b"http://other.example.net/"))
    return await told(wire, target)


async def _sni_disagrees(target: Target) -> str:
    wire = await target.https("elsewhere.example.net")
    await wire.send(_get(_CLOSE))
    return await told(wire, target)


# What only the edge may say. A service takes x_y and x-y for the same where it makes variables of them.
FORGED = (
    "CF-Ray", "CF-Connecting-IP", "X-Forwarded-For", "X-Real-IP", "True-Client-IP", "Forwarded", "CF-Visitor",
    "CF-IPCountry", "CF-Cloudflared-Proxy-Connection-Upgrade", "CF-Cloudflared-Proxy-Src", "CF-Int-X",
    "CF-Cloudflared-Response-Meta", "Popnet-Route", "Popnet-Fault", "Popnet-Exit", "Popnet-Timing", "X-Popnet-Y",
)  # fmt: skip
UNDERSCORED = tuple(
    name.replace("-", "_", count) for name in FORGED if "-" in name for count in (1, -1)
)


NONE_FORGED = "200, 1 request, forged fields at the connector: 0"


def forged_at_the_connector(target: Target) -> str:
    """What came through of fields whose value is `forged`."""
    heard = [request.message.headers for request in target.connector.requests]
    found = [name.decode() for headers in heard for name, value in headers if b"forged" in value]
    return f"{len(heard)} request, forged fields at the connector: {len(found)} {' '.join(found)}".strip()


def _forges(names: Sequence[str]) -> Callable[[Target], Awaitable[str]]:
    async def play(target: Target) -> str:
        target.connector.requests.clear()
        wire = await target.plain()
        await wire.send(_get(_CLOSE, *(f"{name}: forged".encode() for name in names)))
        return f"{await told(wire, target)}, {forged_at_the_connector(target)}"

    return play


async def _pipelined(target: Target) -> str:
    """One connection, a thousand requests at once, nothing read."""
    wire = await target.plain()
    await wire.send(_get(target=b"/large") * 1000)
    return f"others are served meanwhile: {await target.bystander()}"


async def _hidden_by_connection(target: Target) -> str:
    """`Connection` may not remove what the request is judged by."""
    target.connector.requests.clear()
    wire = await target.plain()
    await wire.send(
        _get(
            b"Connection: close, host, cf-connecting-ip, x-forwarded-for, authorization",
            b"Authorization: a",
        )
    )
    statuses = await told(wire, target)
    names = {name for request in target.connector.requests for name, _ in request.message.headers}
    kept = [
        n for n in ("cf-connecting-ip", "x-forwarded-for", "authorization") if n.encode() in names
    ]
    return f"{statuses}, kept: {' '.join(kept)}"


def cases() -> list[Case]:
    refused = [
        Case(name, "visitors", f"HTTP/1.1 with {name}", "4xx or 5xx, closed, nothing passed on",
             r"4\d\d|501|505|closed", _sends(data), reaches=-1)
        for name, data in REFUSED
    ]  # fmt: skip
    return [
        *refused,
        Case("absolute form against Host", "visitors", f"GET http://{HOST}/ with another Host",
             "the target counts", f"200, the connector hears {HOST}", _absolute_form, reaches=-1),
        Case("absolute form of another host", "visitors", "GET http://other.example.net/ with our Host",
             "404", "404|421", _absolute_elsewhere, reaches=-1),
        Case("SNI and Host disagree", "visitors", "TLS for elsewhere.example.net, then our Host", "421", "421",
             _sni_disagrees, reaches=-1),
        Case("forged internal fields", "visitors", "17 fields that only the edge may send", "none gets through",
             NONE_FORGED, _forges(FORGED), reaches=-1),
        Case("forged internal fields with underscores", "visitors", "CF_Connecting_IP, X_Forwarded-For ...",
             "none gets through", NONE_FORGED, _forges(UNDERSCORED), reaches=-1),
        Case("Connection names fields of the edge", "visitors", "Connection: host, cf-connecting-ip, authorization ...",
             "they stay", "200, kept: cf-connecting-ip x-forwarded-for authorization", _hidden_by_connection, reaches=-1),
        Case("chunks of one byte", "visitors", "a body of 200,000 chunks", "400, closed", "400|closed",
             _sends(tiny_chunks(200_000)), reaches=-1),
        Case("pipelining without reading", "visitors", "1000 pipelined requests for 4 MB", "others are served",
             "others are served meanwhile: 200", _pipelined, reaches=-1),
    ]  # fmt: skip

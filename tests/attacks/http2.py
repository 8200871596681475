"""HTTP/2: floods, bombs, and what RFC 9113 does not allow, at every port that speaks it.

At the visitors' and the overlay's port the PoP is the server; at the tunnel port it is the client, and the attacker
answers. The generic cases follow the sections of RFC 9113 and RFC 7541, as conformance tools for servers do.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tests.attacks.case import Case, Port
from tests.attacks.http1 import FORGED, NONE_FORGED, UNDERSCORED, forged_at_the_connector
from tests.attacks.raw import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    block,
    frame,
    settings,
)
from tests.attacks.target import HOST, Target

Field = tuple[str | bytes, str | bytes]
REQUEST: tuple[Field, ...] = (
    (":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/"),
)  # fmt: skip
POST: tuple[Field, ...] = ((":method", "POST"), *REQUEST[1:])
GET_BLOCK = block(*REQUEST)
WHOLE = END_HEADERS | END_STREAM

CUT = r"cut: .*"
STREAM = r"reset: .*|4\d\d|cut: .*"
LIVES = r"nothing: the connection lives"


def _get(stream: int, flags: int = WHOLE, fields: Sequence[Field] = REQUEST) -> bytes:
    return frame(HEADERS, flags, stream, block(*fields))


def _window(stream: int, by: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack("!L", by))


def _sends(
    port: Port, data: bytes | Callable[[], bytes], *, opened: bytes = b"", stream: int = 0
) -> Any:
    async def play(target: Target) -> str:
        wire = await target.h2(port)
        if opened:
            await wire.send(opened)
        await wire.send(data if isinstance(data, bytes) else data())
        return await wire.expecting(stream).outcome(stream) if stream else await wire.outcome()

    return play


# At the tunnel port there are no requests of ours, so the floods ride on the control stream that the PoP opens.
def _flood_rows(port: Port) -> list[tuple[str, str, Callable[[], bytes], str]]:
    """Their bytes are made when they are sent: all together are 200 MB."""
    many = 20_000
    head = (
        _get(1, END_HEADERS, POST) if port != "tunnel" else frame(HEADERS, END_HEADERS, 1, b"\x88")
    )
    first = 3 if port != "tunnel" else 2
    rows: list[tuple[str, str, Callable[[], bytes], str]] = [
        ("PING flood", f"{many} PINGs", lambda: frame(PING, 0, 0, b"12345678") * many, CUT),
        ("SETTINGS flood", f"{many} SETTINGS", lambda: settings() * many, CUT),
        ("empty DATA flood", f"{many} DATA frames of no bytes", lambda: head + frame(DATA, 0, 1) * many, CUT),
        ("PRIORITY flood", f"{many} PRIORITY frames", lambda: frame(PRIORITY, 0, 1, b"\0\0\0\0\x10") * many, f"{CUT}|{LIVES}"),
        ("WINDOW_UPDATE flood", f"{many} WINDOW_UPDATEs of one byte", lambda: _window(0, 1) * many, f"{CUT}|{LIVES}"),
        ("unknown frames flood", f"{many} frames of an unknown kind", lambda: frame(0x42, 0, 0, b"x") * many, f"{CUT}|{LIVES}"),
        ("CONTINUATION flood", f"HEADERS and {many} CONTINUATIONs that end nothing",
         lambda: frame(HEADERS, 0, 1, GET_BLOCK) + frame(CONTINUATION, 0, 1) * many, CUT),
        ("CONTINUATION bomb", "HEADERS and CONTINUATIONs of 64 MB, never ended",
         lambda: frame(HEADERS, 0, 1, GET_BLOCK) + frame(CONTINUATION, 0, 1, block(("x", "y" * 16_000))) * 4000, CUT),
        ("GOAWAY flood", f"{many} GOAWAYs", lambda: frame(GOAWAY, 0, 0, b"\0" * 8) * many, ".*"),
    ]  # fmt: skip
    if port != "tunnel":

        def each(requests: Callable[[int], bytes], first: int = 1) -> Callable[[], bytes]:
            return lambda: b"".join(requests(2 * i + first) for i in range(4000))

        resets = each(lambda n: _get(n) + frame(RST_STREAM, 0, n, b"\0\0\0\x08"), first)
        provoked = each(lambda n: _get(n) + _window(n, 0))
        empty = each(lambda n: _get(n, END_HEADERS, POST))
        rows += [
            ("rapid reset", "4000 requests, each reset at once", resets, CUT if port == "visitors" else f"{CUT}|{LIVES}"),
            ("provoked resets", "4000 requests, each made wrong so that the PoP resets it", provoked, CUT),
            ("more streams than allowed", "4000 requests that never end", empty, f"{CUT}|{LIVES}"),
            ("HPACK bomb", "an entry of 4000 bytes put in the table, then named 16,000 times",
             lambda: frame(HEADERS, WHOLE, 1, GET_BLOCK + b"\x40\x01a\x7f" + _integer(4000 - 127) + b"x" * 4000 + b"\xbe" * 16_000),
             CUT),
            ("HPACK table flood", "5000 table size updates in one head",
             lambda: frame(HEADERS, WHOLE, 1, b"\x20" * 5000 + GET_BLOCK), f"{CUT}|{LIVES}"),
        ]  # fmt: skip
    return rows


def flood_bytes() -> list[tuple[str, bytes]]:
    """Floods of a visitor by name, as they are sent after SETTINGS."""
    return [(name, data()) for name, _, data, _ in _flood_rows("visitors")]


def _floods(port: Port) -> list[Case]:
    def case(name: str, sent: str, data: Callable[[], bytes], expect: str) -> Case:
        must = "connection cut" if expect == CUT else "cut, or borne without harm"
        return Case(name, port, sent, must, expect, _sends(port, data), reaches=-1)

    return [case(*row) for row in _flood_rows(port)]


def _integer(value: int) -> bytes:
    out = b""
    while value >= 128:
        out += bytes([value % 128 + 128])
        value //= 128
    return out + bytes([value])


def _generic_frames(port: Port) -> list[Case]:
    """What a peer of either role may not send (RFC 9113 sections 4 to 7)."""
    zero, sid = b"\0\0\0\0", 1 if port != "tunnel" else 2
    opened = _get(1, END_HEADERS, POST) if port != "tunnel" else b""
    rows: list[tuple[str, bytes, bytes]] = [
        ("4.2 a frame larger than allowed", b"", frame(DATA, 0, 1, bytes(70_000))),
        ("4.3 a header block that cannot be unpacked", b"", frame(HEADERS, WHOLE, 1, b"\xff\xff\xff\xff\xff\xff")),
        ("RFC 7541 2.3.3 an index outside the tables", b"", frame(HEADERS, WHOLE, 1, GET_BLOCK + b"\xfe")),
        ("RFC 7541 4.2 a table larger than agreed", b"", frame(HEADERS, WHOLE, 1, b"\x3f\xe1\xff\x03" + GET_BLOCK)),
        ("5.1 DATA on an idle stream", b"", frame(DATA, 0, 99, b"x")),
        ("5.1 RST_STREAM on an idle stream", b"", frame(RST_STREAM, 0, 99, zero)),
        ("5.1 WINDOW_UPDATE on an idle stream", b"", _window(99, 1)),
        ("5.1 CONTINUATION on an idle stream", b"", frame(CONTINUATION, END_HEADERS, 99, GET_BLOCK)),
        ("6.1 DATA on stream 0", b"", frame(DATA, 0, 0, b"x")),
        ("6.1 padding as long as the frame", opened, frame(DATA, PADDED, 1, b"\x05abcd")),
        ("6.2 HEADERS on stream 0", b"", frame(HEADERS, WHOLE, 0, GET_BLOCK)),
        ("6.2 padding longer than the head", b"", frame(HEADERS, WHOLE | PADDED, 1, b"\xff" + GET_BLOCK)),
        ("6.2 another frame inside a head", b"", frame(HEADERS, 0, 1, GET_BLOCK) + frame(PING, 0, 0, b"12345678")),
        ("6.4 RST_STREAM on stream 0", b"", frame(RST_STREAM, 0, 0, zero)),
        ("6.4 RST_STREAM of 3 bytes", opened, frame(RST_STREAM, 0, 1, b"\0\0\0")),
        ("6.5 SETTINGS with ACK and content", b"", frame(SETTINGS, 1, 0, b"\0\3\0\0\0\1")),
        ("6.5 SETTINGS on a stream", b"", frame(SETTINGS, 0, 1)),
        ("6.5 SETTINGS of 5 bytes", b"", frame(SETTINGS, 0, 0, b"\0\3\0\0\0")),
        ("6.5.2 ENABLE_PUSH of 2", b"", settings(push=2)),
        ("6.5.2 a window above 2^31-1", b"", settings(window=2**31)),
        ("6.5.2 a frame size below 16,384", b"", settings(frame=16_383)),
        ("6.5.2 a frame size above 2^24-1", b"", settings(frame=2**24)),
        ("6.7 PING on a stream", b"", frame(PING, 0, 1, b"12345678")),
        ("6.7 PING of 6 bytes", b"", frame(PING, 0, 0, b"123456")),
        ("6.8 GOAWAY on a stream", b"", frame(GOAWAY, 0, 1, b"\0" * 8)),
        ("6.9 WINDOW_UPDATE of 0 to the connection", b"", _window(0, 0)),
        ("6.9 WINDOW_UPDATE of 3 bytes", b"", frame(WINDOW_UPDATE, 0, 0, b"\0\0\1")),
        ("6.9.1 a connection window above 2^31-1", b"", _window(0, 2**31 - 1)),
        ("6.10 CONTINUATION without a head", b"", frame(CONTINUATION, END_HEADERS, 1, GET_BLOCK)),
        ("6.10 CONTINUATION after the head's end", opened or b"", frame(CONTINUATION, END_HEADERS, 1, GET_BLOCK)),
        ("6.10 CONTINUATION of another stream", b"", frame(HEADERS, 0, 1, GET_BLOCK) + frame(CONTINUATION, 4, 3, b"")),
        ("8.4 PUSH_PROMISE from who may not", b"", frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + GET_BLOCK)),
    ]  # fmt: skip
    if port != "tunnel":
        rows += [
            ("5.1.1 a stream of the server's numbers", b"", _get(2)),
        ]
    cut = [
        Case(name, port, name.partition(" ")[2], "connection error", CUT, _sends(port, data, opened=first), reaches=-1)
        for name, first, data in rows
    ]  # fmt: skip
    lives = [
        ("4.1 an unknown kind of frame", frame(0x42, 0xFF, 0, b"what is it")),
        ("6.5.2 an unknown setting", settings(unknown=1)),
        ("6.7 PING with an unknown flag", frame(PING, 0xFE, 0, b"12345678")),
        ("6.3 PRIORITY of an idle stream", frame(PRIORITY, 0, 101, b"\0\0\0\0\x10")),
        ("6.9 WINDOW_UPDATE to the connection", _window(0, 1000)),
    ]
    cut += [
        Case(name, port, name.partition(" ")[2], "ignored", LIVES, _sends(port, data))
        for name, data in lives
    ]
    assert zero
    assert sid
    return cut


def _streams(port: Port) -> list[Case]:
    """What ends one stream and not the connection (or both: a peer may treat it so, RFC 9113 section 5.4.2)."""
    rows = [
        ("6.3 PRIORITY of 4 bytes", frame(PRIORITY, 0, 1, b"\0\0\0\0")),
        ("6.9 WINDOW_UPDATE of 0 to a stream", _window(1, 0)),
        ("6.9.1 a stream window above 2^31-1", _window(1, 2**31 - 1)),
        ("8.1 a second head without an end", frame(HEADERS, END_HEADERS, 1, block(("x", "y")))),
        (
            "8.1 trailers with pseudo-header fields",
            frame(HEADERS, WHOLE, 1, block((":method", "GET"))),
        ),
    ]
    ended = [
        ("5.1 DATA after the request's end", frame(DATA, 0, 1, b"x")),
        ("5.1 HEADERS after the request's end", _get(1)),
    ]
    found = [
        Case(name, port, name.partition(" ")[2], "stream error", STREAM,
             _sends(port, _get(1) + data, stream=1), reaches=-1)
        for name, data in ended
    ]  # fmt: skip
    return found + [
        Case(name, port, name.partition(" ")[2], "stream error", STREAM,
             _sends(port, data, opened=_get(1, END_HEADERS, POST), stream=1), reaches=-1)
        for name, data in rows
    ]  # fmt: skip


def _heads(port: Port) -> list[Case]:
    """Request heads that are malformed (RFC 9113 sections 8.1 to 8.3): no origin may see them."""

    def changed(name: str, *values: str | bytes) -> list[Field]:
        kept = [field for field in REQUEST if field[0] != name]
        return [*((name, value) for value in values), *kept]

    rows: list[tuple[str, Sequence[Field], bytes]] = [
        ("8.2.1 a name in upper case", [*REQUEST, ("X-Up", "1")], b""),
        ("8.2.1 a name with a blank", [*REQUEST, ("x y", "1")], b""),
        ("8.2.1 a name with a colon", [*REQUEST, ("x:y", "1")], b""),
        ("8.2.1 a name of no bytes", [*REQUEST, ("", "1")], b""),
        ("8.2.1 CR and LF in a value", [*REQUEST, ("x", "a\r\nx-forged: 1")], b""),
        ("8.2.1 LF in a value", [*REQUEST, ("x", "a\nb")], b""),
        ("8.2.1 NUL in a value", [*REQUEST, ("x", "a\0b")], b""),
        ("8.2.2 connection", [*REQUEST, ("connection", "close")], b""),
        ("8.2.2 transfer-encoding", [*POST, ("transfer-encoding", "chunked")], b""),
        ("8.2.2 upgrade", [*REQUEST, ("upgrade", "h2c")], b""),
        ("8.2.2 te other than trailers", [*REQUEST, ("te", "trailers, deflate")], b""),
        ("8.3 a pseudo-header behind others", [("x", "1"), *REQUEST], b""),
        ("8.3 an unknown pseudo-header", [(":what", "1"), *REQUEST], b""),
        ("8.3 a response's pseudo-header", [(":status", "200"), *REQUEST], b""),
        ("8.3.1 no :method", changed(":method"), b""),
        ("8.3.1 no :scheme", changed(":scheme"), b""),
        ("8.3.1 no :path", changed(":path"), b""),
        ("8.3.1 an empty :path", changed(":path", ""), b""),
        ("8.3.1 two :method", changed(":method", "GET", "POST"), b""),
        ("8.3.1 two :path", changed(":path", "/", "/admin"), b""),
        ("8.3.1 two :authority", changed(":authority", HOST, "www.example.com"), b""),
        ("8.3.1 LF in :path", changed(":path", "/ HTTP/1.1\r\nx: y\r\n\r\nGET /admin"), b""),
        ("8.3.1 a blank in :method", changed(":method", "GET /admin"), b""),
        ("8.3.1 a blank in :path", changed(":path", "/a HTTP/1.1"), b""),
        ("8.3.1 DEL in :path", changed(":path", "/a\x7f"), b""),
        ("8.3.1 a port that is none", changed(":authority", f"{HOST}:443 x"), b""),
        ("8.3.1 a path in :authority", changed(":authority", f"{HOST}/admin"), b""),
        ("8.3.1 user and password in :authority", changed(":authority", f"user@{HOST}"), b""),
        ("8.3.1 no authority and no host", changed(":authority"), b""),
        ("8.1.1 a length that is no number", [*POST, ("content-length", "+5")], b"hello"),
        ("8.1.1 two lengths", [*POST, ("content-length", "5"), ("content-length", "6")], b"hello"),
        ("8.1.1 a body shorter than its length", [*POST, ("content-length", "9")], b"hello"),
        ("8.1.1 a body longer than its length", [*POST, ("content-length", "1")], b"hello"),
        ("7.1 Host and authority differ", [*REQUEST, ("host", "www.example.com")], b""),
        ("7.1 an authority that is not served", changed(":authority", "other.example.net"), b""),
        ("CONNECT to elsewhere", [(":method", "CONNECT"), (":authority", "10.0.0.1:22")], b""),
        ("TRACE", changed(":method", "TRACE"), b""),
    ]  # fmt: skip

    def case(name: str, fields: Sequence[Field], body: bytes) -> Case:
        data = frame(HEADERS, END_HEADERS | (0 if body else END_STREAM), 1, block(*fields))
        if body:
            data += frame(DATA, END_STREAM, 1, body)
        short = name.partition(" ")[2] if name[0].isdigit() else name
        # A body is only known to be too short or too long when the head is on its way.
        reaches = -1 if "its length" in name else 0
        return Case(
            name, port, short, "refused, no origin sees it", STREAM, _sends(port, data, stream=1), reaches
        )  # fmt: skip

    return [case(*row) for row in rows]


async def _not_http2(target: Target) -> str:
    wire = await target.h2_unopened("visitors")
    await wire.send(b"GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
    return await wire.outcome()


async def _coalesced(target: Target) -> str:
    """A name that is not on the certificate, by a connection made for another that is not served either."""
    wire = await target.h2("visitors", sni="elsewhere.example.net")
    await wire.send(_get(1))
    return await wire.expecting(1).outcome(1)


async def _slow_reader(target: Target) -> str:
    """Asks for 64 large bodies and lets none be sent."""
    wire = await target.h2("visitors", own=settings(window=0))
    ask = (*REQUEST[:3], (":path", "/large"))
    await wire.send(b"".join(_get(2 * i + 1, WHOLE, ask) for i in range(64)))
    await target.edge.until(lambda: len(target.pop.proxy.exchanges) == 64)
    await target.edge.until(lambda: target.connector.http2.streams == 65)
    status = await target.bystander()
    # Windows of one byte each: every byte would be a frame.
    await wire.send(b"".join(_window(2 * i + 1, 1) for i in range(64)))
    again = await target.bystander()
    return f"others are served meanwhile: {status}, {again}"


async def _window_tricks(target: Target) -> str:
    """The window of all streams up and down a thousand times while a body waits."""
    wire = await target.h2("visitors", own=settings(window=0))
    await wire.send(_get(1, WHOLE, (*REQUEST[:3], (":path", "/large"))))
    await wire.send((settings(window=2**31 - 1) + settings(window=0)) * 100)
    await wire.send(settings(window=65_535))
    await wire.send(_window(0, 2**30) + b"".join(_window(1, 100_000) for _ in range(60)))
    return await wire.expecting(1).outcome(1)


def _forges(names: Sequence[str]) -> Callable[[Target], Awaitable[str]]:
    async def play(target: Target) -> str:
        target.connector.requests.clear()
        wire = await target.h2("visitors")
        await wire.send(_get(1, fields=[*REQUEST, *((name.lower(), "forged") for name in names)]))
        status = await wire.expecting(1).outcome(1)
        return f"{status}, {forged_at_the_connector(target)}"

    return play


def cases() -> list[Case]:
    found: list[Case] = []
    ports: tuple[Port, ...] = ("visitors", "tunnel", "overlay")
    for port in ports:
        found += _floods(port) + _generic_frames(port)
    for port in (ports[0], ports[2]):
        found += _streams(port)
    found += _heads("visitors")
    below = "5.1.1 a stream below one that was open"
    found += [
        # It could be one that was reset meanwhile, so to ignore it is right too (RFC 9113 section 5.1).
        *(Case(below, port, below[6:], "cut, or ignored", f"{CUT}|{LIVES}",
               _sends(port, _get(3), opened=_get(5)), reaches=-1) for port in (ports[0], ports[2])),
        Case("3.4 no preface", "visitors", "an HTTP/1.1 request where HTTP/2 was agreed", "cut", CUT, _not_http2),
        Case("SNI and authority disagree", "visitors", "SNI of a name that is not served", "421", "421", _coalesced),
        *(Case(f"forged internal fields{how}, over HTTP/2", "visitors", what, "none gets through", NONE_FORGED, _forges(names),
               reaches=-1)
          for how, what, names in (("", "17 fields that only the edge may send", FORGED),
                                   (" with underscores", "cf_connecting_ip, x_forwarded-for ...", UNDERSCORED))),
        Case("slow reader", "visitors", "64 requests for 4 MB with a window of 0, then of 1", "others are served",
             "others are served meanwhile: 200, 200", _slow_reader, reaches=-1),
        Case("window tricks", "visitors", "the window of all streams 100 times up to 2^31-1 and down to 0",
             "served, or cut", r"200|cut: .*", _window_tricks, reaches=-1),
    ]  # fmt: skip
    return found


__all__ = ["cases", "flood_bytes"]

"""Connectors and PoPs that are not what they say, or say what they may not."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from typing import Any

from routing.lsa import Lsa, LsaExit, LsaLink, encode_lsas
from runtime.http2 import Http2Connection
from tests.attacks.case import Case
from tests.attacks.raw import DATA, END_HEADERS, HEADERS, Http2Wire, frame
from tests.attacks.target import HOST, Target
from tests.pops.conftest import Connector, Exchange, reply
from wire.headers import RESPONSE_HEADERS, RESPONSE_META, serialize_headers
from wire.overlay import EXIT, FAULT, ROUTE, SourceRoute, parse_fault
from wire.tunnel_rpc import Refused, Registration, RegistrationClient
from wire.tunnel_rpc_messages import ClientInfo

_TUNNEL = "11111111-2222-4333-8444-555555555555"
_LSAS = b"/.popnet/lsas"


# At the tunnel port


def _registers(**options: Any) -> Any:
    async def play(target: Target) -> str:
        connector = await target.edge.connector("A", wait=False, **options)
        answer = await connector.registered()
        await connector.closed.wait()
        return (
            f"refused: {answer.refusal.cause}, closed"
            if isinstance(answer, Refused)
            else "registered"
        )

    return play


def _another_tunnel(target: Target) -> Any:
    connector = Connector(_say(()))
    connector.tunnel = str(uuid.UUID(int=1))
    return connector


async def _unknown_tunnel(target: Target) -> str:
    connector = _another_tunnel(target)
    await connector.dial(target.address, target.edge.tunnels, target.pki / "ca.pem")
    answer = await connector.registered()
    await connector.closed.wait()
    return (
        f"refused: {answer.refusal.cause}, closed" if isinstance(answer, Refused) else "registered"
    )


def _control(data: bytes) -> Any:
    """Bytes on the control stream that are no RPC."""

    async def play(target: Target) -> str:
        wire = await target.h2("tunnel")
        await wire.send(frame(HEADERS, END_HEADERS, 1, b"\x88"))
        for at in range(0, len(data), 16_000):
            await wire.send(frame(DATA, 0, 1, data[at : at + 16_000]))
        return await _closed(wire)

    return play


async def _closed(wire: Http2Wire) -> str:
    try:
        while True:
            await wire.frame()
    except EOFError:
        return "closed"
    except TimeoutError:
        return "nothing: the connection lives"


async def _asks_and_does_not_read(target: Target) -> str:
    """100,000 calls whose answers it has no window for."""
    rpc = RegistrationClient()
    rpc.register(Registration("acc", b"x", bytes(16), 0, ClientInfo(bytes(16))))
    rpc.data_to_send()
    calls = bytearray()
    for _ in range(64):
        rpc.update_local_configuration(b"{}")
        calls += rpc.data_to_send()
    wire = await target.h2("tunnel", own=frame(4, 0, 0, b"\0\4\0\0\0\0"))
    await wire.send(frame(HEADERS, END_HEADERS, 1, b"\x88"))
    piece = b"".join(
        frame(DATA, 0, 1, bytes(calls[at : at + 16_000])) for at in range(0, len(calls), 16_000)
    )
    ended = asyncio.ensure_future(_closed(wire))
    for _ in range(2000):
        await wire.send(piece)
        if ended.done():
            break
    ended.cancel()
    return "closed" if ended.done() and not ended.cancelled() else "all of them were taken"


def _say(headers: Any, body: bytes = b"ok") -> Any:
    async def origin(request: Exchange) -> None:
        await request.whole()
        request.stream.send_headers(list(headers))
        request.stream.send_data(body, end=True)

    return origin


def _answers(headers: Any, *names: str) -> Any:
    """What a visitor gets when the connector answers with these fields."""

    async def play(target: Target) -> str:
        honest, target.connector.origin = target.connector.origin, _say(headers)
        try:
            visitor = await target.edge.visitor("A")
            message = await visitor.fetch("/")
            visitor.http2.close()
        finally:
            target.connector.origin = honest
        shown = [f"{name}={message.get(name)[:20]}" for name in names if message.get(name)]
        return f"{message.status} {' '.join(shown)}".strip()

    return play


def _raw(serialised: bytes, meta: bytes, *more: tuple[bytes, bytes]) -> Any:
    return [(b":status", b"200"), (RESPONSE_HEADERS, serialised), (RESPONSE_META, meta), *more]


_META = b'{"src":"origin"}'
_FORGED = [
    (b"popnet-path", b"forged"), (b"popnet-fault", b"forged"), (b"cf-ray", b"forged"), (b"server-timing", b"o;dur=1"),
    (b"cf-cloudflared-response-meta", b"forged"), (b"transfer-encoding", b"chunked"), (b"connection", b"x"),
]  # fmt: skip


def _tunnel_cases() -> list[Case]:
    words = (2**20).to_bytes(4, "little")
    rows = [
        ("a wrong secret", "the right tunnel, another secret", "refused: Unauthorized.*, closed",
         _registers(secret=b"x" * 32)),
        ("a wrong account", "the right secret, another account", "refused: Unauthorized.*, closed",
         _registers(account="other")),
        ("an unknown tunnel", "a tunnel that nobody declared", "refused: Unauthorized.*, closed", _unknown_tunnel),
        ("garbage for RPC", "text on the control stream", "closed", _control(b"GET / HTTP/1.1\r\n\r\n" * 100)),
        ("4,000 million segments", "a message that announces them", "closed", _control(b"\xff" * 64)),
        ("a message of 8 MB", "its size announced, and nothing else", "closed", _control(bytes(4) + words + bytes(64))),
        ("an endless message", "1 MB of a message that does not end", "closed", _control(bytes(4) + b"\xff\xff\xff\x7f" + bytes(10**6))),
        ("calls whose answers are not read", "up to 128,000 calls, a window of 0", "closed", _asks_and_does_not_read),
        ("an answer with forged fields", "popnet-*, cf-*, transfer-encoding from an origin", r"200",
         _answers(_raw(serialize_headers(_FORGED), _META), "popnet-fault", "cf-cloudflared-response-meta", "transfer-encoding", "connection")),
        ("an overlay fault of a connector", "popnet-fault beside the answer", r"200",
         _answers(_raw(b"", _META, (FAULT, b"no-tunnel;A;forged"), (EXIT, b"x")), "popnet-fault", "popnet-exit")),
        ("line breaks in serialised fields", "x: a CR LF y: b", r"502",
         _answers(_raw(serialize_headers([(b"x", b"a\r\ny: b")]), _META), "x", "y")),
        ("serialised fields that are none", "no base64", "502", _answers(_raw(b"%%%:%%%", _META))),
        ("meta that is no JSON", "half a document", "502", _answers(_raw(b"", b'{"src":'))),
        ("meta that is not UTF-8", "a byte of 0xff in a text", "502", _answers(_raw(b"", b'{"src":"\xff"}'))),
        ("meta that nests deep", "10,000 brackets", "502", _answers(_raw(b"", b'{"src":"origin","x":' + b"[" * 10_000))),
        ("a status that is none", ":status of 99999", "502", _answers([(b":status", b"99999"), *_raw(b"", _META)[1:]])),
        ("no meta", "an answer without it", "502|200", _answers(reply()[:1])),
    ]  # fmt: skip
    return [
        Case(name, "tunnel", sent, "refused" if "4" in expect or "closed" in expect else "one request fails, or is cleaned",
             expect, play, reaches=-1)
        for name, sent, expect, play in rows
    ]  # fmt: skip


# At the overlay port


async def _handshake(target: Target, context: ssl.SSLContext, name: str = "A") -> str:
    """TLS 1.3 tells a client late that its certificate was not taken: at its first read."""
    try:
        reader, writer = await asyncio.open_connection(
            target.address, target.edge.overlay, ssl=context, server_hostname=name
        )
        try:
            async with asyncio.timeout(3):
                got = await reader.read(9)
        finally:
            writer.transport.abort()
    except OSError:
        return "refused by TLS"
    return "let in" if got else "refused by TLS"


async def _no_certificate(target: Target) -> str:
    return await _handshake(target, target.trust("h2"))


async def _self_signed(target: Target) -> str:
    """Signed by somebody else, for the name of a neighbour."""
    import trustme

    context = target.trust("h2")
    trustme.CA().issue_cert("B").configure_cert(context)
    return await _handshake(target, context)


async def _plain_overlay(target: Target) -> str:
    from tests.attacks.raw import Wire

    wire = await Wire.dial(target.address, target.edge.overlay)
    await wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
    rest = await wire.rest()
    wire.close()
    return "refused by TLS" if not rest or rest[:1] == b"\x15" else "let in"


async def _ask(
    target: Target, name: str, method: bytes, path: bytes, fields: Any = (), body: bytes = b""
) -> Any:
    http2 = Http2Connection("client")
    await asyncio.get_running_loop().create_connection(
        lambda: http2,
        target.address,
        target.edge.overlay,
        ssl=target.as_pop(name),
        server_hostname="A",
    )
    exchange = Exchange()
    exchange.stream = http2.open(exchange)
    head = [
        (b":method", method),
        (b":scheme", b"https"),
        (b":authority", HOST.encode()),
        (b":path", path),
    ]
    exchange.stream.send_headers([*head, *fields], end=not body)
    if body:
        exchange.stream.send_data(body, end=True)
    message = await exchange.whole()
    http2.close()
    return message


def _says(name: str, lsas: list[Lsa] | bytes) -> Any:
    async def play(target: Target) -> str:
        body = lsas if isinstance(lsas, bytes) else encode_lsas(lsas)
        message = await _ask(target, name, b"POST", _LSAS, body=body)
        pop = target.pop
        known = [lsa.origin for lsa in pop.lsdb.selected(["A", "B", "C", "Z"], pop.clock())]
        ways = [route.pops for route in pop.routes(_TUNNEL)]
        own = pop.lsdb.own.seq
        return f"{message.status}, known: {' '.join(known)}, ways: {ways}, own number {'sane' if own < 10**6 else own}"

    return play


def _routed(name: str, route: bytes) -> Any:
    async def play(target: Target) -> str:
        message = await _ask(target, name, b"GET", b"/", [(ROUTE, route)] if route else [])
        fault = dict(message.headers).get(FAULT)
        return f"{message.status} {parse_fault(fault).code.value if fault else 'served'}"

    return play


def _overlay_cases() -> list[Case]:
    exits = (LsaExit(_TUNNEL, "stolen.0", 1),)
    honest = r"ways: \[\('A',\)\], own number sane"
    route = SourceRoute(("B", "A"), 1, 7, _TUNNEL, "c.0")
    rows = [
        ("no certificate", "TLS without one", "refused", "refused by TLS", _no_certificate),
        ("a certificate of another CA", "in a neighbour's name", "refused", "refused by TLS", _self_signed),
        ("no TLS", "HTTP/2 in plain text", "refused", "refused by TLS", _plain_overlay),
        ("link state of a stranger", "a good certificate of a PoP that is no neighbour", "403",
         f"403, known: A, {honest}", _says("D", [Lsa("D", 1, exits=exits)])),
        ("link state with a visitor's certificate", "signed by the CA, for another purpose", "403",
         f"403, known: A, {honest}", _says("visitor", [Lsa("B", 1, exits=exits)])),
        ("link state of an invented PoP", "B speaks for Z", "Z is not known",
         f"204, known: A, {honest}", _says("B", [Lsa("Z", 1, links=(LsaLink("A", 1),), exits=exits)])),
        ("a link that only one end knows", "B: I have a link to A, and the tunnel", "not used",
         f"204, known: A B, {honest}", _says("B", [Lsa("B", 5, links=(LsaLink("A", 1),), exits=exits)])),
        ("a former self out of reach", "B: A once said number 2^53-2", "not believed",
         f"204, known: A( B)?, {honest}", _says("B", [Lsa("A", 2**53 - 2)])),
        ("a number out of reach", "B: my number is 2^53-1", "not believed",
         f"204, known: A( B)?, {honest}", _says("B", [Lsa("B", 2**53 - 1)])),
        ("link state of 5 MB", "more than a message may have", "413 or 400", r"(413|400|0), .*", _says("B", b"[" + b" " * 5_000_000 + b"]")),
        ("link state that is none", "JSON of another shape", "400", "400, .*", _says("B", b'{"a":1}')),
        ("link state that nests deep", "100,000 brackets", "400", "400, .*", _says("B", b"[" * 100_000)),
        ("a route that is not for us", "position 0 of B>A", "fault", "502 route|200 route|5.. route",
         _routed("B", route.encode().replace(b"1;1;", b"1;0;"))),
        ("a route that comes from elsewhere", "D sends what B would", "fault", r"\d+ route", _routed("D", route.encode())),
        ("a route that loops", "B>A>B", "fault", r"\d+ loop", _routed("B", route.encode().replace(b"B>A", b"B>A>B"))),
        ("a request without a route", "as a visitor's", "fault", r"\d+ route", _routed("B", b"")),
        ("a route of 64 KB", "longer than any", "fault", r"\d+ route", _routed("B", b"1;1;7;" + b"A>" * 30_000)),
    ]  # fmt: skip
    return [
        Case(name, "overlay", sent, must, expect, play, reaches=-1) for name, sent, must, expect, play in rows
    ]  # fmt: skip


def cases() -> list[Case]:
    return [*_tunnel_cases(), *_overlay_cases()]

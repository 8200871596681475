"""Who takes a connection and does nothing with it: each wait has a bound, and each address a share."""

from __future__ import annotations

import asyncio

from tests.attacks.case import Case
from tests.attacks.http1 import told
from tests.attacks.http2 import GET_BLOCK, POST, block
from tests.attacks.raw import END_HEADERS, HEADERS, PATIENCE, Http2Wire, Wire, frame, settings
from tests.attacks.target import HOST, Target

_HEAD = f"POST / HTTP/1.1\r\nHost: {HOST}\r\n".encode()


async def _trickle(wire: Wire, target: Target, each: bytes) -> str:
    """A few bytes every now and then, as long as the PoP lets us."""

    async def drip() -> None:
        while True:
            await wire.send(each)
            await asyncio.sleep(0.02)

    dripping = asyncio.ensure_future(drip())
    try:
        return await told(wire, target)
    finally:
        dripping.cancel()


async def _ended(wire: Http2Wire) -> str:
    """How the PoP ends a connection that goes on not saying anything, PING's answer included."""
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                await wire.frame()
    except (EOFError, TimeoutError) as error:
        return "closed" if isinstance(error, EOFError) else "nothing: the connection lives"


async def _head(target: Target) -> str:
    wire = await target.plain()
    await wire.send(_HEAD)
    return await _trickle(wire, target, b"X: y\r\n")


async def _nothing(target: Target) -> str:
    return await told(await target.plain(), target)


async def _nothing_over_tls(target: Target) -> str:
    return await told(await target.https(), target)


async def _body(target: Target) -> str:
    wire = await target.plain()
    await wire.send(_HEAD + b"Content-Length: 1000000\r\nConnection: close\r\n\r\n")
    return await _trickle(wire, target, b"x")


async def _chunks(target: Target) -> str:
    wire = await target.plain()
    await wire.send(_HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
    return await _trickle(wire, target, b"1\r\nx\r\n")


async def _h2_body(target: Target) -> str:
    wire = await target.h2("visitors")
    await wire.send(frame(HEADERS, END_HEADERS, 1, block(*POST)))

    async def drip() -> None:
        while True:
            await wire.send(frame(0, 0, 1, b"x"))
            await asyncio.sleep(0.02)

    dripping = asyncio.ensure_future(drip())
    try:
        return await wire.expecting(1).outcome(1)
    finally:
        dripping.cancel()


async def _handshake(target: Target) -> str:
    """TCP to a TLS door, and then silence."""
    wires = [
        await Wire.dial(target.address, port)
        for port in (target.edge.https, target.edge.tunnels, target.edge.overlay)
        for _ in range(5)
    ]
    rests = [await wire.rest() for wire in wires]
    for wire in wires:
        wire.close()
    return "closed" if all(rest is not None for rest in rests) else "open"


async def _no_settings(target: Target) -> str:
    return await _ended(await target.h2_unopened("visitors"))


async def _idle(target: Target) -> str:
    return await _ended(await target.h2("visitors"))


async def _open_head(target: Target) -> str:
    wire = await target.h2("visitors")
    await wire.send(frame(HEADERS, 0, 1, GET_BLOCK))
    return await _ended(wire)


async def _silent_overlay(target: Target) -> str:
    return await _ended(await target.h2_unopened("overlay"))


async def _silent_tunnel(target: Target) -> str:
    return await _ended(await target.h2_unopened("tunnel"))


async def _unregistered(target: Target) -> str:
    wire = await target.h2("tunnel", own=settings())
    return await _ended(wire)


async def _many(target: Target) -> str:
    """More connections than one address may have (the bystander's is one of them)."""
    wires = [await target.plain() for _ in range(60)]
    for wire in wires:
        await wire.send(b"GET / HTTP/1.1\r\n")
    await target.edge.until(lambda: target.pop.visitors.snapshot().refused > 0)
    open_now = target.pop.visitors.snapshot().connections
    return f"{open_now} of 61 are kept, the bystander got {await target.bystander()}"


def cases() -> list[Case]:
    def slow(name: str, port: str, sent: str, must: str, expect: str, play: object) -> Case:
        return Case(name, port, sent, must, expect, play, reaches=-1, impatient=True)  # type: ignore[arg-type]

    return [
        slow("slow head", "visitors", "a field every 20 ms, no end", "408 after request_head", "408", _head),
        slow("no head", "visitors", "TCP and silence", "closed after request_head", "closed|408", _nothing),
        slow("no head over TLS", "visitors", "TLS and silence", "closed", "closed|408", _nothing_over_tls),
        slow("slow body", "visitors", "a byte of a 1 MB body every 20 ms", "408 after request_body", "408", _body),
        slow("slow chunks", "visitors", "a chunk of a byte every 20 ms", "408 after request_body", "408", _chunks),
        slow("slow DATA", "visitors", "a DATA frame of a byte every 20 ms", "408 after request_body", "408|reset.*", _h2_body),
        slow("idle TLS handshakes", "visitors", "15 TCP connections to TLS doors", "closed after handshake", "closed", _handshake),
        slow("no SETTINGS", "visitors", "TLS with h2, then silence", "closed", "closed", _no_settings),
        slow("idle h2", "visitors", "SETTINGS, then silence, PING not answered", "closed after keep_alive", "closed", _idle),
        slow("a head that never ends", "visitors", "HEADERS without END_HEADERS, then silence", "closed", "closed", _open_head),
        slow("no SETTINGS", "overlay", "TLS with a PoP's certificate, then silence", "closed", "closed", _silent_overlay),
        slow("no SETTINGS", "tunnel", "TLS, then silence", "closed after register", "closed", _silent_tunnel),
        slow("never registers", "tunnel", "SETTINGS, then silence", "closed after register", "closed", _unregistered),
        Case("more connections than one address may have", "visitors", "60 connections of one address",
             "connections_per_visitor are kept", "40 of 61 are kept, the bystander got 200", _many, reaches=-1),
    ]  # fmt: skip

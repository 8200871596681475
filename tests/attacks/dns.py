"""DNS: what could make a PoP a weapon against others, and what could stop it from answering."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

from tests.attacks.case import Case
from tests.attacks.raw import Wire
from tests.attacks.target import HOST, Target
from wire.dns import Question, make_query

_RCODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")


def query(name: str, kind: str, number: int = 7, *, payload: int = 1232) -> bytes:
    return make_query(Question(name, kind), number, payload=payload)


def plain_query(name: str, kind: int) -> bytes:
    """Without EDNS."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", 7, 0, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def said(answer: bytes | None) -> str:
    if answer is None:
        return "silence"
    truncated = " truncated" if answer[2] & 2 else ""
    return f"{_RCODES[answer[3] & 15]}{truncated}, {struct.unpack('!H', answer[6:8])[0]} records"


def _asks(data: bytes, *, expect_silence: bool = False) -> Any:
    async def play(target: Target) -> str:
        async with target.udp() as ask:
            answer = await ask(data, patience=0.15 if expect_silence else 2.0)
            if answer is not None and len(answer) > 512:
                return f"an answer of {len(answer)} bytes"
            return said(answer)

    return play


async def _flood(target: Target) -> str:
    """As many queries as one address could send in someone else's name."""
    asked = query(HOST, "A")
    answers: list[bytes] = []
    async with target.udp() as ask:
        for _ in range(20):
            for _ in range(50):
                ask.send(asked)
            await asyncio.sleep(0)
        while (answer := await ask.heard(0.2)) is not None:
            answers.append(answer)
    full = sum(not answer[2] & 2 for answer in answers)
    sent, got = 1000 * len(asked), sum(map(len, answers))
    longest = max(len(answer) for answer in answers if answer[2] & 2) if full < len(answers) else 0
    small = (
        "no truncated one longer than its query"
        if 0 < longest <= len(asked)
        else f"one of {longest}"
    )
    bounded = "within the limit" if full <= 75 else f"{full}"
    return f"full answers {bounded}, {small}, bytes back {'below' if got < sent else 'above'} bytes sent"


async def _tcp(target: Target, data: bytes) -> str:
    wire = await Wire.dial(target.address, target.edge.dns)
    await wire.send(data)
    rest = await wire.rest()
    wire.close()
    return f"closed after {len(rest)} bytes"


async def _tcp_garbage(target: Target) -> str:
    return await _tcp(target, b"\0\x05hello" * 100)


async def _tcp_many(target: Target) -> str:
    """Other than UDP's, TCP's source cannot be forged: truncated answers lead here, also in a flood."""
    wires = [await Wire.dial(target.address, target.edge.dns) for _ in range(100)]
    asked = query(HOST, "A")
    await wires[-1].send(len(asked).to_bytes(2, "big") + asked)
    async with asyncio.timeout(3):
        size = int.from_bytes(await wires[-1].reader.readexactly(2), "big")
        answer = await wires[-1].reader.readexactly(size)
    for wire in wires:
        wire.close()
    return said(answer)


def cases() -> list[Case]:
    header = struct.pack("!HHHHHH", 7, 0, 1, 0, 0, 0)
    rows: list[tuple[str, str, str, str, bytes]] = [
        ("ANY", "a query for ANY", "one record that says no (RFC 8482)", "NOERROR, 1 records", query(HOST, "ANY")),
        ("AXFR", "a query for the whole zone", "REFUSED", "REFUSED, 0 records", plain_query("example.com", 252)),
        ("an answer", "a message that is a response", "silence", "silence", b"\0\7\x80\0\0\1\0\0\0\0\0\0" + query(HOST, "A")[12:]),
        ("half a header", "5 bytes", "silence", "silence", b"hello"),
        ("no question", "a header alone", "FORMERR", "FORMERR, 0 records", header[:4] + bytes(8)),
        ("two questions", "QDCOUNT 2", "FORMERR", "FORMERR, 0 records", header[:4] + b"\0\2" + bytes(6) + query(HOST, "A")[12:]),
        ("a name that points at itself", "compression pointer to itself", "FORMERR", "FORMERR, 0 records",
         header + b"\xc0\x0c\0\1\0\1"),
        ("a chain of pointers", "500 pointers, each to the one before", "FORMERR", "FORMERR, 0 records",
         header + b"\xc0\x0e" + b"".join(struct.pack("!H", 0xC000 | (12 + 2 * i)) for i in range(500))),
        ("an operation that is none", "OPCODE 5 (UPDATE)", "NOTIMP", "NOTIMP, 0 records", b"\0\7\x28\0" + query(HOST, "A")[4:]),
        ("class CHAOS", "version.bind", "REFUSED", "REFUSED, 0 records", header + b"\7version\4bind\0\0\x10\0\3"),
        ("a payload size of 65535", "EDNS that allows 65,535 bytes", "at most 1232 bytes", "NOERROR, 1 records",
         query(HOST, "A", payload=65_535)),
        ("a payload size of 0", "EDNS that allows no bytes", "at most 512 bytes", "NOERROR, 1 records",
         query(HOST, "A", payload=0)),
    ]  # fmt: skip
    udp = [
        Case(name, "dns", sent, must, expect, _asks(data, expect_silence=expect == "silence"))
        for name, sent, must, expect, data in rows
    ]
    flood = "full answers within the limit, no truncated one longer than its query, bytes back below bytes sent"
    return [
        *udp,
        Case("UDP flood of one address", "dns", "1000 queries at once",
             "dns_burst answers, then truncated ones, then silence", flood, _flood),
        Case("TCP garbage", "dns", "messages of 5 bytes", "closed", "closed after 0 bytes", _tcp_garbage),
        Case("idle TCP connections", "dns", "99 idle connections, then a query", "answered", "NOERROR, 1 records", _tcp_many),
    ]  # fmt: skip

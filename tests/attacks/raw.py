"""An attacker's tools: sockets that send any bytes, and HTTP/2 frames without an engine that would object."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from dataclasses import dataclass
from typing import Any

import hpack

(
    DATA,
    HEADERS,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    PUSH_PROMISE,
    PING,
    GOAWAY,
    WINDOW_UPDATE,
    CONTINUATION,
) = range(10)
END_STREAM, END_HEADERS, PADDED, PRIORITISED, ACK = 0x1, 0x4, 0x8, 0x20, 0x1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CODES = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
]
PATIENCE = 5.0


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack("!BBL", kind, flags, stream) + payload


def settings(**values: int) -> bytes:
    numbers = {
        "table": 1,
        "push": 2,
        "streams": 3,
        "window": 4,
        "frame": 5,
        "list": 6,
        "unknown": 0xFEED,
    }
    return frame(
        SETTINGS, 0, 0, b"".join(struct.pack("!HL", numbers[k], v) for k, v in values.items())
    )


def literal(name: bytes, value: bytes) -> bytes:
    """A field that enters no table and is checked by nobody on its way (RFC 7541 section 6.2.2)."""

    def text(raw: bytes) -> bytes:
        if len(raw) < 127:
            return bytes([len(raw)]) + raw
        rest, out = len(raw) - 127, b"\x7f"
        while rest >= 128:
            out += bytes([rest % 128 + 128])
            rest //= 128
        return out + bytes([rest]) + raw

    return b"\0" + text(name) + text(value)


def block(*fields: tuple[str | bytes, str | bytes]) -> bytes:
    def raw(text: str | bytes) -> bytes:
        return text.encode("latin-1") if isinstance(text, str) else text

    return b"".join(literal(raw(name), raw(value)) for name, value in fields)


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes


class Wire:
    """One TCP or TLS connection of bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def dial(
        cls, address: str, port: int, tls: ssl.SSLContext | None = None, name: str | None = None
    ) -> Wire:
        reader, writer = await asyncio.open_connection(
            address, port, ssl=tls, server_hostname=name if tls is not None else None
        )
        return cls(reader, writer)

    async def send(self, data: bytes) -> None:
        """As much as the other end lets itself be sent; a connection that it has cut takes nothing more."""
        with contextlib.suppress(OSError, TimeoutError):
            for at in range(0, len(data), 65536):
                self.writer.write(data[at : at + 65536])
                async with asyncio.timeout(1.0):
                    await self.writer.drain()

    async def rest(self) -> bytes:
        """All that comes until the other end closes."""
        found = b""
        with contextlib.suppress(OSError):
            async with asyncio.timeout(PATIENCE):
                while piece := await self.reader.read(65536):
                    found += piece
        return found

    def close(self) -> None:
        self.writer.transport.abort()


class Http2Wire(Wire):
    """One HTTP/2 connection, frame by frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self._decoder = hpack.Decoder()
        self.seen: list[Frame] = []
        self.statuses: dict[int, str] = {}
        self.bodies: dict[int, bytes] = {}
        self.pseudo: list[Any] = []

    async def open(self, *, client: bool = True, own: bytes | None = None) -> None:
        """Preface and SETTINGS both ways."""
        await self.send((PREFACE if client else b"") + (settings() if own is None else own))
        if not client:
            await self.reader.readexactly(len(PREFACE))
        while (await self.frame()).kind != SETTINGS:
            pass
        await self.send(frame(SETTINGS, ACK, 0))

    async def frame(self) -> Frame:
        """The next one. Raises EOFError when the connection is over."""
        try:
            async with asyncio.timeout(PATIENCE):
                head = await self.reader.readexactly(9)
                payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
        except (OSError, asyncio.IncompleteReadError) as error:
            raise EOFError from error
        kind, flags, stream = struct.unpack("!BBL", head[3:])
        got = Frame(kind, flags, stream & 0x7FFFFFFF, payload)
        self.seen.append(got)
        if kind == HEADERS:
            fields = dict(self._decoder.decode(payload))
            self.statuses.setdefault(stream, str(fields.get(":status", "?")))
        elif kind == DATA:
            self.bodies[stream] = self.bodies.get(stream, b"") + payload
        return got

    async def outcome(self, stream: int = 0) -> str:
        """What became of the connection, or of one stream: `cut`, `reset`, an answer, or `nothing`.

        A PING marks the end of what was sent: when its answer comes first, nothing came of it.
        """
        await self.send(frame(PING, 0, 0, b"attacker"))
        ponged = False
        try:
            while True:
                got = await self.frame()
                if got.kind == GOAWAY:
                    code = struct.unpack("!L", got.payload[4:8])[0]
                    if code or not stream:
                        return f"cut: GOAWAY {CODES[code]}"
                elif got.kind == RST_STREAM and got.stream == stream:
                    # After an answer it only says that the rest of the request is not wanted.
                    if stream in self.statuses:
                        return self.statuses[stream]
                    return f"reset: {CODES[struct.unpack('!L', got.payload)[0]]}"
                elif stream in self.statuses and got.stream == stream and got.flags & END_STREAM:
                    return self.statuses[stream]
                elif got.kind == PING and got.flags & ACK and got.payload == b"attacker":
                    ponged = True
                    if not stream or stream not in self._expected:
                        return "nothing: the connection lives"
        except EOFError:
            return "cut: closed" if not ponged else "closed after an answer to PING"
        except hpack.HPACKError as error:
            return f"unreadable answer: {error}"

    _expected: frozenset[int] = frozenset()

    def expecting(self, *streams: int) -> Http2Wire:
        """Of these streams an answer must come: PING's does not end the wait."""
        self._expected = frozenset(streams)
        return self

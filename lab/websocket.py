"""The server half of RFC 6455, frames only, without I/O: enough to echo, to answer pings and to close."""

from __future__ import annotations

from collections.abc import Iterator

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

# Longer frames are split by every sane peer; one that does not is cut off rather than collected.
_MOST_PAYLOAD = 16 * 1024 * 1024


class FrameError(ValueError):
    """Bytes that are no frame of a client."""


class Frames:
    """Collects bytes, yields (first byte's opcode and FIN, payload) of each whole frame.

    The opcode keeps its FIN bit out: fragments of a message are frames of their own here, and are echoed as such.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.fin = True

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        self._buffer += data
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        if not second & 0x80:
            raise FrameError("a client's frames are masked (RFC 6455 section 5.1)")
        length, offset = second & 0x7F, 2
        if length == 126:
            length, offset = int.from_bytes(buffer[2:4], "big"), 4
        elif length == 127:
            length, offset = int.from_bytes(buffer[2:10], "big"), 10
        if len(buffer) < offset:
            return None
        if length > _MOST_PAYLOAD:
            raise FrameError(f"a frame of {length} bytes")
        end = offset + 4 + length
        if len(buffer) < end:
            return None
        mask = bytes(buffer[offset : offset + 4])
        masked = bytes(buffer[offset + 4 : end])
        del buffer[:end]
        self.fin = bool(first & 0x80)
        return first & 0x0F, unmask(masked, mask)


def unmask(data: bytes, mask: bytes) -> bytes:
    """The exclusive or with the repeated mask, as one operation on two big integers."""
    size = len(data)
    repeated = (mask * (size // 4 + 1))[:size]
    mixed = int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")
    return mixed.to_bytes(size, "big")


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    head = bytearray([opcode | (0x80 if fin else 0)])
    if len(payload) < 126:
        head.append(len(payload))
    elif len(payload) < 65536:
        head.append(126)
        head += len(payload).to_bytes(2, "big")
    else:
        head.append(127)
        head += len(payload).to_bytes(8, "big")
    return bytes(head) + payload


def answer(opcode: int, payload: bytes, *, fin: bool = True) -> bytes | None:
    """What an echo server says to a frame."""
    if opcode == PING:
        return frame(PONG, payload)
    if opcode == PONG:
        return None
    return frame(opcode, payload, fin=fin)

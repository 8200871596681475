"""A small Cap'n Proto: enough to read the messages of a tunnel's control stream.

Framing, segments, structs, text, data, lists and far pointers are read as in the encoding
specification (capnproto.org/encoding.html); `wire/capnp_write.py` is the other half. Generated
classes, packing, canonical form, groups and schema evolution of list elements are left out.

Everything read comes from a peer. Each access is checked against its segment, and a message has a
budget of words it may make a reader visit: pointers can overlap, so a small message may otherwise
describe an endless one. Offsets and sizes are in words of 8 bytes unless they say bytes.
"""

from __future__ import annotations

from struct import Struct as Packer
from typing import Final

from wire.errors import RpcError

WORD = 8
MAX_SEGMENTS = 64
# The largest honest message is the local configuration that a connector reports.
MAX_MESSAGE_WORDS = 128 * 1024
MAX_DEPTH = 32

_u16, _u32 = Packer("<H"), Packer("<I")
_u64, _i64 = Packer("<Q"), Packer("<q")
_pointer_halves = Packer("<iI")

STRUCT, LIST, FAR, OTHER = range(4)
ELEMENT_BYTE: Final = 2
ELEMENT_POINTER: Final = 6
ELEMENT_COMPOSITE: Final = 7


class Framer:
    """Cuts a byte stream into messages (specification, "Serialization over a stream")."""

    def __init__(self, *, max_words: int = MAX_MESSAGE_WORDS) -> None:
        self._buffer = bytearray()
        self._max_words = max_words

    def feed(self, data: bytes) -> list[Message]:
        """Messages completed by `data`. Raises `RpcError`, after which the stream is unusable."""
        self._buffer += data
        messages = []
        while (message := self._next()) is not None:
            messages.append(message)
        return messages

    @property
    def buffered(self) -> int:
        """Bytes of a message that is not complete yet."""
        return len(self._buffer)

    def _next(self) -> Message | None:
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        count = _u32.unpack_from(buffer, 0)[0] + 1
        if count > MAX_SEGMENTS:
            raise RpcError(f"a message of {count} segments")
        table = (4 + 4 * count + 7) & ~7
        if len(buffer) < 4 + 4 * count:
            return None
        sizes = [_u32.unpack_from(buffer, 4 + 4 * i)[0] for i in range(count)]
        if sum(sizes) > self._max_words:
            raise RpcError(f"a message of {sum(sizes)} words, at most {self._max_words}")
        total = table + WORD * sum(sizes)
        if len(buffer) < total:
            return None
        segments = []
        at = table
        for size in sizes:
            segments.append(bytes(buffer[at : at + WORD * size]))
            at += WORD * size
        del buffer[:total]
        return Message(segments)


class Message:
    """One received message; `root()` is where reading starts."""

    def __init__(self, segments: list[bytes]) -> None:
        self.segments = segments
        # Twice its size: every word once, and room for what is honestly read twice.
        self._budget = 2 * sum(len(segment) for segment in segments) // WORD + 64

    def root(self) -> StructReader:
        if not self.segments[0]:
            raise RpcError("an empty message")
        return self.struct_at(0, 0, 0)

    def spend(self, words: int) -> None:
        self._budget -= words
        if self._budget < 0:
            raise RpcError("a message whose pointers overlap")

    def _follow(self, segment: int, at: int) -> tuple[int, int, int, int]:
        """Resolve far pointers: (segment, position of the content's origin, low half, high half).

        The content's origin is the word that the pointer's offset counts from.
        """
        low, high = self._word(segment, at)
        if low & 3 != FAR:
            return segment, at + 1, low, high
        self.spend(1)
        pad_segment, pad = high, (low & 0xFFFFFFFF) >> 3
        if not low & 4:
            low, high = self._word(pad_segment, pad)
            if low & 3 == FAR:
                raise RpcError("a far pointer to a far pointer")
            return pad_segment, pad + 1, low, high
        # A double-far pad: a far pointer to the content, then a tag that describes it.
        far_low, far_segment = self._word(pad_segment, pad)
        if far_low & 7 != FAR:
            raise RpcError("a landing pad without its far pointer")
        low, high = self._word(pad_segment, pad + 1)
        if low & 3 not in (STRUCT, LIST) or low >> 2:
            raise RpcError("a landing pad without its tag")
        return far_segment, (far_low & 0xFFFFFFFF) >> 3, low, high

    def pointer(self, segment: int, at: int) -> tuple[int, int]:
        """Both halves of a pointer, a far one followed."""
        return self._follow(segment, at)[2:]

    def _word(self, segment: int, at: int) -> tuple[int, int]:
        if segment >= len(self.segments):
            raise RpcError("a pointer to a segment that is not there")
        content = self.segments[segment]
        if at < 0 or WORD * (at + 1) > len(content):
            raise RpcError("a pointer outside its segment")
        low, high = _pointer_halves.unpack_from(content, WORD * at)
        return low, high

    def _check(self, segment: int, at: int, words: int) -> None:
        if segment >= len(self.segments):
            raise RpcError("a pointer to a segment that is not there")
        if at < 0 or WORD * (at + words) > len(self.segments[segment]):
            raise RpcError("a pointer outside its segment")
        self.spend(words)

    def struct_at(self, segment: int, at: int, depth: int) -> StructReader:
        """The struct that the pointer word at `at` leads to; the null pointer is the empty struct."""
        if depth > MAX_DEPTH:
            raise RpcError("structs nested too deep")
        segment, origin, low, high = self._follow(segment, at)
        if low == 0 and high == 0:
            return StructReader(self, segment, 0, 0, 0, depth)
        if low & 3 != STRUCT:
            raise RpcError("something else where a struct belongs")
        data_words, pointers = high & 0xFFFF, high >> 16
        start = origin + (low >> 2)
        # One word more, so that structs of no size cost something too.
        self.spend(1)
        self._check(segment, start, data_words + pointers)
        return StructReader(self, segment, start, data_words, pointers, depth)

    def bytes_at(self, segment: int, at: int) -> bytes | None:
        """The byte list that the pointer at `at` leads to; None when it is null."""
        segment, origin, low, high = self._follow(segment, at)
        if low == 0 and high == 0:
            return None
        if low & 3 != LIST or high & 7 != ELEMENT_BYTE:
            raise RpcError("something else where bytes belong")
        start, size = origin + (low >> 2), high >> 3
        self._check(segment, start, (size + 7) // WORD)
        return self.segments[segment][WORD * start : WORD * start + size]

    def pointers_at(self, segment: int, at: int) -> tuple[int, int, int]:
        """A list of pointers: (segment, first word, count)."""
        segment, origin, low, high = self._follow(segment, at)
        if low == 0 and high == 0:
            return segment, 0, 0
        if low & 3 != LIST or high & 7 != ELEMENT_POINTER:
            raise RpcError("something else where a list of pointers belongs")
        start, count = origin + (low >> 2), high >> 3
        self._check(segment, start, count)
        return segment, start, count

    def structs_at(self, segment: int, at: int, depth: int) -> list[StructReader]:
        """A list of structs, as every known writer makes it: composite, with a tag word in front."""
        if depth > MAX_DEPTH:
            raise RpcError("structs nested too deep")
        segment, origin, low, high = self._follow(segment, at)
        if low == 0 and high == 0:
            return []
        if low & 3 != LIST or high & 7 != ELEMENT_COMPOSITE:
            raise RpcError("something else where a list of structs belongs")
        start, words = origin + (low >> 2), high >> 3
        self._check(segment, start, words + 1)
        tag_low, tag_high = self._word(segment, start)
        count = (tag_low & 0xFFFFFFFF) >> 2
        data_words, pointers = tag_high & 0xFFFF, tag_high >> 16
        if tag_low & 3 != STRUCT or count * (data_words + pointers) > words:
            raise RpcError("a list of structs that is larger than it says")
        self.spend(count)
        step = data_words + pointers
        return [
            StructReader(self, segment, start + 1 + i * step, data_words, pointers, depth)
            for i in range(count)
        ]


class StructReader:
    """A struct in a received message. Fields beyond its size have their default, zero or null."""

    __slots__ = ("_data", "_depth", "_message", "_pointers", "_segment", "_start")

    def __init__(
        self, message: Message, segment: int, start: int, data: int, pointers: int, depth: int
    ) -> None:
        self._message = message
        self._segment = segment
        self._start = start
        self._data = data
        self._pointers = pointers
        self._depth = depth

    def _number(self, packer: Packer, byte: int) -> int:
        if byte + packer.size > WORD * self._data:
            return 0
        content = self._message.segments[self._segment]
        value: int = packer.unpack_from(content, WORD * self._start + byte)[0]
        return value

    def u8(self, byte: int) -> int:
        if byte >= WORD * self._data:
            return 0
        return self._message.segments[self._segment][WORD * self._start + byte]

    def u16(self, byte: int) -> int:
        return self._number(_u16, byte)

    def u32(self, byte: int) -> int:
        return self._number(_u32, byte)

    def u64(self, byte: int) -> int:
        return self._number(_u64, byte)

    def i64(self, byte: int) -> int:
        return self._number(_i64, byte)

    def bit(self, bit: int) -> bool:
        return bool(self.u8(bit // 8) >> (bit % 8) & 1)

    def _pointer(self, index: int) -> int | None:
        if index >= self._pointers:
            return None
        return self._start + self._data + index

    def struct(self, index: int) -> StructReader:
        at = self._pointer(index)
        if at is None:
            return StructReader(self._message, self._segment, 0, 0, 0, self._depth + 1)
        return self._message.struct_at(self._segment, at, self._depth + 1)

    def structs(self, index: int) -> list[StructReader]:
        at = self._pointer(index)
        if at is None:
            return []
        return self._message.structs_at(self._segment, at, self._depth + 1)

    def data(self, index: int) -> bytes:
        at = self._pointer(index)
        if at is None:
            return b""
        return self._message.bytes_at(self._segment, at) or b""

    def text(self, index: int) -> str:
        at = self._pointer(index)
        return "" if at is None else self._text_at(self._segment, at)

    def texts(self, index: int) -> list[str]:
        at = self._pointer(index)
        if at is None:
            return []
        segment, start, count = self._message.pointers_at(self._segment, at)
        return [self._text_at(segment, start + i) for i in range(count)]

    def _text_at(self, segment: int, at: int) -> str:
        raw = self._message.bytes_at(segment, at)
        if raw is None:
            return ""
        if raw[-1:] != b"\0":
            raise RpcError("a text without its final zero")
        try:
            return raw[:-1].decode()
        except UnicodeDecodeError:
            raise RpcError("a text that is not UTF-8") from None

    def is_capability(self, index: int) -> bool:
        """Whether a capability is there, and not a struct, a list or null."""
        at = self._pointer(index)
        return at is not None and self._message.pointer(self._segment, at)[0] & 3 == OTHER

    def capability(self, index: int) -> int:
        """Index in the message's table of capabilities."""
        at = self._pointer(index)
        low, high = (0, 0) if at is None else self._message.pointer(self._segment, at)
        if low != OTHER:
            raise RpcError("something else where a capability belongs")
        return high

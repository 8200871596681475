"""The writing half of `wire/capnp.py`: builds one message in one segment, so it needs no far pointers.

Space is allocated in the order of the calls and never given back, so set each pointer once.
Offsets are in bytes for data, in pointers for pointers; sizes in words.
"""

from __future__ import annotations

from struct import Struct as Packer

from wire.capnp import ELEMENT_BYTE, ELEMENT_COMPOSITE, ELEMENT_POINTER, LIST, OTHER, STRUCT, WORD

_u16, _u32, _u64, _i64 = Packer("<H"), Packer("<I"), Packer("<Q"), Packer("<q")
_pointer_halves = Packer("<iI")


class Builder:
    """Writes one message of one segment."""

    def __init__(self, data: int, pointers: int) -> None:
        self.content = bytearray(WORD)
        self.root = self._struct_for(0, data, pointers)

    def to_bytes(self) -> bytes:
        """The message with its frame."""
        return _u32.pack(0) + _u32.pack(len(self.content) // WORD) + bytes(self.content)

    def _allocate(self, words: int) -> int:
        at = len(self.content) // WORD
        self.content += bytes(WORD * words)
        return at

    def _set_pointer(self, at: int, kind: int, target: int, high: int) -> None:
        _pointer_halves.pack_into(self.content, WORD * at, (target - at - 1) << 2 | kind, high)

    def _struct_for(self, pointer: int, data: int, pointers: int) -> StructBuilder:
        if data + pointers == 0:
            # An empty struct points at itself, for a zero word would be null.
            _pointer_halves.pack_into(self.content, WORD * pointer, -4, 0)
            return StructBuilder(self, pointer, 0, 0)
        start = self._allocate(data + pointers)
        self._set_pointer(pointer, STRUCT, start, pointers << 16 | data)
        return StructBuilder(self, start, data, pointers)

    def _bytes_for(self, pointer: int, raw: bytes) -> None:
        start = self._allocate((len(raw) + 7) // WORD)
        self.content[WORD * start : WORD * start + len(raw)] = raw
        self._set_pointer(pointer, LIST, start, len(raw) << 3 | ELEMENT_BYTE)


class StructBuilder:
    """A struct in a message being written; offsets as in `StructReader`."""

    __slots__ = ("_builder", "_data", "_pointers", "_start")

    def __init__(self, builder: Builder, start: int, data: int, pointers: int) -> None:
        self._builder = builder
        self._start = start
        self._data = data
        self._pointers = pointers

    def _set(self, packer: Packer, byte: int, value: int) -> None:
        assert byte + packer.size <= WORD * self._data
        packer.pack_into(self._builder.content, WORD * self._start + byte, value)

    def set_u8(self, byte: int, value: int) -> None:
        assert byte < WORD * self._data
        self._builder.content[WORD * self._start + byte] = value

    def set_u16(self, byte: int, value: int) -> None:
        self._set(_u16, byte, value)

    def set_u32(self, byte: int, value: int) -> None:
        self._set(_u32, byte, value)

    def set_u64(self, byte: int, value: int) -> None:
        self._set(_u64, byte, value)

    def set_i64(self, byte: int, value: int) -> None:
        self._set(_i64, byte, value)

    def set_bit(self, bit: int, value: bool) -> None:
        byte = WORD * self._start + bit // 8
        mask = 1 << bit % 8
        content = self._builder.content
        content[byte] = content[byte] | mask if value else content[byte] & ~mask

    def _pointer(self, index: int) -> int:
        assert index < self._pointers
        return self._start + self._data + index

    def new_struct(self, index: int, data: int, pointers: int) -> StructBuilder:
        return self._builder._struct_for(self._pointer(index), data, pointers)

    def set_data(self, index: int, raw: bytes) -> None:
        self._builder._bytes_for(self._pointer(index), raw)

    def set_text(self, index: int, text: str) -> None:
        self._builder._bytes_for(self._pointer(index), text.encode() + b"\0")

    def set_texts(self, index: int, texts: list[str]) -> None:
        builder = self._builder
        start = builder._allocate(len(texts))
        builder._set_pointer(self._pointer(index), LIST, start, len(texts) << 3 | ELEMENT_POINTER)
        for i, text in enumerate(texts):
            builder._bytes_for(start + i, text.encode() + b"\0")

    def new_structs(self, index: int, count: int, data: int, pointers: int) -> list[StructBuilder]:
        builder = self._builder
        step = data + pointers
        tag = builder._allocate(1 + count * step)
        builder._set_pointer(
            self._pointer(index), LIST, tag, (count * step) << 3 | ELEMENT_COMPOSITE
        )
        _pointer_halves.pack_into(builder.content, WORD * tag, count << 2, pointers << 16 | data)
        return [StructBuilder(builder, tag + 1 + i * step, data, pointers) for i in range(count)]

    def set_capability(self, index: int, capability: int) -> None:
        at = WORD * self._pointer(index)
        _pointer_halves.pack_into(self._builder.content, at, OTHER, capability)

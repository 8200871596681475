"""What the pure-Python engine adds to hpack: bounds that hpack does not have."""

from __future__ import annotations

import hpack
import pytest

from wire.http2.engines.fields import FieldDecoder


def test_a_change_of_the_tables_size_and_its_return() -> None:
    decoder = FieldDecoder(4)
    assert list(decoder.decode(b"\x20\x3f\xe1\x1f\x82", raw=True)) == [(b":method", b"GET")]
    with pytest.raises(hpack.HPACKDecodingError, match="table sizes"):
        decoder.decode(b"\x20" * 5 + b"\x82", raw=True)
    with pytest.raises(hpack.HPACKDecodingError, match="table sizes"):
        decoder.decode(b"\x3f\xe1\x1f" * 5 + b"\x82", raw=True)


def test_fields_are_read_whole_whatever_their_length() -> None:
    decoder = FieldDecoder(100)
    fields = [(b"x" * size, b"y" * size) for size in (1, 127, 254, 255, 256, 257, 511, 512, 5000)]
    block = hpack.Encoder().encode(fields, huffman=False)
    assert list(decoder.decode(block, raw=True)) == fields
    with pytest.raises(hpack.HPACKError):
        decoder.decode(block[:-1], raw=True)


def test_more_fields_than_anybody_needs() -> None:
    decoder = FieldDecoder(100)
    one = b"\0\1a\1b"
    assert len(list(decoder.decode(one * 100, raw=True))) == 100
    with pytest.raises(hpack.OversizedHeaderListError):
        decoder.decode(one * 101, raw=True)

"""Header fields for the h2 engine: hpack within bounds, and what neither hpack nor h2 looks at."""

from __future__ import annotations

import re
from typing import Any

import hpack

from wire.http2.engine import Headers

_MOST_UPDATES = 4
_LITERAL = 512
_is_token = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_is_visible = re.compile(rb"[!-~\x80-\xff]*").fullmatch


def fit_for_a_request_line(headers: Headers) -> bool:
    """A blank in a pseudo-header field would make another request line of it where the last
    hop speaks HTTP/1.1 (RFC 9113 section 8.3.1, RFC 9112 section 11.1)."""
    for name, value in headers:
        if name[:1] != b":":
            return True
        if not (_is_token(value) if name == b":method" else _is_visible(value)):
            return False
    return True


class FieldEncoder(hpack.Encoder):
    """Huffman's code makes some strings nearly four times as long, and nghttp2 ends the connection over 64 KiB."""

    def encode(self, headers: Any, huffman: bool = True) -> bytes:
        small = sum([len(name) + len(value) for name, value in headers]) < 16_384
        return super().encode(headers, huffman and small)


class FieldDecoder(hpack.Decoder):
    """hpack takes any number of table sizes, and copies the rest of a block for each literal in it."""

    def __init__(self, most_fields: int) -> None:
        super().__init__()
        self._most_fields = most_fields
        self._literals = 0

    def decode(self, data: bytes, raw: bool = False) -> Any:
        at = updates = 0
        while at < len(data) and data[at] & 0xE0 == 0x20:
            # An integer with a prefix of five bits. RFC 7541 section 4.2 has no use for more than two of them.
            updates += 1
            if data[at] & 0x1F == 0x1F:
                at += 1
                while at < len(data) and data[at] & 0x80:
                    at += 1
            at += 1
            if updates > _MOST_UPDATES:
                raise hpack.HPACKDecodingError("too many table sizes")
        self._literals = 0
        return super().decode(data, raw)

    def _decode_literal(self, data: Any, should_index: bool) -> Any:
        self._literals += 1
        if self._literals > self._most_fields:
            raise hpack.OversizedHeaderListError("too many fields")
        if len(data) > _LITERAL:
            try:
                return super()._decode_literal(data[:_LITERAL], should_index)
            except hpack.HPACKError:
                pass  # It is longer than that, or is no literal anyway.
        return super()._decode_literal(data, should_index)

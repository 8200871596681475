"""What reading requests and reading answers have in common.

One feed, or one message, gives at most one head and one piece of body: pieces that llhttp found in the same bytes are
joined, and a head whose message ends with it says so at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import httptools

from wire.errors import WireError
from wire.http2 import fields
from wire.http2.engine import Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Http1Limits:
    """What a peer may send us before it is refused with 431 or 414."""

    max_head_size: int = 64 * 1024
    max_header_count: int = 256
    max_target_size: int = 16 * 1024
    max_tiny_chunks: int = 4_000
    """Of a request: chunks of next to nothing that come by the dozen, six bytes and a call for each byte of body."""


class Http1Error(WireError):
    """The peer's bytes are not a message we take. `status` is the answer a server gives; `flood`: no honest program
    sends such a thing."""

    def __init__(self, status: int, reason: str, *, flood: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.flood = flood


class MessageSink(Protocol):
    """What a parser calls, one message at a time."""

    def head_received(self, headers: Headers, end: bool, upgrade: bool) -> None:
        """A head in HTTP/2 form. `upgrade`: raw bytes follow if both sides agree (request), or now (101)."""

    def body_received(self, data: bytes, end: bool) -> None: ...

    def trailers_received(self, headers: Headers) -> None:
        """Trailer fields; they end the message."""


HOP_BY_HOP = fields.CONNECTION_SPECIFIC | {b"te", b"trailer", b"proxy-authenticate"}
# `Connection` may not take away what says where a message goes, how long it is, or who sends it.
_NEVER_HOP_BY_HOP = frozenset((b"te", b"content-length", b"host", b"cookie", b"authorization"))
# Fields that steer how a message is read may not come behind it (RFC 9110 section 6.5.1).
TRAILER_REFUSED = frozenset(
    (
        b"content-length",
        b"host",
        b"authorization",
        b"cookie",
        b"set-cookie",
        b"content-encoding",
        b"content-type",
    )
)


_DOZENS, _TINY = 32, 16


class Parser:
    """What requests and responses have in common. Feeds are answered by callbacks before `feed` returns."""

    def __init__(self, sink: MessageSink, limits: Http1Limits) -> None:
        self._sink = sink
        self._limits = limits
        self._error: Http1Error | None = None
        # Of the message being parsed
        self._fields: Headers = []
        self._trailers: Headers = []
        self._chunks: list[bytes] = []
        self._connection = b""
        self._upgrade = b""
        self._length = b""
        self._coding = b""
        self._body_seen = 0
        self._tiny_chunks = 0
        self._in_head = True
        self._unparsed_head = 0
        self._head_size = 0
        self._head: Headers | None = None
        # After an upgrade was agreed: bytes are just bytes.
        self._raw = False

    def _execute(self, parser: Any, data: bytes) -> None:
        if self._in_head:
            self._unparsed_head += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._emit(False)
            self._upgraded(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            self._emit(False)
            raise self._error or Http1Error(400, str(error)) from None
        if self._emit(False) and not self._in_head:
            self._unparsed_head = 0
        elif not self._in_head:
            # Endless trailers and chunk extensions: llhttp keeps a field until it is complete.
            self._unparsed_head += len(data)
        if self._unparsed_head > self._limits.max_head_size:
            raise Http1Error(431, "the head is too large")

    def _upgraded(self, rest: bytes) -> None:
        raise NotImplementedError

    def _refuse(self, status: int, reason: str) -> Http1Error:
        self._error = Http1Error(status, reason)
        return self._error

    def _emit(self, end: bool) -> bool:
        """Pass on what one feed, or one message, gave: at most a head and one piece of body. True if anything."""
        head, self._head = self._head, None
        chunks = self._chunks
        if chunks:
            self._chunks = []
            if head is not None:
                self._put_head(head, False, False)
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            self._body_seen += len(body)
            if len(chunks) > _DOZENS and len(body) < _TINY * len(chunks):
                self._tiny_chunks += len(chunks)
            self._put_body(body, end)
        elif head is not None:
            self._put_head(head, end, False)
        elif end:
            self._put_body(b"", True)
        else:
            return False
        return True

    def _put_head(self, headers: Headers, end: bool, upgrade: bool) -> None:
        self._sink.head_received(headers, end, upgrade)

    def _put_body(self, data: bytes, end: bool) -> None:
        self._sink.body_received(data, end)

    def _put_trailers(self, headers: Headers) -> None:
        self._sink.trailers_received(headers)

    # What llhttp calls

    def on_message_begin(self) -> None:
        self._fields = []
        self._trailers = []
        self._connection = self._upgrade = self._length = self._coding = b""
        self._in_head = True
        self._head_size = 0
        self._body_seen = 0
        self._tiny_chunks //= 2

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        value = value.rstrip(b" \t")  # llhttp strips only what leads
        self._head_size += len(name) + len(value) + 4
        if self._head_size > self._limits.max_head_size:
            raise self._refuse(431, "the header fields are too large")
        if not self._in_head:
            if name not in HOP_BY_HOP and name not in TRAILER_REFUSED:
                self._trailers.append((name, value))
            return
        if name in HOP_BY_HOP:
            self._hop_by_hop(name, value)
            return
        if name == b"content-length":
            self._length = value
        headers = self._fields
        headers.append((name, value))
        if len(headers) > self._limits.max_header_count:
            raise self._refuse(431, "there are too many header fields")

    def _hop_by_hop(self, name: bytes, value: bytes) -> None:
        if name == b"connection":
            self._connection += b"," + value.lower() if self._connection else value.lower()
        elif name == b"upgrade":
            self._upgrade = value
        elif name == b"transfer-encoding":
            self._coding = value.lower()
            if self._coding != b"chunked":
                raise self._refuse(501, "only the chunked transfer coding is known")
        elif name == b"te" and b"trailers" in value.lower():
            self._fields.append((b"te", b"trailers"))

    def on_body(self, data: bytes) -> None:
        self._chunks.append(data)

    def _without_named(self, headers: Headers) -> Headers:
        """Drop what `Connection` names; almost always that is only keep-alive or close."""
        named = self._connection
        if not named or named in (b"keep-alive", b"close", b"upgrade", b"te"):
            return headers
        names = {token.strip() for token in named.split(b",")} - _NEVER_HOP_BY_HOP
        return [field for field in headers if field[0] not in names]

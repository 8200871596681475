"""HTTP/1.1 (RFC 9112) without I/O: bytes in, callbacks out, heads and chunks to bytes.

llhttp (through httptools) does the parsing, strictly: obs-fold, bare CR or LF, NUL, a space before the colon, two
lengths, a length together with a transfer coding, all are refused (the tests hold it to that, since most of request
smuggling lives there). Here is what llhttp leaves open: limits, the translation to and from HTTP/2's form of a head,
one message at a time, HEAD, upgrades, and messages that end with their connection.

Hop-by-hop fields, and those that `Connection` names, end here (RFC 9110 section 7.6.1). One stays: `upgrade`, in the
head of a request or of a 101 answer, says that raw bytes may follow, or do. In the other direction the encoders add
`Connection: upgrade` to a head that has it.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
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


class Http1Error(WireError):
    """The peer's bytes are not a message we take. `status` is the answer a server gives."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class MessageSink(Protocol):
    """What a parser calls, one message at a time."""

    def head_received(self, headers: Headers, end: bool, upgrade: bool) -> None:
        """A head in HTTP/2 form. `upgrade`: raw bytes follow if both sides agree (request), or now (101)."""

    def body_received(self, data: bytes, end: bool) -> None: ...

    def trailers_received(self, headers: Headers) -> None:
        """Trailer fields; they end the message."""


_HOP_BY_HOP = fields.CONNECTION_SPECIFIC | {b"te", b"trailer", b"proxy-authenticate"}
# What a server may not be talked into (RFC 9110 section 7.2), minus what RFC 3986 never allows in an authority.
_AUTHORITY = re.compile(rb"[A-Za-z0-9.\-_~%!$&'()*+,;=:\[\]]*")
_TRAILER_REFUSED = frozenset(
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


class RequestTraits:
    """What HTTP/2 form does not say of a request, and its answer depends on."""

    __slots__ = ("expects_continue", "head_only", "keep_alive", "version")

    def __init__(self) -> None:
        self.keep_alive = True
        self.version = "1.1"
        self.expects_continue = False
        self.head_only = False


class _Parser:
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
        self._emit(False)
        if not self._in_head:
            self._unparsed_head = 0
        elif self._unparsed_head > self._limits.max_head_size:
            raise Http1Error(431, "the head is too large")

    def _upgraded(self, rest: bytes) -> None:
        raise NotImplementedError

    def _refuse(self, status: int, reason: str) -> Http1Error:
        self._error = Http1Error(status, reason)
        return self._error

    def _emit(self, end: bool) -> None:
        """Pass on what one feed, or one message, gave: at most a head and one piece of body."""
        head, self._head = self._head, None
        chunks = self._chunks
        if chunks:
            self._chunks = []
            if head is not None:
                self._put_head(head, False, False)
            self._put_body(chunks[0] if len(chunks) == 1 else b"".join(chunks), end)
        elif head is not None:
            self._put_head(head, end, False)
        elif end:
            self._put_body(b"", True)

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

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        value = value.rstrip(b" \t")  # llhttp strips only what leads
        self._head_size += len(name) + len(value) + 4
        if self._head_size > self._limits.max_head_size:
            raise self._refuse(431, "the header fields are too large")
        if not self._in_head:
            if name not in _HOP_BY_HOP and name not in _TRAILER_REFUSED:
                self._trailers.append((name, value))
            return
        if name in _HOP_BY_HOP:
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
        names = {token.strip() for token in named.split(b",")} - {b"te"}
        return [field for field in headers if field[0] not in names]


class RequestParser(_Parser):
    """A server's half. The next message is held back until `next_message` says that this one was answered.

    llhttp cannot be stopped between two pipelined messages, so what it finds behind the first one is queued here.
    That is never more than what one read brought, since the caller stops reading while `waiting`.
    """

    def __init__(self, sink: MessageSink, scheme: str, limits: Http1Limits | None = None) -> None:
        super().__init__(sink, limits or Http1Limits())
        self._scheme = scheme.encode()
        self._parser: Any = httptools.HttpRequestParser(self)
        self._target = b""
        self._host: bytes | None = None
        self._parsed = RequestTraits()
        # Of the message that was last handed to the sink:
        self.traits = self._parsed
        self._busy = False
        self._queue: deque[tuple[str, Any, bool, Any]] = deque()
        # An offered upgrade is undecided; `_rest` is what came behind it.
        self._undecided = False
        self._rest = b""
        # Body bytes still to come of a request that llhttp took for an upgrade, and we did not.
        self._owed = 0
        self._broken = False

    @property
    def waiting(self) -> bool:
        """Whether something is kept that belongs behind the current message: time to stop reading."""
        return bool(self._queue or self._rest)

    @property
    def in_head(self) -> bool:
        """Whether a head has begun and not ended."""
        return self._in_head and self._unparsed_head > 0

    def feed(self, data: bytes) -> None:
        """Take bytes. Raises `Http1Error`; the connection is then of no further use."""
        if self._raw:
            self._sink.body_received(data, False)
        elif self._undecided:
            self._rest += data
        elif self._owed:
            self._feed_owed(data)
        elif not self._broken:
            try:
                self._execute(self._parser, data)
            except Http1Error as error:
                self._broken = True
                if not self._busy:
                    raise
                self._queue.append(("error", error, False, None))

    def next_message(self) -> None:
        """The current request is answered: go on with what was kept. Raises `Http1Error`."""
        self._busy = False
        while self._queue and not self._busy:
            kind, item, flag, more = self._queue.popleft()
            if kind == "head":
                self._put_head(item, flag, *more)
            elif kind == "body":
                self._put_body(item, flag)
            elif kind == "trailers":
                self._put_trailers(item)
            else:
                raise item

    def accept_upgrade(self) -> None:
        """We answered 101: what was kept, and all that follows, is raw."""
        self._raw = True
        self._undecided = False
        rest, self._rest = self._rest, b""
        if rest:
            self._sink.body_received(rest, False)

    def refuse_upgrade(self) -> None:
        """We answered something else: what was kept is the next request."""
        self._undecided = False
        self._busy = True
        rest, self._rest = self._rest, b""
        if rest:
            self.feed(rest)

    def _put_head(
        self, headers: Headers, end: bool, upgrade: bool, traits: RequestTraits | None = None
    ) -> None:
        traits = traits or self._parsed
        if self._busy:
            self._queue.append(("head", headers, end, (upgrade, traits)))
            return
        self._busy = end
        self.traits = traits
        self._sink.head_received(headers, end, upgrade)

    def _put_body(self, data: bytes, end: bool) -> None:
        if self._busy:
            self._queue.append(("body", data, end, None))
            return
        self._busy = end
        self._sink.body_received(data, end)

    def _put_trailers(self, headers: Headers) -> None:
        if self._busy:
            self._queue.append(("trailers", headers, True, None))
            return
        self._busy = True
        self._sink.trailers_received(headers)

    def _feed_owed(self, data: bytes) -> None:
        part, rest = data[: self._owed], data[self._owed :]
        self._owed -= len(part)
        self._put_body(part, not self._owed)
        if rest:
            self.feed(rest)

    def _upgraded(self, rest: bytes) -> None:
        if rest:
            self.feed(rest)

    # What llhttp calls

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._target = b""
        self._host = None
        self._parsed = RequestTraits()

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > self._limits.max_target_size:
            raise self._refuse(414, "the request target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 4 and self._in_head and name.lower() == b"host":
            if self._host is not None:
                raise self._refuse(400, "there are two Host fields")
            self._host = value.rstrip(b" \t")
        elif len(name) == 6 and self._in_head and name.lower() == b"expect":
            if value.strip().lower() != b"100-continue":
                raise self._refuse(417, "only 100-continue can be expected")
            self._parsed.expects_continue = True
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        parser = self._parser
        traits = self._parsed
        traits.version = parser.get_http_version()
        if traits.version not in ("1.1", "1.0"):
            raise self._refuse(505, "only HTTP/1.1 and HTTP/1.0 are spoken")
        method = parser.get_method()
        if method == b"CONNECT":
            raise self._refuse(405, "CONNECT is not served")
        traits.head_only = method == b"HEAD"
        traits.keep_alive = parser.should_keep_alive()
        authority, path = self._split_target()
        self._head = [
            (b":method", method),
            (b":scheme", self._scheme),
            (b":authority", authority),
            (b":path", path),
            *self._without_named(self._fields),
        ]

    def _split_target(self) -> tuple[bytes, bytes]:
        """RFC 9112 section 3.2: origin-form, absolute-form, or the asterisk."""
        target, _, _ = self._target.partition(b"#")
        authority = self._host
        if target[:1] != b"/" and target != b"*":
            scheme, found, rest = target.partition(b"://")
            if not found or scheme.lower() not in (b"http", b"https"):
                raise self._refuse(400, "the request target has a form that is not served")
            end = min((i for i in (rest.find(b"/"), rest.find(b"?")) if i >= 0), default=len(rest))
            authority, target = rest[:end], rest[end:]
            if target[:1] != b"/":
                target = b"/" + target
        if authority is None:
            if self._parsed.version == "1.1":
                raise self._refuse(400, "there is no Host field")
            authority = b""
        if not _AUTHORITY.fullmatch(authority):
            raise self._refuse(400, "the Host field is not a host")
        return authority, target

    def on_message_complete(self) -> None:
        if self._parser.should_upgrade():
            self._upgrade_offered()
        elif self._trailers:
            self._emit(False)
            self._put_trailers(self._trailers)
        else:
            self._emit(True)
        self._in_head = True
        self._unparsed_head = 0

    def _upgrade_offered(self) -> None:
        """llhttp skips the body of every request that offers an upgrade, so its length is ours to obey.

        An upgrade to h2c is not taken (RFC 9113 section 3.1 obsoletes it), nor is one with a body in the way: both
        are ordinary requests. Otherwise what follows is kept until the answer says what it is.
        """
        if self._coding:
            raise self._refuse(501, "an upgrade with a chunked body is not served")
        head, self._head = self._head, None
        assert head is not None
        self._owed = int(self._length or b"0")
        if self._owed:
            self._put_head(head, False, False)
        elif self._upgrade.strip().lower() == b"h2c":
            self._put_head(head, True, False)
        else:
            self._undecided = True
            self._put_head([*head, (b"upgrade", self._upgrade)], False, True)


class ResponseParser(_Parser):
    """A client's half. `expect(method)` before each request; informational answers come as heads of their own."""

    def __init__(self, sink: MessageSink, limits: Http1Limits | None = None) -> None:
        super().__init__(sink, limits or Http1Limits())
        self._parser: Any = httptools.HttpResponseParser(self)
        self._head_only = False
        self._may_upgrade = False
        self._informational = False
        self._expecting = False
        self._fresh = True
        # Whether the connection may carry another request after this answer.
        self.reusable = False
        # Whether any byte of the answer has come.
        self.begun = False

    def expect(self, method: bytes, *, upgrade: bool = False) -> None:
        """A request was sent; its answer is next."""
        if not self._fresh:
            # After the answer to HEAD llhttp would wait for a body that never comes.
            self._parser = httptools.HttpResponseParser(self)
            self._fresh = True
        self._head_only = method == b"HEAD"
        self._may_upgrade = upgrade
        self._expecting = True
        self.reusable = False
        self.begun = False

    def feed(self, data: bytes) -> None:
        """Take bytes. Raises `Http1Error`."""
        if self._raw:
            self._sink.body_received(data, False)
            return
        if not data:
            return
        if not self._expecting:
            self.reusable = False
            raise Http1Error(502, "bytes that nobody asked for")
        self.begun = True
        self._execute(self._parser, data)

    def eof(self) -> None:
        """The peer closed. Ends an answer that has no other end; raises `Http1Error` if one is incomplete."""
        if self._raw:
            self._raw = False
            self._sink.body_received(b"", True)
        elif self._expecting:
            if self._in_head or self._length or self._coding:
                raise Http1Error(502, "the connection closed in the middle of an answer")
            self._expecting = False
            self.reusable = False
            self._emit(True)

    def _upgraded(self, rest: bytes) -> None:
        if rest:
            self._sink.body_received(rest, False)

    # What llhttp calls

    def on_message_begin(self) -> None:
        if not self._expecting:
            raise self._refuse(502, "an answer that nobody asked for")
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        parser = self._parser
        status = parser.get_status_code()
        if not 100 <= status <= 999:
            raise self._refuse(502, "the status is not a number of three digits")
        self._in_head = False
        self._unparsed_head = 0
        self._informational = status < 200
        self.reusable = parser.should_keep_alive()
        head = [(b":status", b"%d" % status), *self._without_named(self._fields)]
        if status == 101:
            if not self._may_upgrade:
                raise self._refuse(502, "an upgrade that nobody asked for")
            head.append((b"upgrade", self._upgrade))
        self._head = head
        if self._head_only and not self._informational:
            self._fresh = False
            self._end()

    def on_body(self, data: bytes) -> None:
        if not self._expecting:
            self.reusable = False
            raise self._refuse(502, "an answer to HEAD with a body")
        super().on_body(data)

    def on_message_complete(self) -> None:
        if not self._expecting:
            return
        if self._informational:
            head, self._head = self._head, None
            assert head is not None
            self._in_head = True
            if self._parser.should_upgrade() and self._may_upgrade:
                self._raw = True
                self._put_head(head, False, True)
            else:
                self._put_head(head, False, False)
            return
        self._end()

    def _end(self) -> None:
        self._expecting = False
        self._in_head = True
        if self._trailers:
            self._emit(False)
            self._put_trailers(self._trailers)
        else:
            self._emit(True)


# Saying it


def request_head(headers: Headers, *, chunked: bool) -> bytes:
    """The head of a request, from HTTP/2 form. `chunked`: the body's length is not known."""
    method, authority, path = b"GET", b"", b"/"
    lines = []
    fit, upgrade = _fit(headers)
    for name, value in fit:
        if name[0] == _COLON:
            if name == b":method":
                method = value
            elif name == b":path":
                path = value
            elif name == b":authority":
                authority = value
        elif name != b"host":
            lines.append(name + b": " + value)
        elif not authority:
            authority = value
    if not _TOKEN.fullmatch(method) or not path or _SPACE.search(path):
        raise fields.MalformedFieldError("the method or the path cannot be written in HTTP/1.1")
    if chunked:
        lines.append(b"transfer-encoding: chunked")
    if upgrade is not None:
        lines.append(b"connection: upgrade\r\nupgrade: " + upgrade)
    start = method + b" " + path + b" HTTP/1.1\r\nhost: " + authority
    return b"\r\n".join([start, *lines, b"\r\n"])


def response_head(headers: Headers, *, chunked: bool, close: bool) -> bytes:
    """The head of an answer, from HTTP/2 form."""
    fit, upgrade = _fit(headers)
    status = fit[0][1]
    lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 " + status + b" "]
    for name, value in fit:
        if name[0] != _COLON:
            lines.append(name + b": " + value)
    if chunked:
        lines.append(b"transfer-encoding: chunked")
    if status == b"101" and upgrade is not None:
        lines.append(b"connection: upgrade\r\nupgrade: " + upgrade)
    elif close:
        lines.append(b"connection: close")
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def chunk(data: bytes) -> bytes:
    """One chunk; empty data would end the body, so it gives nothing."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def last_chunk(trailers: Headers = []) -> bytes:  # noqa: B006  never changed
    """The end of a chunked body."""
    if not trailers:
        return b"0\r\n\r\n"
    kept, _ = _fit(trailers)
    lines = [n + b": " + v for n, v in kept if n[0] != _COLON and n not in _TRAILER_REFUSED]
    return b"\r\n".join([b"0", *lines, b"\r\n"])


def content_length(headers: Headers) -> int | None:
    """The declared length of a body. A value that is no number counts as not declared."""
    for name, value in headers:
        if name == b"content-length":
            return int(value) if value.isdigit() else None
    return None


def has_no_body(status: bytes, method_is_head: bool) -> bool:
    """RFC 9112 section 6.3: these answers end with their head, whatever it says."""
    return method_is_head or status in (b"204", b"304") or status[:1] == b"1"


def _fit(headers: Headers) -> tuple[Headers, bytes | None]:
    """Fields that may be sent, and the value of `upgrade` taken out of them."""
    fit = fields.safe(headers)
    if fit is headers:
        return fit, None
    upgrade = next((value for name, value in headers if name == b"upgrade"), None)
    if upgrade is not None and not _TOKEN_LIST.fullmatch(upgrade):
        upgrade = None
    return fit, upgrade


_COLON = ord(":")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TOKEN_LIST = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z/, ]+")
_SPACE = re.compile(rb"[\x00-\x20\x7f]")
_STATUS_LINES = {
    b"%d" % status.value: b"HTTP/1.1 %d %b" % (status.value, status.phrase.encode())
    for status in HTTPStatus
}

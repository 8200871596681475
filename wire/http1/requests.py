"""A server's half of HTTP/1.1: requests in, in order, one at a time."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

import httptools

from wire.http1.parsing import Http1Error, Http1Limits, MessageSink, Parser
from wire.http2.engine import Headers

# What a server may not be talked into (RFC 9110 section 7.2), minus what RFC 3986 never allows in an authority.
_AUTHORITY = re.compile(rb"[A-Za-z0-9.\-_~%!$&'()*+,;=:\[\]]*")


class RequestTraits:
    """What HTTP/2 form does not say of a request, and its answer depends on."""

    __slots__ = ("expects_continue", "head_only", "keep_alive", "version")

    def __init__(self) -> None:
        self.keep_alive = True
        self.version = "1.1"
        self.expects_continue = False
        self.head_only = False


class RequestParser(Parser):
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

    def only_body(self, size: int) -> bool:
        """Whether the next `size` bytes are known to be body and nothing else."""
        if self._raw or self._owed >= size:
            return True
        if self._in_head or self._coding or not self._length:
            return False
        return int(self._length) - self._body_seen >= size

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
                if self._tiny_chunks > self._limits.max_tiny_chunks:
                    raise Http1Error(400, "too many chunks of next to nothing", flood=True)
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
        if self._coding and traits.version == "1.0":
            # RFC 9112 section 6.1: HTTP/1.0 has no chunks, so somebody before us has read this otherwise.
            raise self._refuse(400, "a transfer coding in HTTP/1.0")
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

"""A client's half of HTTP/1.1: the answer to each request."""

from __future__ import annotations

from typing import Any

import httptools

from wire.http1.parsing import Http1Error, Http1Limits, MessageSink, Parser


class ResponseParser(Parser):
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

"""HTTP/1.1: any bytes in any pieces, and the same bytes at once, must give the same messages or a named error."""

from __future__ import annotations

from typing import Any

from wire.http1 import Http1Error, Http1Limits, RequestParser, ResponseParser

SEEDS = (
    b"\0GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
    b"\7POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"\3POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nt: v\r\n\r\n",
    b"\x0fPOST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 70,
    b"\1POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"\2GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw",
    b"\2POST http://b/ HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 1\r\n\r\nx",
    b"\5GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTE: trailers\r\nX: a\r\n b\r\n\r\n",
    b"\0HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"\4HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"\1HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nraw",
)
_LIMITS = Http1Limits(
    max_head_size=512, max_header_count=16, max_target_size=128, max_tiny_chunks=64
)


class _Told:
    """What a parser said, with the pieces of a body joined: where they were cut is nobody's affair."""

    def __init__(self) -> None:
        self.messages: list[list[Any]] = []
        self.ended = False
        self.upgrades = 0

    def head_received(self, headers: Any, end: bool, upgrade: bool) -> None:
        for name, value in headers:
            assert name == name.lower()
            assert not {10, 13, 0} & set(value), "a line break came through"
            assert name != b"transfer-encoding"
        lengths = [value for name, value in headers if name == b"content-length"]
        assert len(lengths) <= 1, "two lengths came through"
        assert all(value.isdigit() for value in lengths)
        self.messages.append([headers, b"", None, end, upgrade])
        self.ended = end

    def body_received(self, data: bytes, end: bool) -> None:
        self.messages[-1][1] += data
        self.messages[-1][3] = end
        self.ended = end

    def trailers_received(self, headers: Any) -> None:
        self.messages[-1][2] = headers
        self.messages[-1][3] = self.ended = True


def _requests(pieces: list[bytes]) -> tuple[list[list[Any]], int | None]:
    told = _Told()
    parser = RequestParser(told, "http", _LIMITS)
    try:
        for piece in pieces:
            only_body, before = parser.only_body(len(piece)), len(told.messages)
            parser.feed(piece)
            assert not only_body or len(told.messages) == before, "a request among what is body"
            _answer(parser, told)
    except Http1Error as error:
        assert 400 <= error.status < 600
        return told.messages, error.status
    return told.messages, None


def _answer(parser: RequestParser, told: _Told) -> None:
    """As a server that answers each request at once and takes no upgrade."""
    seen = -1
    while told.messages and seen != len(told.messages):
        seen = len(told.messages)
        last = told.messages[-1]
        if last[4] and not last[3]:
            last[3] = told.ended = True
            parser.refuse_upgrade()
            parser.next_message()
        elif told.ended:
            told.ended = False
            parser.next_message()


def _answers(pieces: list[bytes]) -> None:
    told = _Told()
    parser = ResponseParser(told, _LIMITS)
    parser.expect(b"GET", upgrade=True)
    try:
        for piece in pieces:
            parser.feed(piece)
        parser.eof()
    except Http1Error:
        return


def one(data: bytes) -> None:
    if not data:
        return
    step, stream = data[0] % 16 + 1, data[1:]
    pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
    whole, status = _requests([stream])
    cut, cut_status = _requests(pieces)
    if status is None and cut_status is None:
        assert whole == cut, "the same bytes in other pieces are other requests"
    _answers(pieces)

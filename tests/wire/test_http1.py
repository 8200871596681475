"""HTTP/1.1 parsing and writing, without I/O."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import http1
from wire.http1 import Http1Error, Http1Limits, RequestParser, ResponseParser
from wire.http2.fields import MalformedFieldError


class Sink:
    """Writes down what a parser says, with pieces of a body joined; answers each request at once when told to."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.parser: RequestParser | None = None
        self.upgrades = False

    def head_received(self, headers: Any, end: bool, upgrade: bool) -> None:
        self.events.append(("head", tuple(headers), upgrade))
        if end:
            self._ended()

    def body_received(self, data: bytes, end: bool) -> None:
        if data:
            if self.events[-1][0] == "body":
                self.events[-1] = ("body", self.events[-1][1] + data)
            else:
                self.events.append(("body", data))
        if end:
            self._ended()

    def trailers_received(self, headers: Any) -> None:
        self.events.append(("trailers", tuple(headers)))
        self._ended()

    def _ended(self) -> None:
        self.events.append(("end",))


def parse(*pieces: bytes, limits: Http1Limits | None = None, answer: bool = True) -> list[Any]:
    """What a server sees, when it answers each request after each piece."""
    sink = Sink()
    parser = RequestParser(sink, "https", limits)
    try:
        for piece in pieces:
            parser.feed(piece)
            while answer and parser.waiting:
                parser.next_message()
            if answer and sink.events and sink.events[-1] == ("end",):
                parser.next_message()
    except Http1Error as error:
        sink.events.append(("error", error.status))
    return sink.events


def parse_answer(
    method: bytes, *pieces: bytes, eof: bool = False, upgrade: bool = False
) -> list[Any]:
    sink = Sink()
    parser = ResponseParser(sink)
    parser.expect(method, upgrade=upgrade)
    try:
        for piece in pieces:
            parser.feed(piece)
        if eof:
            parser.eof()
        sink.events.append(("reusable", parser.reusable))
    except Http1Error:
        sink.events.append(("error",))
    return sink.events


def head(method: bytes = b"GET", path: bytes = b"/", *more: tuple[bytes, bytes]) -> Any:
    return (
        (b":method", method),
        (b":scheme", b"https"),
        (b":authority", b"a.example"),
        (b":path", path),
        *more,
    )


GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n"


def test_a_request_in_http2_form() -> None:
    data = b"GET /x?y=1 HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\nX-Two:  spaced \r\n\r\n"
    expected = head(b"GET", b"/x?y=1", (b"accept", b"*/*"), (b"x-two", b"spaced"))
    assert parse(data) == [("head", expected, False), ("end",)]


def test_bodies_by_length_and_in_chunks() -> None:
    post = b"POST / HTTP/1.1\r\nHost: a.example\r\n"
    assert parse(post + b"Content-Length: 5\r\n\r\nhello") == [
        ("head", head(b"POST", b"/", (b"content-length", b"5")), False),
        ("body", b"hello"),
        ("end",),
    ]
    chunked = (
        post + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\n"
    )
    assert parse(chunked) == [
        ("head", head(b"POST"), False),
        ("body", b"hello"),
        ("trailers", ((b"x-sum", b"1"),)),
        ("end",),
    ]


def test_hop_by_hop_fields_end_here() -> None:
    data = GET + (
        b"Connection: keep-alive, X-Private, te\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n"
        b"X-Private: 1\r\nTE: trailers, deflate\r\nTrailer: x\r\nX-Public: 2\r\n\r\n"
    )
    expected = head(b"GET", b"/", (b"te", b"trailers"), (b"x-public", b"2"))
    assert parse(data)[0] == ("head", expected, False)


@pytest.mark.parametrize(
    ("target", "authority", "path"),
    [
        (b"http://b.example/p?q", b"b.example", b"/p?q"),
        (b"HTTP://b.example:81", b"b.example:81", b"/"),
        (b"http://b.example?q", b"b.example", b"/?q"),
        (b"*", b"a.example", b"*"),
        (b"/p#fragment", b"a.example", b"/p"),
    ],
)
def test_forms_of_the_target(target: bytes, authority: bytes, path: bytes) -> None:
    method = b"OPTIONS" if target == b"*" else b"GET"
    [event, *_] = parse(method + b" " + target + b" HTTP/1.1\r\nHost: a.example\r\n\r\n")
    fields = dict(event[1])
    assert (fields[b":authority"], fields[b":path"]) == (authority, path)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (GET + b"X: a\r\n b\r\n\r\n", 400),
        (GET + b"X: a\0b\r\n\r\n", 400),
        (GET + b"X: a\rb\r\n\r\n", 400),
        (GET + b"X: a\nY: b\r\n\r\n", 400),
        (GET + b"X : a\r\n\r\n", 400),
        (GET + b"\x00: a\r\n\r\n", 400),
        (GET + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (GET + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
        (GET + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (GET + b"Content-Length: 3, 3\r\n\r\nabc", 400),
        (GET + b"Content-Length: +3\r\n\r\nabc", 400),
        (GET + b"Content-Length: -3\r\n\r\nabc", 400),
        (GET + b"Transfer-Encoding: chunked\r\n\r\nZ\r\n", 400),
        (GET + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n", 400),
        (GET + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (GET + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (GET + b"Host: b.example\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/../b\r\n\r\n", 400),
        (b"GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 505),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (GET + b"Expect: a-miracle\r\n\r\n", 417),
        (GET + b"X: " + b"a" * 5000 + b"\r\n\r\n", 431),
        (GET + b"".join(b"X%d: 1\r\n" % i for i in range(60)) + b"\r\n", 431),
        (GET + b"X: " + b"a" * 5000, 431),
        (b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\n", 414),
    ],
)
def test_what_is_refused(data: bytes, status: int) -> None:
    limits = Http1Limits(max_head_size=4096, max_header_count=50, max_target_size=2048)
    events = parse(data, limits=limits)
    assert events[-1] == ("error", status)
    assert not any(event[0] == "end" for event in events)


@pytest.mark.parametrize(
    ("start", "more"), [(b"0\r\nX: ", b"a"), (b"5;", b"e"), (b"0\r\n", b"A: b\r\n")]
)
def test_endless_trailers_and_extensions_are_refused(start: bytes, more: bytes) -> None:
    begin = GET + b"Transfer-Encoding: chunked\r\n\r\n"
    pieces = [begin, start, *[more * 500] * 100]
    assert parse(*pieces, limits=Http1Limits(max_head_size=4096))[-1] == ("error", 431)


def test_http10_needs_no_host_and_does_not_stay() -> None:
    sink = Sink()
    parser = RequestParser(sink, "http")
    parser.feed(b"GET / HTTP/1.0\r\n\r\n")
    assert parser.traits.version == "1.0"
    assert not parser.traits.keep_alive
    assert dict(sink.events[0][1])[b":authority"] == b""


def test_pipelined_requests_wait_for_their_turn() -> None:
    sink = Sink()
    parser = RequestParser(sink, "https")
    second = b"HEAD /2 HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"
    parser.feed(GET + b"\r\n" + second)
    assert sink.events == [("head", head(), False), ("end",)]
    assert parser.waiting
    assert (parser.traits.head_only, parser.traits.keep_alive) == (False, True)
    parser.next_message()
    assert sink.events[2:] == [("head", head(b"HEAD", b"/2"), False), ("end",)]
    assert (parser.traits.head_only, parser.traits.keep_alive) == (True, False)


def test_a_broken_request_behind_a_good_one_waits_too() -> None:
    sink = Sink()
    parser = RequestParser(sink, "https")
    parser.feed(GET + b"\r\n" + b"BROKEN\r\n\r\n")
    parser.feed(b"more")
    assert sink.events == [("head", head(), False), ("end",)]
    with pytest.raises(Http1Error):
        parser.next_message()


def test_an_upgrade_taken_makes_the_rest_raw() -> None:
    sink = Sink()
    parser = RequestParser(sink, "https")
    parser.feed(GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw ")
    assert sink.events == [("head", head(b"GET", b"/", (b"upgrade", b"websocket")), True)]
    assert parser.waiting
    parser.accept_upgrade()
    parser.feed(b"bytes")
    assert sink.events[1:] == [("body", b"raw bytes")]


def test_an_upgrade_refused_makes_the_rest_a_request() -> None:
    sink = Sink()
    parser = RequestParser(sink, "https")
    parser.feed(GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + GET)
    parser.feed(b"\r\n")
    assert len(sink.events) == 1
    parser.refuse_upgrade()
    parser.next_message()
    assert sink.events[1:] == [("head", head(), False), ("end",)]


def test_the_body_of_an_upgrade_is_a_body() -> None:
    """llhttp skips it; read as the next request it would be one that nobody sent."""
    smuggled = GET + b"\r\n"
    data = (
        b"POST / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: h2c\r\n"
        b"Content-Length: %d\r\n\r\n" % len(smuggled)
    ) + smuggled
    length = (b"content-length", b"%d" % len(smuggled))
    expected = [
        ("head", head(b"POST", b"/", length), False),
        ("body", smuggled),
        ("end",),
        ("head", head(), False),
        ("end",),
    ]
    assert parse(data + GET + b"\r\n") == expected
    assert parse(*(bytes((byte,)) for byte in data + GET + b"\r\n")) == expected


def test_h2c_is_not_offered() -> None:
    data = (
        GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n\r\n"
    )
    assert parse(data) == [("head", head(), False), ("end",)]


def test_an_upgrade_with_a_chunked_body_is_refused() -> None:
    data = GET + b"Connection: upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert parse(data)[-1] == ("error", 501)


STREAM = (
    GET
    + b"\r\n"
    + b"POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n0123456789"
    + b"PUT /b HTTP/1.1\r\nhOst: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"5\r\nhello\r\nA;ext=1\r\n0123456789\r\n0\r\nX-T: v\r\n\r\n"
    + b"\r\nDELETE http://a.example/c HTTP/1.1\r\nHost: a.example\r\nCookie: a=b; c=d\r\n\r\n"
    + GET
    + b"Connection: close\r\n\r\n"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_split_gives_the_same_requests(cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in pairwise(bounds)]
    assert parse(*pieces) == parse(STREAM)


@given(st.binary(max_size=200))
def test_garbage_never_does_worse_than_an_error(data: bytes) -> None:
    for event in parse(data):
        assert event[0] in ("head", "body", "trailers", "end", "error")
    parse(GET + data)
    parse_answer(b"GET", data, eof=True)
    parse_answer(b"GET", b"HTTP/1.1 200 OK\r\n" + data, eof=True)


# Answers


def test_an_answer_in_http2_form() -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\nX-A: b\r\n\r\nhi"
    assert parse_answer(b"GET", data) == [
        ("head", ((b":status", b"200"), (b"content-length", b"2"), (b"x-a", b"b")), False),
        ("body", b"hi"),
        ("end",),
        ("reusable", True),
    ]


def test_informational_answers_are_heads_of_their_own() -> None:
    data = b"HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
    assert parse_answer(b"GET", data) == [
        ("head", ((b":status", b"103"), (b"link", b"</x>")), False),
        ("head", ((b":status", b"204"),), False),
        ("end",),
        ("reusable", True),
    ]


def test_answers_to_head_have_no_body_whatever_they_say() -> None:
    sink = Sink()
    parser = ResponseParser(sink)
    parser.expect(b"HEAD")
    parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    assert sink.events[-1] == ("end",)
    assert parser.reusable
    parser.expect(b"GET")
    parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
    assert sink.events[-2:] == [("body", b"x"), ("end",)]


def test_a_body_behind_an_answer_to_head_spoils_the_connection() -> None:
    events = parse_answer(b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nxx")
    assert events[-1] == ("error",)


def test_an_answer_may_end_with_its_connection() -> None:
    data = b"HTTP/1.1 200 OK\r\n\r\nto the end"
    assert parse_answer(b"GET", data, eof=True)[1:] == [
        ("body", b"to the end"),
        ("end",),
        ("reusable", False),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
    ],
)
def test_incomplete_or_broken_answers(data: bytes) -> None:
    events = parse_answer(b"GET", data, eof=True)
    assert events[-1] == ("error",)
    assert ("end",) not in events


def test_bytes_that_nobody_asked_for_are_an_error() -> None:
    sink = Sink()
    parser = ResponseParser(sink)
    with pytest.raises(Http1Error):
        parser.feed(b"HTTP/1.1 200 OK\r\n\r\n")
    again = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert parse_answer(b"GET", again + again)[-1] == ("error",)


def test_an_upgrade_agreed_is_raw_until_the_end() -> None:
    data = b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nraw "
    assert parse_answer(b"GET", data, b"bytes", eof=True, upgrade=True)[:3] == [
        ("head", ((b":status", b"101"), (b"upgrade", b"websocket")), True),
        ("body", b"raw bytes"),
        ("end",),
    ]


ANSWERS = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: x\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\nT: 1\r\n\r\n"
)


@given(st.lists(st.integers(0, len(ANSWERS)), max_size=12))
def test_any_split_gives_the_same_answer(cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(ANSWERS)]
    pieces = [ANSWERS[a:b] for a, b in pairwise(bounds)]
    assert parse_answer(b"GET", *pieces) == parse_answer(b"GET", ANSWERS)


# Writing


def test_heads_are_written_and_read_back() -> None:
    headers = list(head(b"POST", b"/p?q", (b"x-a", b"b"), (b"content-length", b"0")))
    written = http1.request_head(headers, chunked=False)
    assert parse(written) == [("head", tuple(headers), False), ("end",)]
    answer = [(b":status", b"404"), (b"content-length", b"0"), (b"x-a", b"b")]
    written = http1.response_head(answer, chunked=False, close=False)
    assert written.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert parse_answer(b"GET", written)[0] == ("head", tuple(answer), False)


def test_unknown_status_codes_have_a_line_too() -> None:
    written = http1.response_head([(b":status", b"530")], chunked=False, close=False)
    assert written.startswith(b"HTTP/1.1 530 \r\n")


def test_chunks_and_trailers_are_written_and_read_back() -> None:
    written = http1.response_head([(b":status", b"200")], chunked=True, close=False)
    written += http1.chunk(b"hello") + http1.chunk(b"") + http1.chunk(b"!" * 300)
    written += http1.last_chunk(
        [(b"x-sum", b"1"), (b"content-length", b"9"), (b"x-bad", b"a\r\nb")]
    )
    assert parse_answer(b"GET", written)[1:] == [
        ("body", b"hello" + b"!" * 300),
        ("trailers", ((b"x-sum", b"1"),)),
        ("end",),
        ("reusable", True),
    ]


def test_a_head_never_has_both_framings() -> None:
    for length in (b"5", b"nonsense"):
        fields = (b"content-length", length)
        assert b"content-length" not in http1.request_head([*head(), fields], chunked=True)
        answer = [(b":status", b"200"), fields]
        assert b"content-length" not in http1.response_head(answer, chunked=True, close=False)
    assert http1.content_length([(b"content-length", b"nonsense")]) is None


def test_trailers_that_are_too_large_are_left_out() -> None:
    assert http1.last_chunk([(b"x-sum", b"1" * 70_000)]) == b"0\r\n\r\n"


def test_an_upgrade_names_itself_in_connection() -> None:
    written = http1.request_head([*head(), (b"upgrade", b"websocket")], chunked=False)
    assert b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n" in written
    written = http1.response_head(
        [(b":status", b"101"), (b"upgrade", b"websocket")], chunked=False, close=False
    )
    assert b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n" in written


def test_nothing_can_be_forged_into_a_head() -> None:
    bad = [(b"x-a", b"1\r\nx-forged: 1"), (b"x b", b"1"), (b"transfer-encoding", b"chunked")]
    written = http1.request_head([*head(), *bad], chunked=False)
    assert b"forged" not in written
    assert b"x b" not in written
    assert b"transfer-encoding" not in written
    for method, path in ((b"GET", b"/ HTTP/1.1\r\nx: y"), (b"GET", b"/a b"), (b"G T", b"/")):
        with pytest.raises(MalformedFieldError):
            http1.request_head(list(head(method, path)), chunked=False)
    with pytest.raises(MalformedFieldError):
        http1.response_head([(b":status", b"200\r\nx: y")], chunked=False, close=False)


def test_a_body_of_tiny_chunks_has_an_end() -> None:
    sink = Sink()
    parser = RequestParser(sink, "http", Http1Limits(max_tiny_chunks=1000))
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    parser.feed(head)
    # One at a time, as somebody types; and many that are worth their frame.
    for _ in range(3000):
        parser.feed(b"1\r\nx\r\n")
    parser.feed(b"10\r\n0123456789abcdef\r\n" * 3000)
    parser.feed(b"1\r\nx\r\n" * 1000)
    with pytest.raises(Http1Error) as caught:
        parser.feed(b"1\r\nx\r\n" * 100)
    assert caught.value.flood
    assert caught.value.status == 400


def test_it_is_known_how_much_is_only_body() -> None:
    parser = RequestParser(Sink(), "http")
    assert not parser.only_body(1)
    parser.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    assert parser.only_body(7)
    assert not parser.only_body(8)
    parser.feed(b"defg")
    assert parser.only_body(3)
    assert not parser.only_body(4)

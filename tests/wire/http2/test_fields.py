"""Fields made safe before they are sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.http2 import fields
from wire.http2.engine import Headers
from wire.http2.fields import MalformedFieldError

REQUEST: Headers = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"app.example.com"),
    (b":path", b"/"),
]


def test_what_is_safe_is_passed_as_it_is() -> None:
    headers = [*REQUEST, (b"x-a", b"b"), (b"cookie", "ä".encode())]
    assert fields.safe(headers) is headers


@pytest.mark.parametrize(
    ("field", "kept"),
    [
        ((b"X-A", b"b"), [(b"x-a", b"b")]),
        ((b"x-a", b"1\r\n2"), []),
        ((b"x-a", b"1\n2"), []),
        ((b"x-a", b"1\0"), []),
        ((b"x a", b"1"), []),
        ((b"x:a", b"1"), []),
        ((b"", b"1"), []),
        ((b"Connection", b"close"), []),
        ((b"transfer-encoding", b"chunked"), []),
        ((b"te", b"trailers"), [(b"te", b"trailers")]),
        ((b"te", b"gzip"), []),
    ],
)
def test_what_is_not_is_mended_or_left_out(field: tuple[bytes, bytes], kept: Headers) -> None:
    assert fields.safe([*REQUEST, field]) == [*REQUEST, *kept]


@pytest.mark.parametrize("value", [b"/\r\nx: y", b"/\n", b"/\0"])
def test_a_pseudo_field_cannot_be_left_out(value: bytes) -> None:
    with pytest.raises(MalformedFieldError):
        fields.safe([*REQUEST[:3], (b":path", value)])


def test_oversized_fields_are_refused() -> None:
    assert fields.safe([*REQUEST, (b"x-a", b"a" * 65_536)])
    with pytest.raises(MalformedFieldError):
        fields.safe([*REQUEST, (b"x-a", b"a" * 65_537)])
    with pytest.raises(MalformedFieldError):
        fields.safe([*REQUEST, (b"X-A", b"a" * 65_537)])
    with pytest.raises(MalformedFieldError):
        fields.safe([*REQUEST, *[(b"x-a", b"a" * 50_000)] * 4])


def test_the_largest_that_is_sent_costs_nobody_the_connection(pair: Any) -> None:
    for headers in (
        [*REQUEST, (b"x-a", b"\xff" * fields.MAX_FIELD)],
        [*REQUEST, *[(b"x-%d" % i, b"\xff" * 60_000) for i in range(3)]],
    ):
        assert fields.safe(headers) is headers
        pair.client.send_request(headers, True)
        pair.pump()
    pair.request()
    assert len(pair.server_sink.of("request")) == 3


def test_invented_names_do_not_fill_the_memory() -> None:
    for number in range(10_000):
        fields.safe([(b"x-%d" % number, b"")])
    fields.safe([(b"x" * 300, b"")])
    assert len(fields._known) <= fields._KNOWN_LIMIT
    assert fields.safe([(b"never-seen-before", b"1")]) == [(b"never-seen-before", b"1")]


@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12)), max_size=6))
def test_nothing_unsafe_gets_through(headers: Headers) -> None:
    try:
        kept = fields.safe(headers)
    except MalformedFieldError:
        return
    for name, value in kept:
        assert name == name.lower()
        assert name not in fields.CONNECTION_SPECIFIC
        assert not set(value) & {0, 10, 13}
        assert not set(name) & set(b"\0\r\n ")

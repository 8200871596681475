from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import headers as h
from wire.errors import HeaderError

names = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789-_.", min_size=1).map(str.encode)
values = st.binary().filter(h.valid_value)


@given(st.lists(st.tuples(names, values)))
def test_serialised_headers_come_back(fields: h.Headers) -> None:
    assert h.parse_serialized_headers(h.serialize_headers(fields)) == fields


def test_the_form_on_the_wire() -> None:
    text = h.serialize_headers([(b"set-cookie", b"a=1"), (b"set-cookie", b"b")])
    name = base64.b64encode(b"set-cookie").rstrip(b"=")
    assert text == name + b":YT0x;" + name + b":Yg"
    assert h.serialize_headers([]) == b""
    assert h.parse_serialized_headers(b"") == []


def test_canonical_names_of_other_connectors_are_lowered() -> None:
    text = base64.b64encode(b"Content-Type").rstrip(b"=") + b":" + base64.b64encode(b"text/css")
    assert h.parse_serialized_headers(text) == [(b"content-type", b"text/css")]


@pytest.mark.parametrize(
    "text",
    [
        b"x",
        b"YQ:Yg;",
        b"YQ:Y",
        b"YQ:@@@@",
        b":YQ",
        base64.b64encode(b"a b") + b":",
        base64.b64encode(b"a") + b":" + base64.b64encode(b"x\r\nSet-Cookie: y"),
        base64.b64encode(b":status") + b":" + base64.b64encode(b"200"),
    ],
)
def test_malformed_serialised_headers(text: bytes) -> None:
    with pytest.raises(HeaderError):
        h.parse_serialized_headers(text)


@given(st.binary())
def test_any_bytes_give_headers_or_the_named_error(text: bytes) -> None:
    for parse in (h.parse_serialized_headers, h.parse_meta):
        try:
            parse(text)
        except HeaderError:
            continue


def test_meta() -> None:
    assert h.META_ORIGIN.encode() == b'{"src":"origin"}'
    limited = h.parse_meta(b'{"src":"cloudflared","flow_rate_limited":true,"later":[1]}')
    assert limited.flow_rate_limited
    assert not limited.from_origin
    timed = h.ResponseMeta("origin", origin_ms=1.25)
    assert timed.encode() == b'{"src":"origin","origin_ms":1.25}'
    assert h.parse_meta(timed.encode()) == timed


def test_hop_by_hop_fields_go_and_those_connection_names() -> None:
    fields = [
        (b":method", b"GET"),
        (b"connection", b"Keep-Alive, X-Private , upgrade"),
        (b"keep-alive", b"timeout=5"),
        (b"x-private", b"1"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"h2c"),
        (b"te", b"gzip, trailers"),
        (b"trailer", b"x-sum"),
        (b"accept", b"*/*"),
    ]
    assert h.strip_hop_by_hop(fields) == [
        (b":method", b"GET"),
        (b"te", b"trailers"),
        (b"trailer", b"x-sum"),
        (b"accept", b"*/*"),
    ]


def test_connection_cannot_remove_what_frames_a_message() -> None:
    fields = [(b"connection", b"content-length, host, te"), (b"content-length", b"3")]
    assert h.strip_hop_by_hop(fields) == [(b"content-length", b"3")]
    assert h.strip_hop_by_hop([(b"te", b"gzip")]) == []
    both = [(b"connection", b"te"), (b"te", b"trailers")]
    assert h.strip_hop_by_hop(both) == [(b"te", b"trailers")]


def test_forged_and_internal_fields() -> None:
    sent = [
        (b"cf-connecting-ip", b"1.2.3.4"),
        (b"x-forwarded-for", b"1.2.3.4"),
        (b"cf-cloudflared-proxy-src", b"x"),
        (b"cf_connecting_ip", b"1.2.3.4"),
        (b"popnet_route", b"x"),
        (b"cdn-loop", b"cloudflare"),
        (b"cookie", b"a"),
    ]
    assert h.drop_forged(sent) == [(b"cdn-loop", b"cloudflare"), (b"cookie", b"a")]
    assert h.drop_internal([(b"cf-int-x", b""), (b"cf-ray", b"y")]) == [(b"cf-ray", b"y")]


def test_clean_drops_what_an_engine_would_choke_on() -> None:
    fields = [
        (b":status", b"200"),
        (b"Server", b" nginx\t"),
        (b"x-bad", b"a\r\nb: c"),
        (b"x bad", b"1"),
        (b"", b"1"),
        (b"x-obs", b"caf\xe9"),
    ]
    assert h.clean(fields) == [(b":status", b"200"), (b"server", b"nginx"), (b"x-obs", b"caf\xe9")]
    assert h.get(fields, b"server") is None
    assert h.get(h.clean(fields), b"server") == b"nginx"


def test_valid_value() -> None:
    assert all(map(h.valid_value, (b"", b"a b", b"a\tb", b"\xff")))
    assert not any(map(h.valid_value, (b" a", b"a\t", b"a\nb", b"\x00", b"\x7f")))
    assert h.valid_name(b"x-a")
    assert not h.valid_name(b"X-a")
    assert h.valid_method(b"M-SEARCH")
    assert not h.valid_method(b"GET /")

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel_client.core import heads
from tunnel_client.core.heads import Kind
from wire import headers as h
from wire.headers import Headers

CONNECTOR = UUID("6ff42ae2-765d-4adf-8112-31c55c1551ef")
EXTRA = heads.connector_fields(CONNECTOR, [("Site", "dublin")])
HEAD: Headers = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"app.example.com"),
    (b":path", b"/a?b"),
]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ([], Kind.HTTP),
        ([(h.UPGRADE, b"websocket")], Kind.WEBSOCKET),
        ([(h.UPGRADE, b"control-stream")], Kind.CONTROL),
        ([(h.UPGRADE, b"update-configuration")], Kind.CONFIGURATION),
        ([(h.UPGRADE, b"something")], Kind.HTTP),
        ([(h.PROXY_SOURCE, b"192.0.2.1")], Kind.TCP),
        ([(h.PROXY_SOURCE, b"")], Kind.HTTP),
        ([(h.PROXY_SOURCE, b"x"), (h.UPGRADE, b"control-stream")], Kind.TCP),
        ([(h.PROXY_SOURCE, b"x"), (h.UPGRADE, b"websocket")], Kind.WEBSOCKET),
    ],
)
def test_kinds(fields: Headers, kind: Kind) -> None:
    assert heads.kind_of([*HEAD, *fields]) is kind


def test_targets() -> None:
    assert heads.target_of(HEAD) == heads.Target(b"GET", "app.example.com", "/a?b")
    by_host = [field for field in HEAD if field[0] != b":authority"] + [(b"host", b"h")]
    target = heads.target_of(by_host)
    assert target is not None
    assert target.authority == "h"
    assert heads.target_of(HEAD[:3]) is None
    assert heads.target_of([*HEAD[:3], (b":path", b"x")]) is None
    assert heads.path_only("/a?b#c") == "/a"


def test_a_request_head_for_the_origin() -> None:
    sent = [
        *HEAD,
        (b"accept", b"*/*"),
        (b"te", b"trailers"),
        (b"expect", b"100-continue"),
        (b"cf-cloudflared-proxy-connection-upgrade", b"x"),
        (b"keep-alive", b"1"),
    ]
    head = heads.origin_request_head(sent, scheme=b"http", extra=EXTRA)
    assert head == [
        (b":method", b"GET"),
        (b":path", b"/a?b"),
        (b":scheme", b"http"),
        (b":authority", b"app.example.com"),
        (b"accept", b"*/*"),
        (b"te", b"trailers"),
        (b"cf-warp-tag-id", str(CONNECTOR).encode()),
        (b"cf-warp-tag-site", b"dublin"),
    ]


def test_another_host_for_the_origin() -> None:
    sent = [*HEAD, (b"x-forwarded-host", b"forged")]
    head = heads.origin_request_head(sent, scheme=b"http", extra=[], host="inner")
    assert h.get(head, b":authority") == b"inner"
    assert [v for n, v in head if n == b"x-forwarded-host"] == [b"app.example.com"]


def test_a_websocket_for_the_origin() -> None:
    sent = [*HEAD, (b"sec-websocket-key", b"k"), (b"sec-websocket-version", b"8")]
    head = heads.origin_request_head(sent, scheme=b"http", extra=[], websocket=True)
    assert (b"upgrade", b"websocket") in head
    assert [v for n, v in head if n == b"sec-websocket-version"] == [b"13"]
    assert h.get(head, b"sec-websocket-key") == b"k"


def test_a_response_head_for_the_edge() -> None:
    given_head = [
        (b":status", b"200"),
        (b"content-length", b"5"),
        (b"server", b"x"),
        (b"cf-int-a", b"1"),
        (b"cf-ray", b"mine"),
        (b"transfer-encoding", b"chunked"),
        (b"x-bad", b"a\nb"),
    ]
    head = heads.edge_response_head(given_head, h.META_ORIGIN)
    assert [name for name, _ in head] == [
        b":status",
        h.RESPONSE_HEADERS,
        h.RESPONSE_META,
        b"content-length",
    ]
    fields = h.parse_serialized_headers(head[1][1])
    assert fields == [(b"content-length", b"5"), (b"server", b"x"), (b"cf-ray", b"mine")]


def test_an_upgrade_for_the_edge() -> None:
    given_head = [(b":status", b"101"), (b"sec-websocket-accept", b"a"), (b"upgrade", b"websocket")]
    head = heads.edge_response_head(given_head, h.META_ORIGIN)
    assert head[0] == (b":status", b"200")
    assert h.parse_serialized_headers(head[1][1]) == [
        (b"connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-accept", b"a"),
    ]


def test_answers_of_our_own() -> None:
    head = heads.failure_head(502, "origin refused")
    assert head[0] == (b":status", b"502")
    meta = h.parse_meta(h.get(head, h.RESPONSE_META) or b"")
    assert (meta.src, meta.popnet_reason) == ("cloudflared", "origin refused")
    assert h.get(head, b"content-length") == b"0"


names = st.sampled_from(
    [
        b"accept",
        b"X-Mixed",
        b"connection",
        b"te",
        b"keep-alive",
        b"cf-int-x",
        b"x y",
        b"x-a",
        b"upgrade",
    ]
)
values = st.sampled_from(
    [b"", b" a ", b"x-a", b"te, accept", b"trailers", b"gzip", b"a\r\nb", b"close", b"\xff"]
)


@given(st.lists(st.tuples(names, values), max_size=8))
def test_one_pass_gives_what_the_three_give(fields: Headers) -> None:
    one = h.end_to_end([(b":status", b"200"), *fields])
    assert one == h.drop_internal(h.strip_hop_by_hop(h.clean(fields)))

"""What a visitor's request becomes, and which requests go no further."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pops.core.ingress import MOST_PASSES, Headers, Ingress, Refusal, Request, Visitor
from wire.http2 import fields

HOST, OTHER = "app.example.com", "www.example.com"
VISITOR = Visitor.of("203.0.113.9", "https", HOST, "JP")
NO_SNI = Visitor.of("203.0.113.9", "https", None, "JP")


def ingress(**limits: int) -> Ingress:
    bounds = {"body_limit": 1000, "header_limit": 4000, **limits}
    return Ingress("NRT", {HOST: "tunnel-1", OTHER: "tunnel-2"}, random.Random(1), **bounds)


def head(
    *extra: tuple[str, str],
    method: str = "GET",
    host: str = HOST,
    path: str = "/a?b=%20c",
) -> Headers:
    pseudo = [(":method", method), (":scheme", "https"), (":authority", host), (":path", path)]
    return [(name.encode(), value.encode("latin-1")) for name, value in [*pseudo, *extra]]


def accepted(headers: Headers, visitor: Visitor = VISITOR) -> Request:
    result = ingress().understand(headers, visitor)
    assert isinstance(result, Request), result
    return result


def refused(headers: Headers, visitor: Visitor = VISITOR, **limits: int) -> tuple[int, str]:
    result = ingress(**limits).understand(headers, visitor)
    assert isinstance(result, Refusal), result
    return result.problem.status, result.problem.code


def values(request: Request, name: str) -> list[str]:
    return [v.decode() for n, v in request.headers if n == name.encode()]


def test_what_the_edge_says_of_a_visitor() -> None:
    request = accepted(head(("user-agent", "curl")))
    assert values(request, "cf-connecting-ip") == ["203.0.113.9"]
    assert values(request, "x-forwarded-for") == ["203.0.113.9"]
    assert values(request, "x-forwarded-proto") == ["https"]
    assert values(request, "cf-visitor") == ['{"scheme":"https"}']
    assert values(request, "cf-ipcountry") == ["JP"]
    assert values(request, "cf-ray") == [f"{request.ray}-NRT"]
    assert values(request, "cdn-loop") == ["popnet"]
    assert values(request, "user-agent") == ["curl"]
    assert values(request, ":path") == ["/a?b=%20c"]
    assert request.tunnel == "tunnel-1"


def test_pseudo_fields_come_first() -> None:
    names = [name for name, _ in accepted(head(("accept", "*/*"))).headers]
    assert all(name.startswith(b":") for name in names[:4])
    assert not any(name.startswith(b":") for name in names[4:])


def test_forged_fields_are_dropped_and_said_truly() -> None:
    request = accepted(
        head(
            ("cf-connecting-ip", "6.6.6.6"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-host", "evil"),
            ("cf-cloudflared-proxy-connection-upgrade", "control-stream"),
            ("cf-ray", "forged"),
            ("popnet-route", "forged"),
            ("x-popnet-anything", "forged"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
        )
    )
    text = repr(request.headers)
    assert "6.6.6.6" not in text
    assert "forged" not in text
    assert "evil" not in text
    assert "control-stream" not in text


@pytest.mark.parametrize(
    "name",
    [
        "cf_connecting_ip",
        "cf_connecting-ip",
        "x_forwarded_for",
        "x-forwarded_for",
        "x_real_ip",
        "true_client_ip",
        "cf_cloudflared_proxy_connection_upgrade",
        "popnet_route",
        "x_popnet_anything",
        "cdn_loop",
        "transfer_encoding",
        "proxy_authorization",
        "content_length",
    ],
)
def test_underscores_do_not_carry_a_forged_field_past(name: str) -> None:
    request = accepted(head((name, "6.6.6.6"), ("x_mine", "yes"), ("_", "1")))
    assert "6.6.6.6" not in repr(request.headers)
    assert values(request, "x_mine") == ["yes"]
    assert values(request, "_") == ["1"]


def test_hop_by_hop_fields_end_here_except_te_trailers() -> None:
    request = accepted(
        head(
            ("te", "trailers, deflate"),
            ("keep-alive", "5"),
            ("proxy-authorization", "x"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
        )
    )
    assert values(request, "te") == ["trailers"]
    assert request.expects_continue
    names = {name for name, _ in request.headers}
    assert names.isdisjoint(
        {b"keep-alive", b"proxy-authorization", b"transfer-encoding", b"expect"}
    )
    assert values(accepted(head(("te", "gzip"))), "te") == []


def test_accept_encoding_is_never_left_to_the_connector() -> None:
    assert values(accepted(head()), "accept-encoding") == ["identity"]
    assert values(accepted(head(("accept-encoding", "br"))), "accept-encoding") == ["br"]


def test_cookies_in_pieces_stay_in_order() -> None:
    assert values(accepted(head(("cookie", "a=1"), ("cookie", "b=2"))), "cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize(
    "host", ["app.example.com", "APP.Example.com", "app.example.com:8443", "app.example.com."]
)
def test_a_host_is_found_however_it_is_written(host: str) -> None:
    request = accepted(head(host=host), NO_SNI)
    assert request.host == HOST
    assert values(request, ":authority") == [host]


def test_unknown_hosts() -> None:
    assert refused(head(host="nope.example.com"), NO_SNI) == (404, "unknown-host")
    assert refused(head(host="nope.example.com")) == (421, "misdirected")
    assert refused(head(host="")) == (400, "bad-request")
    fronted = Visitor.of("203.0.113.9", "https", "nope.example.com", "JP")
    assert refused(head(), fronted) == (421, "misdirected")


def test_hosts_of_one_certificate_may_share_a_connection() -> None:
    assert accepted(head(host=OTHER)).tunnel == "tunnel-2"


def test_host_and_authority_must_agree() -> None:
    assert refused(head(("host", OTHER))) == (400, "bad-request")
    assert accepted(head(("host", HOST))).host == HOST


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (head(method="CONNECT"), (405, "method")),
        (head(method="TRACE"), (405, "method")),
        (head(path=""), (400, "bad-request")),
        (head(path="http://other/"), (400, "bad-request")),
        (head(path="*"), (400, "bad-request")),
        (head(("content-length", "1001"), method="POST"), (413, "body-too-large")),
        (head(("x-long", "a" * 4000)), (431, "headers-too-large")),
        (head(("cdn-loop", ", ".join(["popnet"] * MOST_PASSES))), (508, "loop")),
    ],
)
def test_what_goes_no_further(headers: Headers, expected: tuple[int, str]) -> None:
    assert refused(headers) == expected


def test_options_star_is_fine() -> None:
    assert values(accepted(head(method="OPTIONS", path="*")), ":path") == ["*"]


def test_loops_are_counted_not_forgotten() -> None:
    request = accepted(head(("cdn-loop", "other; x=1"), ("cdn-loop", "popnet")))
    assert values(request, "cdn-loop") == ["other; x=1, popnet, popnet"]


def test_websocket_in_both_dialects() -> None:
    old = accepted(head(("upgrade", "WebSocket"), ("sec-websocket-key", "k")))
    assert old.websocket
    new = accepted([*head(method="CONNECT"), (b":protocol", b"websocket")])
    assert new.websocket
    for request in (old, new):
        assert values(request, ":method") == ["GET"]
        assert values(request, "cf-cloudflared-proxy-connection-upgrade") == ["websocket"]
        assert values(request, "upgrade") == []
    other = accepted(head(("upgrade", "h2c")))
    assert (other.websocket, other.offers_upgrade) == (False, True)


def test_idempotent_methods() -> None:
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
        assert accepted(head(method=method)).idempotent
    for method in ("POST", "PATCH", "BREW"):
        assert not accepted(head(method=method)).idempotent


def test_rays_follow_from_the_seed_and_differ() -> None:
    first, second = ingress(), ingress()
    rays = [first.new_ray() for _ in range(3)]
    assert rays == [second.new_ray() for _ in range(3)]
    assert len(set(rays)) == 3
    assert all(len(ray) == 16 for ray in rays)


def test_addresses_of_ipv4_on_ipv6_sockets() -> None:
    assert Visitor.of("::ffff:10.0.0.1", "http", None, "XX").address == "10.0.0.1"
    assert Visitor.of("fe80::1%eth0", "http", None, "XX").address == "fe80::1"


NAMES = st.sampled_from(
    ["accept", "cookie", "cf-ray", "x-forwarded-for", "te", "host", "upgrade", "content-length",
     "cdn-loop", "expect", "popnet-route", "x-own", "connection", "cf-cloudflared-x"]
)  # fmt: skip
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=12))
def test_whatever_comes_what_leaves_is_clean(extra: list[tuple[str, str]]) -> None:
    result = ingress().understand(head(*extra), VISITOR)
    if isinstance(result, Refusal):
        assert 400 <= result.problem.status < 600
        return
    assert fields.safe(result.headers) == result.headers
    edge = [(n, v) for n, v in result.headers if n in (b"x-forwarded-for", b"cf-connecting-ip")]
    assert edge == [(b"cf-connecting-ip", b"203.0.113.9"), (b"x-forwarded-for", b"203.0.113.9")]
    assert not any(n.startswith(b"popnet-") for n, _ in result.headers)
    marks = [v for n, v in result.headers if n.startswith(b"cf-cloudflared-")]
    assert marks == ([b"websocket"] if result.websocket else [])

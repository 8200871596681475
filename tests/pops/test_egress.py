"""What a connector's answer means."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pops.core.egress import Headers, Response, understand
from wire.headers import RESPONSE_HEADERS, RESPONSE_META, serialize_headers
from wire.overlay import Fault, FaultCode

OUTER: Headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"date", b"outer")]


def answer(
    status: int,
    fields: list[tuple[bytes, bytes]] | None = None,
    meta: bytes | None = b'{"src":"origin"}',
    *outer: tuple[bytes, bytes],
) -> Headers:
    headers: Headers = [(b":status", b"%d" % status), *OUTER, *outer]
    if fields is not None:
        headers.append((RESPONSE_HEADERS, serialize_headers(fields)))
    if meta is not None:
        headers.append((RESPONSE_META, meta))
    return headers


def good(headers: Headers, *, websocket: bool = False) -> Response:
    result = understand(headers, "LHR", websocket=websocket)
    assert isinstance(result, Response), result
    return result


def bad(headers: Headers) -> tuple[FaultCode, str]:
    result = understand(headers, "LHR", websocket=False)
    assert isinstance(result, Fault), result
    assert result.pop == "LHR"
    return result.code, result.detail


def test_the_origins_fields_and_only_those() -> None:
    cookies = [(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")]
    got = good(answer(201, [(b"Content-Type", b"image/png"), *cookies]))
    assert got.status == b"201"
    assert got.headers == [
        (b"content-type", b"image/png"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
    ]


def test_an_origin_without_a_type_stays_without() -> None:
    assert good(answer(200, [])).headers == []


def test_an_origin_cannot_speak_for_the_edge() -> None:
    fields = [
        (b"CF-Ray", b"x"),
        (b"Popnet-Path", b"x"),
        (b"Cf-Cloudflared-Response-Meta", b"x"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Connection", b"close"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Server", b"kept"),
    ]
    assert good(answer(200, fields)).headers == [(b"server", b"kept")]


def test_an_error_of_the_origin_is_the_origins() -> None:
    assert good(answer(502, [(b"server", b"nginx")])).status == b"502"
    assert good(answer(503, [], b'{"src":"cloudflared"}')).status == b"503"


def test_an_error_of_the_connector_is_a_fault() -> None:
    assert bad(answer(502, [], b'{"src":"cloudflared"}'))[0] is FaultCode.ORIGIN
    reason = b'{"src":"cloudflared","popnet_reason":"connection refused"}'
    assert bad(answer(502, [], reason)) == (FaultCode.ORIGIN, "connection refused")
    assert bad(answer(504, [], b'{"src":"cloudflared"}'))[0] is FaultCode.TIMEOUT


def test_below_the_connectors_own_code() -> None:
    got = good(answer(400, None, None, (b"x-content-type-options", b"nosniff")))
    assert (got.status, got.headers) == (b"400", [(b"x-content-type-options", b"nosniff")])
    assert bad(answer(500, None, None))[0] is FaultCode.TUNNEL_PROTOCOL


def test_nonsense_is_a_fault() -> None:
    for headers in (
        [(b":status", b"200"), (RESPONSE_HEADERS, b"!!")],
        [(b":status", b"200"), (RESPONSE_HEADERS, serialize_headers([(b"a", b"x\r\ny")]))],
        [(b":status", b"200"), (RESPONSE_META, b"{")],
    ):
        assert bad(headers)[0] is FaultCode.TUNNEL_PROTOCOL


def test_the_origins_time() -> None:
    assert good(answer(200, [], b'{"src":"origin","origin_ms":12.5}')).origin_s == 0.0125
    assert good(answer(200, [])).origin_s is None


def test_a_websocket_is_accepted_by_its_key() -> None:
    accept = [
        (b"Sec-Websocket-Accept", b"k"),
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
    ]
    got = good(answer(200, accept), websocket=True)
    assert got.switching
    assert got.headers == [(b"sec-websocket-accept", b"k")]
    assert not good(answer(200, []), websocket=True).switching
    assert not good(answer(403, accept), websocket=True).switching
    assert not good(answer(200, accept)).switching


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_no_bytes_break_it(fields: bytes, meta: bytes) -> None:
    understand(
        [(b":status", b"200"), (RESPONSE_HEADERS, fields), (RESPONSE_META, meta)],
        "LHR",
        websocket=False,
    )

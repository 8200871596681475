"""What clients of the proxy say first: SOCKS5 and HTTP, whole and in pieces, right and wrong."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.gateway.handshake import (
    LONGEST_HEAD,
    Dial,
    Effect,
    Handshake,
    Phase,
    Refuse,
    Reply,
    UnknownCityError,
    Why,
)

CITIES = ("tokyo", "london")


def city_of(name: str | None) -> str:
    if name is None:
        return "london"
    if name not in CITIES:
        raise UnknownCityError(f"no visitor {name!r}; known: tokyo, london")
    return name


def socks(user: bytes | None, request: bytes) -> bytes:
    if user is None:
        return b"\x05\x01\x00" + request
    return b"\x05\x02\x00\x02" + bytes((1, len(user))) + user + b"\x01x" + request


def connect(host: bytes, port: int = 443) -> bytes:
    return b"\x05\x01\x00\x03" + bytes((len(host),)) + host + port.to_bytes(2, "big")


def basic(user: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:x".encode()).decode()


def talk(data: bytes) -> tuple[Handshake, list[Effect]]:
    handshake = Handshake(city_of)
    return handshake, handshake.feed(data)


def refusal(effects: list[Effect]) -> Refuse:
    last = effects[-1]
    assert isinstance(last, Refuse)
    return last


def test_the_user_of_socks5_is_the_city() -> None:
    handshake, effects = talk(socks(b"tokyo", connect(b"app.example.com")))
    assert effects == [
        Reply(b"\x05\x02"),
        Reply(b"\x01\x00"),
        Dial("tokyo", "app.example.com", 443),
    ]
    assert handshake.dialled() == (b"\x05\x00\x00\x01" + bytes(6), b"")


def test_without_a_user_it_is_the_default() -> None:
    _, effects = talk(socks(None, connect(b"NRT", 80)))
    assert effects == [Reply(b"\x05\x00"), Dial("london", "NRT", 80)]


@pytest.mark.parametrize(
    ("address", "host"),
    [
        (b"\x01\xc6\x12\x00\x01", "198.18.0.1"),
        (b"\x04" + bytes(15) + b"\x01", "::1"),
    ],
)
def test_addresses_of_socks5(address: bytes, host: str) -> None:
    _, effects = talk(socks(None, b"\x05\x01\x00" + address + b"\x00\x50"))
    assert effects[-1] == Dial("london", host, 80)


def test_an_unknown_city_of_socks5_may_not_log_in() -> None:
    handshake, effects = talk(socks(b"tokio", connect(b"app.example.com")))
    assert refusal(effects).data == b"\x01\x01"
    assert "known: tokyo, london" in refusal(effects).why
    assert handshake.phase is Phase.FAILED
    assert handshake.feed(b"more") == []


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (b"\x05\x02\x00\x03\x01a\x00\x50", 7),  # BIND
        (b"\x05\x03\x00\x03\x01a\x00\x50", 7),  # UDP ASSOCIATE
        (b"\x05\x01\x00\x09\x01a\x00\x50", 8),  # no such kind of address
    ],
)
def test_what_socks5_cannot_do_here(request_bytes: bytes, code: int) -> None:
    _, effects = talk(socks(None, request_bytes))
    assert refusal(effects).data[:2] == bytes((5, code))


def test_no_common_way_to_log_in() -> None:
    _, effects = talk(b"\x05\x01\x01")
    assert refusal(effects).data == b"\x05\xff"


@pytest.mark.parametrize(
    ("why", "code"), [(Why.REFUSED, 5), (Why.NAME, 4), (Why.TIMEOUT, 6), (Why.GONE, 1)]
)
def test_a_failed_dial_has_its_reply_code(why: Why, code: int) -> None:
    handshake, _ = talk(socks(None, connect(b"a")))
    assert handshake.failed(why, "text").data == bytes((5, code, 0, 1)) + bytes(6)


def test_connect_of_http() -> None:
    head = f"CONNECT app.example.com:443 HTTP/1.1\r\nProxy-Authorization: {basic('tokyo')}\r\n\r\n"
    handshake, effects = talk(head.encode() + b"\x16\x03\x01")
    assert effects == [Dial("tokyo", "app.example.com", 443)]
    told, first = handshake.dialled()
    assert told.startswith(b"HTTP/1.1 200 ")
    assert first == b"\x16\x03\x01"


def test_plain_http_goes_on_in_origin_form() -> None:
    head = (
        b"POST http://app.example.com:8080/a?b=c#d HTTP/1.1\r\nHost: other.example\r\n"
        b"Proxy-Connection: keep-alive\r\nConnection: keep-alive\r\nContent-Length: 2\r\n"
        b"Proxy-Authorization: " + basic("tokyo").encode() + b"\r\nX-Own: 1\r\n\r\nhi"
    )
    handshake, effects = talk(head)
    assert effects == [Dial("tokyo", "app.example.com", 8080)]
    assert handshake.dialled() == (
        b"",
        b"POST /a?b=c HTTP/1.1\r\nHost: app.example.com:8080\r\nContent-Length: 2\r\nX-Own: 1\r\n"
        b"Connection: close\r\n\r\nhi",
    )


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://a", b"/"),
        (b"http://a/", b"/"),
        (b"http://a?x=1", b"/?x=1"),
        (b"http://u:p@a/y//z", b"/y//z"),
    ],
)
def test_targets_without_a_path_get_one(target: bytes, path: bytes) -> None:
    handshake, _ = talk(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert handshake.dialled()[1].startswith(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n")


def test_an_upgrade_stays_one() -> None:
    handshake, _ = talk(
        b"GET http://a/ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    first = handshake.dialled()[1]
    assert b"Connection: Upgrade\r\n" in first
    assert b"Upgrade: websocket\r\n" in first
    assert b"close" not in first


@pytest.mark.parametrize(
    ("data", "status", "says"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "this port is a proxy"),
        (b"GET https://a/ HTTP/1.1\r\n\r\n", 400, "this port is a proxy"),
        (b"CONNECT :443 HTTP/1.1\r\n\r\n", 400, "no host"),
        (b"CONNECT a:99999 HTTP/1.1\r\n\r\n", 400, "no host"),
        (b"HELO example\r\n\r\n", 400, "neither"),
        (b"\x04\x01\x00\x50", 400, "neither"),
        (b"G" * (LONGEST_HEAD + 1), 400, "too large"),
    ],
)
def test_what_is_no_request_of_a_proxy(data: bytes, status: int, says: str) -> None:
    _, effects = talk(data)
    assert refusal(effects).data.startswith(b"HTTP/1.1 %d " % status)
    assert says.encode() in refusal(effects).data


def test_an_unknown_city_of_http_is_told_the_known_ones() -> None:
    head = f"CONNECT a:443 HTTP/1.1\r\nProxy-Authorization: {basic('tokio')}\r\n\r\n"
    _, effects = talk(head.encode())
    status_line = refusal(effects).data.partition(b"\r\n")[0]
    assert status_line == b"HTTP/1.1 403 no visitor 'tokio'; known: tokyo, london"


@pytest.mark.parametrize("value", ["Basic !!!", "Bearer abc", "Basic " + "Og=="])
def test_credentials_that_name_nobody(value: str) -> None:
    _, effects = talk(f"CONNECT a:443 HTTP/1.1\r\nProxy-Authorization: {value}\r\n\r\n".encode())
    assert effects == [Dial("london", "a", 443)]


CONVERSATIONS = [
    socks(b"tokyo", connect(b"app.example.com")) + b"rest",
    socks(None, b"\x05\x01\x00\x01\xc6\x12\x00\x01\x00\x50") + b"rest",
    b"CONNECT app.example.com:443 HTTP/1.1\r\n\r\nrest",
    b"GET http://app.example.com/ HTTP/1.1\r\nHost: x\r\n\r\nrest",
]


@given(st.sampled_from(CONVERSATIONS), st.data())
def test_pieces_are_as_good_as_the_whole(whole: bytes, data: st.DataObject) -> None:
    """A client's bytes come as the network cuts them."""
    expected, effects = talk(whole)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    handshake = Handshake(city_of)
    got: list[Effect] = []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        got += handshake.feed(whole[start:end])
    assert got == effects
    assert handshake.dialled() == expected.dialled()


@given(st.binary(max_size=300))
def test_whatever_comes_there_is_an_end(data: bytes) -> None:
    handshake, effects = talk(data)
    assert len(effects) <= 3
    if handshake.phase is Phase.FAILED:
        assert isinstance(effects[-1], Refuse)

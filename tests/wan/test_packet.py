"""Reading and forging IPv4: arithmetic checked against the slow way, and nothing that any bytes can break."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan import packet

A, B, R = (packet.pack_address(text) for text in ("100.64.0.1", "100.65.0.2", "198.19.0.1"))


def ip(
    protocol: int = 17,
    body: bytes = bytes(40),
    *,
    ttl: int = 64,
    flags: int = 0,
    ident: int = 1,
    options: bytes = b"",
) -> bytes:
    length = 20 + len(options)
    front = (
        struct.pack(
            "!BBHHHBBH4s4s",
            0x40 | length // 4,
            0,
            length + len(body),
            ident,
            flags,
            ttl,
            protocol,
            0,
            A,
            B,
        )
        + options
    )
    return front[:10] + packet.checksum(front).to_bytes(2) + front[12:] + body


def sound(data: bytes) -> bool:
    """A header whose checksum is right sums up to zero."""
    return packet.checksum(bytes(data[: (data[0] & 15) * 4])) == 0


@given(st.integers(3, 255), st.integers(0, 65535), st.integers(0, 65535), st.integers(1, 2))
def test_forwarding_keeps_the_checksum_right(ttl: int, ident: int, ports: int, hops: int) -> None:
    before = ip(ttl=ttl, ident=ident, flags=ports & 0x4000)
    after = packet.forward(before, hops)
    assert after[8] == ttl - hops
    assert sound(after)
    assert (after[:8], after[12:]) == (before[:8], before[12:])


def test_every_checksum_survives_forwarding() -> None:
    # All 65536 values of a header field, so that each carry happens.
    for ident in range(65536):
        assert sound(packet.forward(ip(ident=ident, body=b""), 2))


def test_glance_knows_whole_tcp_and_udp_and_nothing_else() -> None:
    assert packet.glance(ip(17)) is not None
    assert packet.glance(ip(6)) is not None
    assert packet.glance(ip(1)) is None
    assert packet.glance(ip(47)) is None
    assert packet.glance(ip(17, flags=0x2000)) is None
    assert packet.glance(ip(17, flags=0x0001)) is None
    assert packet.glance(ip(17, options=b"\1\1\1\1")) is None


@given(st.sampled_from([6, 17]), st.integers(0, 65535), st.integers(0, 65535))
def test_glance_and_parse_agree(protocol: int, source: int, destination: int) -> None:
    data = ip(protocol, struct.pack("!HH", source, destination) + bytes(36))
    header = packet.parse(data)
    assert isinstance(header, packet.Header)
    assert packet.glance(data) == header.key
    assert packet.protocol_of(header.key) == protocol
    assert packet.addresses_of(header.key) == (A, B)


def test_keys_of_different_protocols_differ() -> None:
    keys = {packet.parse(ip(protocol, bytes(40))).key for protocol in (1, 6, 17, 47)}  # type: ignore[union-attr]
    assert len(keys) == 4


@given(st.binary(max_size=80))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    packet.glance(data)
    header = packet.parse(data)
    assert isinstance(header, str | packet.Header)


@given(
    st.binary(max_size=100), st.integers(0, 255), st.integers(0, 65535), st.sampled_from([5, 6, 15])
)
def test_no_body_breaks_the_parser(body: bytes, protocol: int, flags: int, words: int) -> None:
    data = ip(protocol, body, flags=flags, options=bytes(words * 4 - 20))
    header = packet.parse(data)
    assert isinstance(header, str | packet.Header)
    assert packet.echo_reply(data) is None or protocol == packet.ICMP


def test_quiet_and_loud_nonsense() -> None:
    solicitation = b"\x60" + bytes(5) + b"\x3a\xff" + bytes(16) + b"\xff\x02" + bytes(14) + bytes(8)
    assert packet.parse(solicitation) == ""
    assert packet.parse(b"\x60" + bytes(60)) == "ipv6"
    assert packet.parse(b"") == "malformed"
    assert packet.parse(ip()[:-1]) == "malformed"
    multicast = ip()
    assert packet.parse(multicast[:16] + b"\xe0\0\0\1" + multicast[20:]) == ""


def test_service_is_never_an_ephemeral_port() -> None:
    def service(*ports: int) -> int:
        return packet.service_of(A + B + struct.pack("!HH", *ports))

    assert service(40000, 443) == service(443, 40000) == service(59999, 443) == 443
    assert service(40000, 33434) == 33434
    assert packet.service_of(A + B + struct.pack("!HH", 0x0800, 77) + b"\1") == 0


def test_echo_and_reply_are_one_conversation() -> None:
    def echo(kind: int) -> packet.Header:
        header = packet.parse(ip(1, struct.pack("!BBHHH", kind, 0, 0, 77, 1) + bytes(8)))
        assert isinstance(header, packet.Header)
        return header

    assert packet.reverse(echo(8).key)[8:] == echo(0).key[8:]
    assert packet.reverse(packet.reverse(echo(8).key)) == echo(8).key


@pytest.mark.parametrize(
    ("forge", "kind", "code", "rest"),
    [
        (lambda data: packet.time_exceeded(R, data), 11, 0, 0),
        (lambda data: packet.unreachable(R, data, packet.HOST_UNREACHABLE), 3, 1, 0),
        (lambda data: packet.too_big(R, data, 1280), 3, 4, 1280),
    ],
)
def test_errors_quote_the_packet_and_name_its_flow(forge, kind: int, code: int, rest: int) -> None:  # type: ignore[no-untyped-def]
    data = ip(17, struct.pack("!HH", 40000, 53) + bytes(1400))
    error = forge(data)
    header = packet.parse(error)
    assert isinstance(header, packet.Header)
    assert sound(error)
    assert (header.source, header.destination, header.protocol) == (R, A, packet.ICMP)
    assert packet.checksum(error[20:]) == 0
    assert (error[20], error[21], int.from_bytes(error[24:28])) == (kind, code, rest)
    assert len(error) <= 576
    assert error[28:] == data[: len(error) - 28]
    assert header.quoted == packet.glance(data)
    assert not header.answerable


def test_echo_reply_swaps_and_keeps_the_payload() -> None:
    request = ip(1, struct.pack("!BBHHH", 8, 0, 0, 77, 3) + b"abcdefgh")
    reply = packet.echo_reply(request)
    assert reply is not None
    assert (reply[12:16], reply[16:20], reply[20]) == (B, A, 0)
    assert reply[24:] == request[24:]
    assert packet.checksum(reply[20:]) == 0
    assert sound(reply)


@given(
    st.integers(68, 1500), st.integers(1, 4000), st.sampled_from([b"", b"\1\1\1\1"]), st.booleans()
)
def test_fragments_put_together_are_the_packet(
    mtu: int, size: int, options: bytes, more: bool
) -> None:
    body = bytes(n % 251 for n in range(size))
    flags = 0x2000 | 64 if more else 0
    data = ip(17, body, flags=flags, options=options)
    length = 20 + len(options)
    whole, last = b"", 0
    for piece in packet.fragments(data, mtu):
        assert len(piece) <= mtu
        assert int.from_bytes(piece[2:4]) == len(piece)
        assert sound(piece)
        last = int.from_bytes(piece[6:8])
        assert (last & 0x1FFF) * 8 == len(whole) + (flags & 0x1FFF) * 8
        whole += piece[length:]
        assert (last & 0x2000) or len(whole) == size
    assert whole == body
    assert bool(last & 0x2000) == more


def test_errors_are_not_answered_nor_are_pieces_or_strangers() -> None:
    def answerable(data: bytes) -> bool:
        header = packet.parse(data)
        assert isinstance(header, packet.Header)
        return header.answerable

    assert answerable(ip())
    assert not answerable(ip(flags=5))
    assert not answerable(packet.time_exceeded(R, ip()))

"""IP packets as bytes: reading their headers, decrementing their hop count, forging ICMP.

The only module that knows what an address looks like: to everybody else an address is an opaque `bytes`,
and a flow is an opaque key. IPv4 (RFC 791) with ICMP (RFC 792); IPv6 comes to this module later.

A flow key names protocol, both addresses and both ports. Its layout is private to this module:
source address, destination address, source port, destination port, and for all but TCP the protocol.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple

ICMP, TCP, UDP = 1, 6, 17

# Router requirements, RFC 1812 section 4.3.2.3: quote as much as fits into 576 bytes.
QUOTE_LIMIT = 576 - 20 - 8
# RFC 791: what every network must carry. Nothing is ever cut into pieces smaller than this.
MINIMUM_MTU = 68

NET_UNREACHABLE, HOST_UNREACHABLE, ADMIN_PROHIBITED = 0, 1, 13

_ECHO_REPLY, _UNREACHABLE, _ECHO, _EXCEEDED = 0, 3, 8, 11
_FRAGMENTATION_NEEDED = 4
# Errors and redirects: never answered with an error (RFC 1122 section 3.2.2), and they quote a packet.
_ERROR_TYPES = frozenset({3, 4, 5, 11, 12})

_DONT_FRAGMENT, _MORE_FRAGMENTS, _OFFSET = 0x4000, 0x2000, 0x1FFF

_read_front = struct.Struct(
    "!BxHxxHBB"
).unpack_from  # version and length, size, fragment, TTL, protocol
_HEADER = struct.Struct("!BBHHHBBH4s4s")


Packet = bytes | bytearray


class Header(NamedTuple):
    """What a router needs to know of a packet.

    `answerable`: an ICMP error may be sent for it. `piece`: it is a later piece of a fragmented packet.
    `quoted`: the flow that an ICMP error speaks of.
    """

    key: bytes
    source: bytes
    destination: bytes
    protocol: int
    ttl: int
    size: int
    dont_fragment: bool
    answerable: bool
    piece: bool
    quoted: bytes | None


def pack_address(text: str) -> bytes:
    """The wire form of an address; ValueError says what is wrong with it."""
    return ipaddress.ip_address(text).packed


def show_address(address: bytes) -> str:
    return str(ipaddress.ip_address(address))


def glance(packet: bytes) -> bytes | None:
    """Key of a whole TCP or UDP packet without IP options; None means: ask `parse`.

    This is nearly all traffic, and the hot path pays for every byte looked at.
    """
    if len(packet) >= 28 and packet[0] == 0x45 and not packet[6] & 0x3F and not packet[7]:
        protocol = packet[9]
        if protocol == TCP:
            return packet[12:24]
        if protocol == UDP:
            return packet[12:24] + b"\x11"
    return None


def hops_left(packet: Packet) -> int:
    """The TTL of a packet for which `glance` gave a key."""
    return packet[8]


def parse(packet: Packet) -> Header | str:
    """Read any packet; a string is the reason to drop it, "" one that is not worth counting."""
    if not packet:
        return "malformed"
    if packet[0] >> 4 == 6:
        # An idle device solicits routers and reports multicast groups (RFC 4861, RFC 3810) all its life.
        return "" if len(packet) >= 40 and packet[24] == 0xFF else "ipv6"
    length = (packet[0] & 15) * 4
    if packet[0] >> 4 != 4 or length < 20 or len(packet) < length:
        return "malformed"
    _, size, fragment, ttl, protocol = _read_front(packet)
    if size != len(packet):
        return "malformed"
    addresses = bytes(packet[12:20])
    source, destination = addresses[:4], addresses[4:]
    if destination[0] >= 224:
        return ""  # multicast and broadcast end at the first router
    body = bytes(packet[length : length + 56])
    key = _key(addresses, protocol, fragment, body)
    quoted: bytes | None = None
    answerable = not fragment & _OFFSET and source[0] not in (0, 127) and source[0] < 224
    if protocol == ICMP and not fragment & _OFFSET:
        if not body:
            return "malformed"
        if body[0] in _ERROR_TYPES:
            answerable = False
            quoted = _quoted_key(body[8:]) or b""
    return Header(
        key,
        source,
        destination,
        protocol,
        ttl,
        size,
        bool(fragment & _DONT_FRAGMENT),
        answerable,
        bool(fragment & _OFFSET),
        quoted,
    )


def _key(addresses: bytes, protocol: int, fragment: int, body: bytes) -> bytes:
    """Only the first piece of a packet has ports; all other pieces between two nodes are one flow."""
    ports = b"\0\0\0\0"
    if not fragment & _OFFSET:
        if protocol in (TCP, UDP) and len(body) >= 4:
            ports = body[:4]
        elif protocol == ICMP and len(body) >= 8 and body[0] in (_ECHO, _ECHO_REPLY):
            # The identifier stands where the asker's port would, the type where the answerer's.
            port, kind = body[4:6], body[:1] + b"\0"
            ports = port + kind if body[0] == _ECHO else b"\x08\0" + port
    return addresses + ports + (b"" if protocol == TCP else bytes((protocol,)))


def _quoted_key(packet: Packet) -> bytes | None:
    if len(packet) < 28 or packet[0] >> 4 != 4:
        return None
    length = (packet[0] & 15) * 4
    _, _, fragment, _, protocol = _read_front(packet)
    return _key(bytes(packet[12:20]), protocol, fragment, bytes(packet[length:]))


def flow_key(
    protocol: int, source: bytes, destination: bytes, source_port: int, destination_port: int
) -> bytes:
    """The key that a packet with these fields has."""
    ports = source_port.to_bytes(2) + destination_port.to_bytes(2)
    return source + destination + ports + (b"" if protocol == TCP else bytes((protocol,)))


def ports_of(key: bytes) -> tuple[int, int]:
    return int.from_bytes(key[8:10]), int.from_bytes(key[10:12])


def reverse(key: bytes) -> bytes:
    """The key of the answers to a flow."""
    return key[4:8] + key[:4] + key[10:12] + key[8:10] + key[12:]


def anonymous(key: bytes) -> bytes:
    """The key of the later pieces of a flow's packets, which name no ports."""
    return key[:8] + b"\0\0\0\0" + key[12:]


def protocol_of(key: bytes) -> int:
    return key[12] if len(key) > 12 else TCP


def addresses_of(key: bytes) -> tuple[bytes, bytes]:
    return key[:4], key[4:8]


def service_of(key: bytes) -> int:
    """The port that names the service of a flow whose first packet has this key.

    The lower port, unless both are from the range of ephemeral ports (Linux begins it at 32768):
    then the one that was called. Identifiers of pings are as ephemeral as ports: they count as 0.
    """
    if protocol_of(key) not in (TCP, UDP):
        return 0
    source, destination = int.from_bytes(key[8:10]), int.from_bytes(key[10:12])
    return destination if min(source, destination) >= 32768 else min(source, destination)


def forward(packet: Packet, hops: int) -> bytearray:
    """A copy that has passed `hops` routers; its TTL must be above that.

    The header's checksum follows by RFC 1624: what the TTL's half of its word loses, the checksum gains.
    """
    copy = bytearray(packet)
    copy[8] -= hops
    high = copy[10] + hops
    if high < 0xFF:
        copy[10] = high
    else:
        carried = high << 8 | copy[11]
        if carried >= 0xFFFF:
            carried -= 0xFFFF
        copy[10], copy[11] = carried >> 8, carried & 0xFF
    return copy


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even or odd number of bytes."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def _datagram(source: bytes, destination: bytes, protocol: int, body: bytes) -> bytes:
    size = 20 + len(body)
    front = _HEADER.pack(0x45, 0, size, 0, _DONT_FRAGMENT, 64, protocol, 0, source, destination)
    return front[:10] + checksum(front).to_bytes(2) + front[12:] + body


def _icmp_error(router: bytes, packet: Packet, kind: int, code: int, rest: int = 0) -> bytes:
    quote = bytes(packet[:QUOTE_LIMIT])
    body = struct.pack("!BBHI", kind, code, 0, rest) + quote
    body = body[:2] + checksum(body).to_bytes(2) + body[4:]
    return _datagram(router, bytes(packet[12:16]), ICMP, body)


def time_exceeded(router: bytes, packet: Packet) -> bytes:
    return _icmp_error(router, packet, _EXCEEDED, 0)


def unreachable(router: bytes, packet: Packet, code: int) -> bytes:
    return _icmp_error(router, packet, _UNREACHABLE, code)


def too_big(router: bytes, packet: Packet, mtu: int) -> bytes:
    """Fragmentation needed and DF set, with the MTU of the next hop (RFC 1191)."""
    return _icmp_error(router, packet, _UNREACHABLE, _FRAGMENTATION_NEEDED, mtu)


def echo_reply(packet: Packet) -> bytes | None:
    """The answer to a ping, or None if `packet` is no echo request that this router would answer."""
    length = (packet[0] & 15) * 4
    body = bytes(packet[length:])
    if packet[9] != ICMP or len(body) < 8 or body[0] != _ECHO:
        return None
    if int.from_bytes(packet[6:8]) & (_MORE_FRAGMENTS | _OFFSET):
        return None
    answer = b"\0\0\0\0" + body[4:]
    answer = answer[:2] + checksum(answer).to_bytes(2) + answer[4:]
    return _datagram(bytes(packet[16:20]), bytes(packet[12:16]), ICMP, answer)


def fragments(packet: Packet, mtu: int) -> list[Packet]:
    """Cut a packet that may be cut into pieces of at most `mtu` bytes (RFC 791 section 2.3).

    Options are repeated in every piece: wrong for some, but nobody has sent those for decades.
    """
    length = (packet[0] & 15) * 4
    _, _, flags, _, _ = _read_front(packet)
    step = (max(mtu, MINIMUM_MTU) - length) & ~7
    body = packet[length:]
    pieces: list[Packet] = []
    for start in range(0, len(body), step):
        part = body[start : start + step]
        more = _MORE_FRAGMENTS if start + step < len(body) else flags & _MORE_FRAGMENTS
        header = bytearray(packet[:length])
        struct.pack_into("!H", header, 2, length + len(part))
        struct.pack_into("!H", header, 6, more | ((flags & _OFFSET) + start // 8))
        struct.pack_into("!H", header, 10, 0)
        struct.pack_into("!H", header, 10, checksum(bytes(header)))
        pieces.append(header + part)
    return pieces

"""Just enough of rtnetlink(7) to give an interface its addresses and routes: three requests, one socket.

`ip` costs 10 ms a call and may be missing; these requests take well under one. IPv4 and IPv6 alike:
the family follows from the address.
"""

from __future__ import annotations

import os
import socket
import struct
from ipaddress import ip_address
from types import TracebackType

_RTM_NEWLINK, _RTM_NEWADDR, _RTM_NEWROUTE = 16, 20, 24
_NLMSG_ERROR = 2
_F_REQUEST, _F_ACK, _F_REPLACE, _F_CREATE = 0x1, 0x4, 0x100, 0x400
_IFF_UP = 0x1
_IFLA_MTU, _IFLA_TXQLEN = 4, 13
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_NODAD = 0x02
_RTA_OIF, _RTA_PREFSRC, _RTA_METRICS = 4, 7, 8
_RTAX_CC_ALGO = 16
_RT_TABLE_MAIN, _RTPROT_STATIC, _RT_SCOPE_LINK, _RTN_UNICAST = 254, 4, 253, 1


def _attribute(kind: int, payload: bytes) -> bytes:
    padding = -len(payload) % 4
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(padding)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6


class Netlink:
    """Requests about the network namespace in which it was opened. Raises OSError as the kernel answers."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def set_link(self, index: int, *, mtu: int | None = None, queue: int | None = None) -> None:
        """Bring a link up, with its MTU and the length of its transmit queue in packets."""
        body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, _IFF_UP, _IFF_UP)
        if mtu is not None:
            body += _attribute(_IFLA_MTU, struct.pack("=I", mtu))
        if queue is not None:
            body += _attribute(_IFLA_TXQLEN, struct.pack("=I", queue))
        self._request(_RTM_NEWLINK, 0, body)

    def add_address(self, index: int, address: str) -> None:
        """Give a link one address, as a host route (/32, /128); one it already has is no error."""
        parsed = ip_address(address)
        # Duplicate address detection would keep an IPv6 address unusable for its first second.
        flags = _IFA_F_NODAD if parsed.version == 6 else 0
        body = struct.pack("=BBBBI", _family(address), parsed.max_prefixlen, flags, 0, index)
        body += _attribute(_IFA_LOCAL, parsed.packed) + _attribute(_IFA_ADDRESS, parsed.packed)
        self._request(_RTM_NEWADDR, _F_CREATE | _F_REPLACE, body)

    def add_default_route(self, index: int, source: str, congestion: str | None = None) -> None:
        """Everything of the family of `source` leaves by this link, from `source` unless a socket chose.

        TCP that goes this way uses the named congestion control. On the route, because the setting of a
        whole namespace (tcp_congestion_control) accepts only what the host's administrator allowed.
        """
        body = struct.pack(
            "=BBBBBBBBI",
            _family(source),
            0,
            0,
            0,
            _RT_TABLE_MAIN,
            _RTPROT_STATIC,
            _RT_SCOPE_LINK,
            _RTN_UNICAST,
            0,
        )
        body += _attribute(_RTA_OIF, struct.pack("=I", index))
        body += _attribute(_RTA_PREFSRC, ip_address(source).packed)
        if congestion is not None:
            metric = _attribute(_RTAX_CC_ALGO, congestion.encode() + b"\0")
            body += _attribute(_RTA_METRICS, metric)
        self._request(_RTM_NEWROUTE, _F_CREATE | _F_REPLACE, body)

    def _request(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        header = struct.pack(
            "=IHHII", 16 + len(body), kind, _F_REQUEST | _F_ACK | flags, self._sequence, 0
        )
        self._socket.sendall(header + body)
        reply = self._socket.recv(65536)
        _, answer_kind, _, sequence, _ = struct.unpack_from("=IHHII", reply)
        assert answer_kind == _NLMSG_ERROR
        assert sequence == self._sequence
        (code,) = struct.unpack_from("=i", reply, 16)
        if code:
            raise OSError(-code, f"rtnetlink: {os.strerror(-code)}")

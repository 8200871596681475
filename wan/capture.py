"""Packet captures as Wireshark reads them: the pcap format with nanoseconds, link type RAW (bare IP).

https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html and https://www.tcpdump.org/linktypes.html
"""

from __future__ import annotations

import struct

from wan.packet import Packet

_MAGIC_NANOSECONDS = 0xA1B23C4D
_LINKTYPE_RAW = 101
_SNAP_LENGTH = 65535

_record = struct.Struct("<IIII").pack

HEADER = struct.pack("<IHHiIII", _MAGIC_NANOSECONDS, 2, 4, 0, 0, _SNAP_LENGTH, _LINKTYPE_RAW)


def record(packet: Packet, unix_s: float) -> bytes:
    """One packet, as seen at this time."""
    nanoseconds = round(unix_s * 1e9)
    size = len(packet)
    return _record(nanoseconds // 10**9, nanoseconds % 10**9, size, size) + packet

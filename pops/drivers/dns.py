"""The DNS doors: UDP and TCP on the anycast address. What is answered is decided in `wire/dns.py`.

Each UDP socket is bound to one address, never to all of them: the answer must come from the address
that was asked, and the anycast address is not the one the kernel would choose.
"""

from __future__ import annotations

import asyncio
from typing import cast

from pops.core.answer_rate import AnswerRate, Verdict
from pops.drivers.stats import DnsStats
from wire.dns import Transport, Zones, respond, truncated

# A resolver that keeps a TCP connection open and silent (RFC 7766 section 6.2.3).
_TCP_IDLE_S = 10.0
_TCP_MOST_QUERIES = 64 * 1024


class UdpDoor(asyncio.DatagramProtocol):
    def __init__(self, zones: Zones, stats: DnsStats, rate: AnswerRate) -> None:
        self._zones = zones
        self._stats = stats
        self._rate = rate
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        # Judged before it is read: what nobody is answered costs next to nothing.
        verdict = self._rate.judge(addr[0], asyncio.get_running_loop().time())
        if verdict is Verdict.ANSWER:
            response = respond(data, self._zones, Transport.UDP)
        elif verdict is Verdict.TRUNCATE:
            self._stats.truncated += 1
            response = truncated(data)
        else:
            self._stats.silenced += 1
            return
        self._stats.answered("udp", response)
        if response is not None and self._transport is not None:
            self._transport.sendto(response, addr)


class TcpDoor(asyncio.Protocol):
    """Messages with two bytes of length before each (RFC 1035 section 4.2.2)."""

    def __init__(self, zones: Zones, stats: DnsStats) -> None:
        self._zones = zones
        self._stats = stats
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._rearm()

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_TCP_IDLE_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        while len(self._buffer) >= 2:
            size = int.from_bytes(self._buffer[:2], "big")
            if len(self._buffer) < 2 + size:
                break
            query = bytes(self._buffer[2 : 2 + size])
            del self._buffer[: 2 + size]
            response = respond(query, self._zones, Transport.TCP)
            self._stats.answered("tcp", response)
            if response is None:
                self._transport.abort()
                return
            self._transport.write(len(response).to_bytes(2, "big") + response)
        if self._transport.get_write_buffer_size() > _TCP_MOST_QUERIES:
            # It asks and does not read.
            self._transport.abort()
            return
        self._rearm()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None

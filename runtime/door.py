"""What stands at an accepted connection until it is known what is spoken, then steps aside.

Servers listen without TLS, and the door begins it: so an address that is not let in costs no handshake, and those that
are shake hands one after the other, with a turn of the loop for everybody else between two of them. A handshake is
half a millisecond of arithmetic that nothing can divide.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import Any, Protocol, cast

from runtime.transports import hand_over

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# What comes before TLS has begun: a client's hello, which is some 1,800 bytes at most.
_EARLY = 64 * 1024


class Spoken(Protocol):
    """What takes a connection over once it is known what is spoken."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...

    def data_received(self, data: bytes) -> None: ...


class House(Protocol):
    """What a door asks of who stands behind it."""

    handshakes: Handshakes

    def let_in(self, door: Door, address: str) -> bool: ...

    def hand_on(self, door: Door, alpn: str | None, preface: bool) -> Spoken:
        """The connection is no longer the door's but this protocol's."""

    def left(self, door: Door) -> None:
        """The connection ended at the door."""


class Door(asyncio.Protocol):
    """`tls` is what to shake hands with first, if anything; then the first bytes have `patience_s` to come."""

    streams = 0
    address = ""

    def __init__(
        self,
        house: House,
        tls: ssl.SSLContext | None,
        *,
        handshake_timeout_s: float,
        patience_s: float,
    ) -> None:
        self._house = house
        self._tls = tls
        self._handshake_timeout_s = handshake_timeout_s
        self._patience_s = patience_s
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._shaking: asyncio.Task[None] | None = None
        self._bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        remote = transport.get_extra_info("peername")
        self.address = remote[0] if isinstance(remote, tuple) else ""
        if not self._house.let_in(self, self.address):
            self._transport.abort()
        elif self._tls is not None:
            self._house.handshakes.join(self)
        else:
            self._listen()

    def data_received(self, data: bytes) -> None:
        """Without ALPN the first bytes tell: HTTP/2 begins with its preface, whose start no HTTP/1.1 request has."""
        self._bytes += data
        if self._tls is not None:
            # Kept until hands are shaken, or until the handshake begins: not every loop lets us stop reading before.
            if len(self._bytes) > _EARLY:
                self.abort()
            return
        size = min(len(self._bytes), len(_PREFACE))
        preface = self._bytes[:size] == _PREFACE[:size]
        if not preface or size == len(_PREFACE):
            self._step_aside(None, preface)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._house.left(self)

    def drain(self) -> None:
        self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # TLS

    def shake(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            loop = asyncio.get_running_loop()
            self._shaking = loop.create_task(self._shake(self._transport), name="TLS handshake")

    async def _shake(self, plain: asyncio.Transport) -> None:
        assert self._tls is not None
        if plain.is_closing():
            return
        loop = asyncio.get_running_loop()
        early, self._bytes = self._bytes, b""
        if early:
            # In the next turn, when TLS has taken the transport and nothing more was read.
            loop.call_soon(_replay, plain, early)
        try:
            transport = await loop.start_tls(
                plain,
                self,
                self._tls,
                server_side=True,
                ssl_handshake_timeout=self._handshake_timeout_s,
            )
        except OSError:  # no handshake, not in time, or hung up in the middle of it
            self._over(plain)
            return
        if transport is None or self._transport is None:
            self._over(plain)
            return
        self._transport, self._tls = transport, None
        tls = transport.get_extra_info("ssl_object")
        alpn = tls.selected_alpn_protocol() if tls is not None else None
        if alpn is not None:
            self._step_aside(alpn, preface=False)
        else:
            self._listen()
            if self._bytes:
                self.data_received(b"")

    def _over(self, plain: asyncio.Transport) -> None:
        plain.abort()
        self._transport = None
        self._house.left(self)

    # What is spoken

    def _listen(self) -> None:
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._patience_s, self._transport.abort)

    def _step_aside(self, alpn: str | None, preface: bool) -> None:
        transport = self._transport
        assert transport is not None
        if self._timer is not None:
            self._timer.cancel()
        protocol = self._house.hand_on(self, alpn, preface)
        transport.set_protocol(cast(asyncio.BaseProtocol, protocol))
        protocol.connection_made(transport)
        if self._bytes:
            protocol.data_received(self._bytes)


class Handshakes:
    """Who waits to shake hands: one begins in each turn of the loop."""

    def __init__(self) -> None:
        self._waiting: deque[Door] = deque()
        self._due = False

    def join(self, door: Door) -> None:
        self._waiting.append(door)
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._waiting.popleft().shake()
        self._due = bool(self._waiting)
        if self._due:
            asyncio.get_running_loop().call_soon(self._next)


def _replay(transport: Any, data: bytes) -> None:
    hand_over(transport.get_protocol(), data)

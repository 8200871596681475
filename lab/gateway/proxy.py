"""The proxy at work: one client, one connection inside the lab, bytes both ways as fast as the slower side takes them.

Each side is an asyncio Protocol. What cannot be written on pauses the reading on the other side; the end of one
direction is passed on as such (half-close); an error on one side is the end of both.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never, cast

from lab.gateway.handshake import Dial, Effect, Handshake, Refuse, Reply, UnknownCityError
from lab.gateway.visitors import DialError, VisitorNetwork

_HANDSHAKE_WITHIN_S = 30.0
MOST_CLIENTS = 1024
_WRITE_HIGH = 256 * 1024
# struct linger: on, 0 s (socket(7)): closing sends RST.
_RESET = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Traffic:
    """Of one visitor, since the gateway started."""

    connections: int = 0
    failures: int = 0
    bytes_up: int = 0
    bytes_down: int = 0


@dataclass(slots=True)
class Proxy:
    """All clients. `default` is the city of those who name none; `refused` hears of what went wrong, for people."""

    networks: dict[str, VisitorNetwork]
    default: str
    refused: Callable[[str, str | None], None] = lambda why, city: None
    traffic: dict[str, Traffic] = field(default_factory=dict)
    clients: set[Client] = field(default_factory=set)
    turned_away: int = 0

    def __post_init__(self) -> None:
        self.traffic = {city: Traffic() for city in self.networks}

    def city_of(self, name: str | None) -> str:
        if name is None:
            return self.default
        folded = {city.casefold(): city for city in self.networks}
        if (city := folded.get(name.casefold())) is None:
            known = ", ".join(self.networks)
            raise UnknownCityError(f"no visitor {name!r} in this world; known: {known}")
        return city

    def accept(self) -> Client:
        """A protocol for `create_server`."""
        return Client(self)

    def totals(self) -> dict[str, tuple[int, int, int, int]]:
        """By city: connections made, failures, bytes into the world, bytes out of it; live ones included."""
        found = {
            city: [one.connections, one.failures, one.bytes_up, one.bytes_down]
            for city, one in self.traffic.items()
        }
        for client in self.clients:
            if client.city is not None and client.other is not None:
                found[client.city][2] += client.carried
                found[client.city][3] += client.other.carried
        return {city: (a, b, c, d) for city, (a, b, c, d) in found.items()}

    def visitor_gone(self, city: str) -> None:
        """Its network is no more: what went through it ends here."""
        for client in [client for client in self.clients if client.city == city]:
            client.abort()

    def close(self) -> None:
        for client in list(self.clients):
            client.abort()
        for network in self.networks.values():
            network.close()


class _Side(asyncio.Protocol):
    """One end of a carried connection. `other` is known once both are there."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None
        self.ended = False
        self.carried = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(_WRITE_HIGH)

    def data_received(self, data: bytes) -> None:
        self.carried += len(data)
        other = self.other
        if other is not None and other.transport is not None:
            other.transport.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        other = self.other
        if other is None or other.transport is None:
            return False
        with contextlib.suppress(OSError, RuntimeError):
            other.transport.write_eof()
        if other.ended:
            other.close()
            return False
        return True

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        other = self.other
        if other is not None and other.transport is not None:
            if exc is not None or not self.ended:
                other.abort()
            else:
                other.close()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """By a reset: who is cut off in the middle shall not take it for the end."""
        if self.transport is not None:
            with contextlib.suppress(OSError):
                self.transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, _RESET
                )
            self.transport.abort()


class Client(_Side):
    """The side of whoever uses the proxy; first its handshake, then its bytes."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__()
        self._proxy = proxy
        self._handshake: Handshake | None = Handshake(proxy.city_of)
        self._dialling: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.city: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self._proxy.clients) >= MOST_CLIENTS:
            self._proxy.turned_away += 1
            self.abort()
            return
        self._proxy.clients.add(self)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_HANDSHAKE_WITHIN_S, self.abort)

    def data_received(self, data: bytes) -> None:
        if self._handshake is None:
            super().data_received(data)
            return
        self._carry_out(self._handshake.feed(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self._proxy.clients.discard(self)
        self._disarm()
        if self._dialling is not None:
            self._dialling.cancel()
        super().connection_lost(exc)
        if self.city is not None and self.other is not None:
            traffic = self._proxy.traffic[self.city]
            traffic.bytes_up += self.carried
            traffic.bytes_down += self.other.carried

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if self.transport is None:
                return
            match effect:
                case Reply(data):
                    self.transport.write(data)
                case Refuse(data, why):
                    self._refuse(data, why)
                case Dial(city, host, port):
                    self.city = city
                    # What it sends before there is somewhere to send it to waits in the kernel.
                    self.transport.pause_reading()
                    self._disarm()
                    self._dialling = asyncio.get_running_loop().create_task(
                        self._dial(city, host, port), name=f"dial {host} as {city}"
                    )
                case _:
                    assert_never(effect)

    def _refuse(self, data: bytes, why: str) -> None:
        assert self.transport is not None
        self._proxy.refused(why, self.city)
        self.transport.write(data)
        self.transport.close()

    async def _dial(self, city: str, host: str, port: int) -> None:
        traffic = self._proxy.traffic[city]
        handshake = self._handshake
        assert handshake is not None
        try:
            made = await self._proxy.networks[city].connect(host, port)
        except DialError as error:
            traffic.failures += 1
            if self.transport is not None:
                self._carry_out([handshake.failed(error.why, str(error))])
            return
        inside = _Side()
        try:
            await asyncio.get_running_loop().create_connection(lambda: inside, sock=made)
        except BaseException:
            made.close()
            raise
        if self.transport is None or inside.transport is None:
            inside.abort()
            self.abort()
            return
        traffic.connections += 1
        self._dialling = self._handshake = None
        self.other, inside.other = inside, self
        told, first = handshake.dialled()
        self.transport.write(told)
        inside.transport.write(first)
        self.transport.resume_reading()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

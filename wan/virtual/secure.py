"""TLS over whatever transport there is: asyncio's own, or its stand-in (`wan.virtual.flights`)."""

from __future__ import annotations

import asyncio
import ssl
from asyncio import sslproto
from typing import Any, Protocol, cast


class Flights(Protocol):
    """What makes stand-ins for TLS."""

    def protocol(
        self,
        loop: Any,
        app: asyncio.BaseProtocol,
        context: ssl.SSLContext,
        waiter: asyncio.Future[None] | None,
        *,
        server: bool,
        name: str | None,
        handshake_s: float | None,
        made: bool,
    ) -> asyncio.BaseProtocol: ...


class Secure:
    """What TLS a connection asks for, until its transport is there. Without `flights` TLS really runs."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        flights: Flights | None,
        context: ssl.SSLContext,
        name: str | None,
        handshake_s: float | None,
    ) -> None:
        self._loop = loop
        self._flights = flights
        self._context = context
        self._name = name
        self._handshake_s = handshake_s

    def client(
        self,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None,
        *,
        made: bool = True,
    ) -> asyncio.BaseProtocol:
        return self._make(protocol, waiter, made, server=False)

    def server(
        self,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        made: bool = True,
    ) -> asyncio.BaseProtocol:
        return self._make(protocol, waiter, made, server=True)

    def _make(
        self,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None,
        made: bool,
        *,
        server: bool,
    ) -> asyncio.BaseProtocol:
        name = None if server else self._name
        if self._flights is not None:
            return self._flights.protocol(
                self._loop,
                protocol,
                self._context,
                waiter,
                server=server,
                name=name,
                handshake_s=self._handshake_s,
                made=made,
            )
        make: Any = sslproto.SSLProtocol
        return cast(
            asyncio.BaseProtocol,
            make(
                self._loop,
                protocol,
                self._context,
                waiter,
                server_side=server,
                server_hostname=name,
                ssl_handshake_timeout=self._handshake_s,
                call_connection_made=made,
            ),
        )


def heard(waiter: asyncio.Future[None]) -> asyncio.Future[None]:
    """A waiter whose failure needs nobody: a program that died or stands still within a handshake never asks for it."""
    waiter.add_done_callback(lambda done: done.cancelled() or done.exception())
    return waiter


def app_transport(outer: Any) -> asyncio.Transport:
    """The transport that a TLS protocol offers to the one above it."""
    return cast(asyncio.Transport, outer._app_transport)

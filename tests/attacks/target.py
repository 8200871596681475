"""What is attacked: a real PoP on loopback with one connector, and a visitor who must not notice."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

from runtime.tls import overlay_context
from tests.attacks.raw import Http2Wire, Wire
from tests.pops.conftest import HOST, Connector, Edge, Exchange, Pki, Visitor, hello, reply

# All attackers and the bystander have one address: a penalty would be everybody's.
LIMITS = {"connections_per_visitor": 40, "penalty": 0, "dns_answers_per_s": 50, "dns_burst": 60}
# So that who waits can be waited for. Not the handshake: a PoP under attack on a busy machine may take its time.
IMPATIENT = {
    "request_head": 0.3,
    "keep_alive": 0.4,
    "handshake": 0.5,
    "register": 0.4,
    "request_body": 0.4,
}


async def origin(request: Exchange) -> None:
    """Tells what it was asked, or sends as much as was asked for."""
    path = dict(request.message.headers).get(b":path", b"")
    if path.startswith(b"/large"):
        await request.whole()
        request.stream.send_headers(reply(200))
        await request.send(bytes(4 * 1024 * 1024), end=True)
    else:
        await hello(request)


class Target:
    """One PoP, `A`, whose neighbour `B` is declared and not there, with one connector."""

    def __init__(self, pki: Pki, engine: str, *, impatient: bool = False) -> None:
        self.pki, self.engine = pki, engine
        self.edge = Edge(pki)
        self._timeouts = {
            "first_try": 0.0, "reconnect_first": 60.0, "reconnect_most": 60.0, "refuse_linger": 0.005,
        }  # fmt: skip
        if impatient:
            self._timeouts |= IMPATIENT
        self.connector: Connector
        self._bystander: Visitor | None = None
        self._wires: list[Wire] = []

    async def start(self) -> None:
        await self.edge.start_one(
            self.edge.config(
                "A", "AB", [("A", "B", 0.01)],
                engine=self.engine, timeouts=self._timeouts, limits=LIMITS,
            )
        )  # fmt: skip
        await self.edge.until(lambda: self.pop.ready)
        self.connector = await self.edge.connector("A", origin)

    async def close(self) -> None:
        for wire in self._wires:
            wire.close()
        await self.edge.close()

    @property
    def pop(self) -> Any:
        return self.edge.pops["A"]

    @property
    def address(self) -> str:
        return self.edge.address("A")

    @property
    def requests(self) -> int:
        """How many have reached the connector."""
        return len(self.connector.requests)

    async def bystander(self) -> int:
        """Another visitor's request, on a connection of its own; the status of its answer."""
        if self._bystander is None or self._bystander.http2.closed:
            self._bystander = await self.edge.visitor("A")
        status = (await self._bystander.fetch("/")).status
        if not status and self._bystander.http2.closed:
            # It had been idle for too long, and was told so when it asked.
            self._bystander = await self.edge.visitor("A")
            status = (await self._bystander.fetch("/")).status
        return status

    async def at_rest(self) -> None:
        """Nothing of the attack is left: no exchange, no connection of a visitor but the bystander's."""
        for wire in self._wires:
            wire.close()
        self._wires.clear()
        await self.edge.until(
            lambda: (
                not self.pop.proxy.exchanges
                and self.pop.visitors.snapshot().connections <= 1
                and len(self.pop.overlay.accepted) == 0
                and len(self.pop.tunnels.links) <= 1
            )
        )

    # Ways in

    @functools.cached_property
    def _contexts(self) -> dict[str, ssl.SSLContext]:
        """Made once: to read certificates takes as long as the handshake that they are for."""
        return {
            "https": self.trust("http/1.1"),
            "visitors": self.trust("h2"),
            "tunnel": self.trust(),
            "overlay": self.as_pop("B"),
        }

    def trust(self, *alpn: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.pki / "ca.pem")
        context.check_hostname = False
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    async def plain(self) -> Wire:
        return self._kept(await Wire.dial(self.address, self.edge.http))

    async def https(self, sni: str = HOST) -> Wire:
        """HTTP/1.1 over TLS."""
        return self._kept(
            await Wire.dial(self.address, self.edge.https, self._contexts["https"], sni)
        )

    async def h2(self, port: str, *, own: bytes | None = None, sni: str = HOST) -> Http2Wire:
        """HTTP/2 as a visitor, as a neighbour, or (from the serving side) as a connector; SETTINGS are through."""
        wire = await self.h2_unopened(port, sni=sni)
        await wire.open(client=port != "tunnel", own=own)
        return wire

    async def h2_unopened(self, port: str, *, sni: str = HOST) -> Http2Wire:
        edge = self.edge
        number, name = {
            "visitors": (edge.https, sni),
            "tunnel": (edge.tunnels, "h2.cftunnel.com"),
            "overlay": (edge.overlay, "A"),
        }[port]
        wire = await Http2Wire.dial(self.address, number, self._contexts[port], name)
        assert isinstance(wire, Http2Wire)
        self._kept(wire)
        return wire

    def as_pop(self, name: str) -> ssl.SSLContext:
        """With the certificate of the PoP of that name; every other name is that of the file."""
        file = f"overlay-{name}.pem" if len(name) == 1 else f"{name}.pem"
        return overlay_context(self.pki / file, self.pki / "ca.pem", "client")

    def _kept(self, wire: Wire) -> Any:
        self._wires.append(wire)
        return wire

    @contextlib.asynccontextmanager
    async def udp(self) -> AsyncIterator[Any]:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
            sock.connect((self.address, self.edge.dns))

            async def ask(query: bytes, *, patience: float = 1.0) -> bytes | None:
                await loop.sock_sendall(sock, query)
                return await heard(patience)

            async def heard(patience: float = 1.0) -> bytes | None:
                try:
                    async with asyncio.timeout(patience):
                        return await loop.sock_recv(sock, 65536)
                except TimeoutError:
                    return None

            ask.heard = heard  # type: ignore[attr-defined]
            ask.send = sock.send  # type: ignore[attr-defined]
            yield ask

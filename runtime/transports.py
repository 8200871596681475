"""Small things every protocol here does with an asyncio transport."""

from __future__ import annotations

import asyncio
from typing import Any

from runtime.streams import Headers, Peer
from runtime.tls import asked_name, peer_name


def peer_of(transport: asyncio.BaseTransport, protocol: str) -> Peer:
    """Who is at the other end. Unix sockets have no address: their path stands for the local one."""
    remote = transport.get_extra_info("peername")
    local = transport.get_extra_info("sockname")
    address, port = remote[:2] if isinstance(remote, tuple) else ("", 0)
    local_address, local_port = local[:2] if isinstance(local, tuple) else (str(local or ""), 0)
    ssl_object = transport.get_extra_info("ssl_object")
    return Peer(
        address,
        port,
        local_address,
        local_port,
        protocol,
        tls=ssl_object is not None,
        server_name=asked_name(ssl_object),
        certificate_name=peer_name(ssl_object) or "",
    )


def hand_over(protocol: Any, data: bytes) -> None:
    """Give a protocol, of either kind, bytes that came before it was there."""
    if not hasattr(protocol, "get_buffer"):
        protocol.data_received(data)
        return
    view = memoryview(data)
    while view:
        buffer = memoryview(protocol.get_buffer(len(view)))
        size = min(len(buffer), len(view))
        buffer[:size] = view[:size]
        protocol.buffer_updated(size)
        view = view[size:]


class Discard:
    """A `StreamUser` that wants nothing: for streams whose end was decided and has not come yet."""

    def headers_received(self, headers: Headers, end: bool) -> None:
        pass

    def data_received(self, data: bytes, end: bool) -> None:
        pass

    def trailers_received(self, headers: Headers) -> None:
        pass

    def drained(self) -> None:
        pass

    def lost(self, code: int) -> None:
        pass

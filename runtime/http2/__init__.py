"""HTTP/2 on asyncio transports: `connection` with its `stream`s, and what a connection keeps in order beside them."""

from __future__ import annotations

from runtime.http2.connection import Http2Connection
from runtime.http2.stream import Http2Snapshot, Http2Stream
from wire.http2.engine import ErrorCode, Http2Error, Http2Settings, Role

__all__ = [
    "ErrorCode",
    "Http2Connection",
    "Http2Error",
    "Http2Settings",
    "Http2Snapshot",
    "Http2Stream",
    "Role",
]

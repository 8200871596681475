"""The h2 package as an engine. Not here yet."""

from __future__ import annotations

from wire.http2.engine import Engine, Http2Settings, Role, Sink


def H2Engine(role: Role, settings: Http2Settings, sink: Sink) -> Engine:  # noqa: N802
    raise NotImplementedError

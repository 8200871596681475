"""The HTTP/2 engines, and the only place that knows their names.

`create` is the one door: nothing outside this package imports ngh2 or h2.
"""

from __future__ import annotations

from typing import Literal, assert_never

from wire.http2.engine import Engine, Http2Settings, Role, Sink, StreamSink

EngineName = Literal["ngh2", "h2"]


def create(
    name: EngineName, role: Role, settings: Http2Settings, sink: Sink, streams: StreamSink
) -> Engine:
    """Make an engine. Imported late, so that a process pays only for the engine it uses."""
    match name:
        case "ngh2":
            from wire.http2.engines.ngh2 import Ngh2Engine

            return Ngh2Engine(role, settings, sink, streams)
        case "h2":
            from wire.http2.engines.h2 import H2Engine

            return H2Engine(role, settings, sink, streams)
        case _:
            assert_never(name)

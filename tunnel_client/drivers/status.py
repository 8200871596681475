"""What the process says of itself over HTTP: the paths and shapes of cloudflared, and `/status`, which is ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from runtime.admin import JSON, TEXT, AdminRequest, Answer, Routes
from tunnel_client.core.configuration import Configuration
from tunnel_client.core.supervisor import Supervisor
from tunnel_client.drivers.edge import EdgeSnapshot


def _json(status: int, document: Mapping[str, Any]) -> Answer:
    return status, JSON, json.dumps(document).encode() + b"\n"


def routes(
    *,
    connector_id: UUID,
    tunnel_id: UUID,
    supervisor: Supervisor,
    configuration: Configuration,
    edges: Callable[[], list[EdgeSnapshot]],
    now: Callable[[], float],
    drain: Callable[[], None],
) -> Routes:
    def ready(_: AdminRequest) -> Answer:
        status = 200 if supervisor.ready else 503
        return _json(
            status,
            {
                "status": status,
                "readyConnections": supervisor.ready,
                "connectorId": str(connector_id),
            },
        )

    def status(_: AdminRequest) -> Answer:
        by_index = {edge.index: edge for edge in edges()}
        connections = []
        for connection in supervisor.snapshot(now()):
            document = asdict(connection)
            edge = by_index.get(connection.index)
            if edge is not None:
                document.update(asdict(edge))
            connections.append(document)
        return _json(
            200,
            {
                "connectorId": str(connector_id),
                "tunnelId": str(tunnel_id),
                "ready": supervisor.ready,
                "expected": supervisor.expected,
                "configVersion": configuration.version,
                "connections": connections,
            },
        )

    def begin_drain(_: AdminRequest) -> Answer:
        drain()
        return 202, TEXT, b"draining\n"

    return {
        ("GET", "/ready"): ready,
        ("GET", "/healthcheck"): lambda _: (200, TEXT, b"OK\n"),
        ("GET", "/config"): lambda _: _json(200, configuration.as_json()),
        ("GET", "/status"): status,
        ("POST", "/drain"): begin_drain,
    }

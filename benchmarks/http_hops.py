"""The hops of the HTTP benchmark, made of nothing but `runtime`: what a PoP and a connector cost at least.

    python -m benchmarks.http_hops ingress|egress|connector --config JSON

ingress takes visitors and opens a stream to egress for each request; egress passes it down a tunnel connection that
the connector dialled; the connector asks the origin. All legs but the first and the last are HTTP/2 over TLS.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import uvloop

from runtime.http1_client import Http1Client, Origin
from runtime.http2 import Http2Connection, Role
from runtime.serving import HttpServer, Listener, ServingOptions
from runtime.splice import Splice, answer
from runtime.streams import Headers, Stream
from runtime.tls import connector_context, server_context
from runtime.transports import Discard

OpenRight = Callable[[], Stream | None]


class Forward(Discard):
    """Takes a request head, opens the next hop's stream, and couples the two."""

    def __init__(self, left: Stream, open_right: OpenRight) -> None:
        self.left = left
        self.open_right = open_right

    def headers_received(self, headers: Headers, end: bool) -> None:
        right = self.open_right()
        if right is None:
            answer(self.left, [(b":status", b"503"), (b"content-length", b"0")])
            return
        Splice(self.left, right, on_end=_ended, request_ended=end)
        right.send_headers(headers, end=end)


def _ended(splice: Splice, code: int | None) -> None:
    if code is not None and not splice.answered:
        answer(splice.left, [(b":status", b"502"), (b"content-length", b"0")])


async def ingress(config: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    overlay = Http2Connection(Role.CLIENT, engine=config["engine"])
    await loop.create_connection(
        lambda: overlay,
        "127.0.0.1",
        config["egress_port"],
        ssl=connector_context(config["ca"]),
        server_hostname="localhost",
    )
    server = HttpServer(
        lambda left: Forward(left, lambda: overlay.open(Discard())),
        ServingOptions(engine=config["engine"]),
    )
    await server.listen(
        [
            Listener("127.0.0.1", config["visitor_port"]),
            Listener(
                "127.0.0.1", config["visitor_tls_port"], server_context(config["certificate"])
            ),
        ]
    )


async def egress(config: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    tunnels: list[Http2Connection] = []

    def accept_tunnel() -> Http2Connection:
        connection = Http2Connection(Role.CLIENT, engine=config["engine"])
        tunnels.append(connection)
        return connection

    def open_tunnel() -> Stream | None:
        live = [tunnel for tunnel in tunnels if tunnel.available]
        return min(live, key=lambda tunnel: tunnel.streams).open(Discard()) if live else None

    tls = server_context(config["certificate"], ())
    await loop.create_server(accept_tunnel, "127.0.0.1", config["tunnel_port"], ssl=tls)
    server = HttpServer(
        lambda left: Forward(left, open_tunnel), ServingOptions(engine=config["engine"])
    )
    listener = Listener("127.0.0.1", config["egress_port"], server_context(config["certificate"]))
    await server.listen([listener])


async def connector(config: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    client = Http1Client()
    origin = Origin("127.0.0.1", config["origin_port"])
    for _ in range(config["tunnels"]):
        await loop.create_connection(
            lambda: Http2Connection(
                Role.SERVER,
                engine=config["engine"],
                on_request=lambda left: Forward(left, lambda: client.open(Discard(), origin)),
            ),
            "127.0.0.1",
            config["tunnel_port"],
            ssl=connector_context(config["ca"]),
            server_hostname="localhost",
        )


async def _run(role: str, config: dict[str, Any]) -> None:
    await {"ingress": ingress, "egress": egress, "connector": connector}[role](config)
    print("ready", flush=True)
    # The benchmark closes our standard input when it is done, also when it dies.
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.read()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["ingress", "egress", "connector"])
    parser.add_argument("--config", type=json.loads, required=True)
    arguments = parser.parse_args()
    uvloop.run(_run(arguments.role, arguments.config))


if __name__ == "__main__":
    main()

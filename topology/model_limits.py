"""What PoPs bear, and for how long they wait: `limits` and `timeouts`, the same for every PoP of the world.

A PoP's configuration (`pops/config.py`) has the same keys, defaults and bounds, and says where each is used;
docs/hardening.md says what happens above each and which metric counts it.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from topology.model_types import Share

# What is counted at a door: with none nobody would get in.
_Count = Annotated[int, Meta(ge=1, le=1_000_000)]
# A rate or an amount that may be none, or (as said) no limit.
_Amount = Annotated[int, Meta(ge=0, le=1_000_000)]
# A wait that ends something. Below 1 ms nobody answers; more than a day is more than any timer needs.
_Wait = Annotated[float, Meta(ge=0.001, le=86_400, extra={"sugar": "duration"})]
# One that may be left out, by 0.
_Pause = Annotated[float, Meta(ge=0, le=86_400, extra={"sugar": "duration"})]


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much every PoP bears of visitors and connectors."""

    header_bytes: Annotated[
        int,
        Meta(ge=1024, le=2**20, description="Names and values of a request's head; above: 431."),
    ] = 64 * 1024
    body_bytes: Annotated[
        int, Meta(ge=0, le=2**50, description="Of a request's body; above: 413.")
    ] = 4 * 1024**3
    streams_per_visitor: Annotated[
        int,
        # Times the window of a stream, 1 MiB, at most 1 GiB: see wire/http2/engine.py.
        Meta(ge=1, le=1024, description="Concurrent requests of one HTTP/2 connection."),
    ] = 128
    visitor_connections: Annotated[_Count, Meta(description="Of all visitors together.")] = 10_000
    connections_per_visitor: Annotated[_Count, Meta(description="Of one address.")] = 512
    streams_per_address: Annotated[
        _Count,
        Meta(description="Concurrent requests over several HTTP/2 connections of one address."),
    ] = 256
    request_body_rate: Annotated[
        _Amount,
        Meta(description="Bytes a second; a slower body gets 408, after timeouts.request_body."),
    ] = 64
    flood_burst: Annotated[
        int,
        Meta(
            ge=100,
            le=1_000_000,
            description="HTTP/2 frames that cost only the PoP, in tokens; above: the connection is cut.",
        ),
    ] = 1000
    penalty: Annotated[
        _Pause, Meta(description="How long an address that flooded stays outside; 0: not at all.")
    ] = 10.0
    dns_answers_per_s: Annotated[
        _Amount, Meta(description="Over UDP, to one address or IPv6 /64; 0: no limit.")
    ] = 500
    dns_burst: Annotated[_Count, Meta(description="So many of them at once.")] = 1000
    tunnel_connections: Annotated[_Count, Meta(description="Of all connectors together.")] = 1000
    attempts: Annotated[
        int, Meta(ge=1, le=16, description="Ways tried before the visitor gets an error.")
    ] = 3
    retry_share: Annotated[Share, Meta(description="Retries for each request ...")] = 0.2
    retries_per_s: Annotated[
        float, Meta(ge=0, le=1_000_000, description="... and so many a second in any case.")
    ] = 10.0
    keep_bytes: Annotated[
        int,
        Meta(ge=0, le=2**24, description="Of a request's body, so that it can be sent again."),
    ] = 64 * 1024


class Timeouts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long every PoP waits."""

    connect: Annotated[_Wait, Meta(description="For TCP to a neighbour.")] = 5.0
    handshake: Annotated[_Wait, Meta(description="For TLS, and for HTTP/2's SETTINGS.")] = 10.0
    request_head: Annotated[_Wait, Meta(description="For a visitor's slow head; then 408.")] = 15.0
    request_body: Annotated[
        _Pause, Meta(description="Until limits.request_body_rate is asked of a body.")
    ] = 30.0
    response_head: Annotated[
        _Wait, Meta(description="For an answer, over the whole path; then 504.")
    ] = 100.0
    doubt: Annotated[
        _Wait, Meta(description="Without an answer, until the next hop is asked whether it lives.")
    ] = 1.0
    idle: Annotated[_Wait, Meta(description="A request without a byte in either direction.")] = (
        300.0
    )
    keep_alive: Annotated[_Wait, Meta(description="A visitor's connection without a request.")] = (
        120.0
    )
    register: Annotated[_Wait, Meta(description="A connector that does not register.")] = 10.0
    refuse_linger: Annotated[
        _Pause, Meta(description="A connector that was refused may read why, before TCP closes.")
    ] = 0.2
    tunnel_ping: Annotated[_Wait, Meta(description="Between two PINGs to a connector.")] = 5.0
    tunnel_ping_deadline: Annotated[_Wait, Meta(description="For the answer to one.")] = 10.0
    reconnect_first: Annotated[
        _Wait, Meta(description="Until a lost neighbour is dialled again; doubles ...")
    ] = 0.1
    reconnect_most: Annotated[_Wait, Meta(description="... up to this.")] = 5.0
    first_try: Annotated[
        _Pause, Meta(description="For the neighbours, before a PoP that starts takes visitors.")
    ] = 2.0
    drain: Annotated[
        _Pause, Meta(description="For requests under way, when a PoP is asked to end.")
    ] = 30.0

"""Header codecs: what a connector says of an origin's answer, and what PoPs say to each other of a request.

What was read is also written again, and must come back the same.
"""

from __future__ import annotations

from wire import overlay
from wire.errors import WireError
from wire.headers import (
    clean,
    drop_forged,
    end_to_end,
    parse_meta,
    parse_serialized_headers,
    serialize_headers,
    valid_name,
    valid_value,
)
from wire.http2 import fields

_TUNNEL = "11111111-2222-4333-8444-555555555555"
SEEDS = (
    serialize_headers([(b"content-type", b"text/html"), (b"set-cookie", b"a=b"), (b"x", b"")]),
    b'{"src":"origin","flow_rate_limited":true,"origin_ms":1.5}',
    f"1;1;7;NRT>IAD>LHR;{_TUNNEL};c.0".encode(),
    b"origin=800,LHR=11345,IAD=90100",
    b"no-tunnel;LHR;nobody is there",
    b"cf-ray\0x\nConnection\0x-a, close\nX-A\0b\nTE\0trailers\n:path\0/",
)


def one(data: bytes) -> None:
    try:
        headers = parse_serialized_headers(data)
        assert all(valid_name(name) and valid_value(value) for name, value in headers)
        assert parse_serialized_headers(serialize_headers(headers)) == headers
    except WireError:
        pass
    try:
        route = overlay.parse_route(data, "IAD")
        assert route.path[route.position] == "IAD"
        assert overlay.parse_route(route.encode(), "IAD") == route
    except WireError:
        pass
    try:
        timings = overlay.parse_timings(data)
        assert overlay.parse_timings(overlay.encode_timings(timings)) == timings
    except WireError:
        pass
    try:
        fault = overlay.parse_fault(data)
        assert overlay.parse_fault(fault.encode()) == fault
    except WireError:
        pass
    for parse in (parse_meta, overlay.parse_exit):
        try:
            parse(data)
        except WireError:
            pass
    given = [
        (name, value) for name, _, value in (line.partition(b"\0") for line in data.split(b"\n"))
    ]
    for kept in (clean(given), end_to_end(drop_forged(given))):
        for name, value in kept:
            assert name[:1] == b":" or (valid_name(name) and not {10, 13, 0} & set(value))
    try:
        for name, value in fields.safe(given):
            assert not {10, 13, 0} & set(value)
            assert name not in fields.CONNECTION_SPECIFIC
    except fields.MalformedFieldError:
        return

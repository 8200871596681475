"""DNS: what strangers ask a PoP, and what somebody answers to a stub resolver."""

from __future__ import annotations

from wire.dns import (
    UDP_PAYLOAD,
    DnsError,
    Question,
    Record,
    Transport,
    Zone,
    Zones,
    make_query,
    parse_response,
    respond,
)

_ZONES = Zones(
    [
        Zone(
            "example.com",
            (
                Record("app.example.com", "A", "198.18.0.1"),
                Record("www.example.com", "CNAME", "app.example.com."),
                Record("loop.example.com", "CNAME", "loop.example.com."),
                Record("big.example.com", "TXT", " ".join(['"' + "x" * 200 + '"'] * 10)),
                *(Record("many.example.com", "A", f"198.18.1.{n}") for n in range(1, 120)),
            ),
        ),
        Zone("", ()),
    ]
)
_ASKED = Question("app.example.com", "A")
SEEDS = (
    *(
        make_query(Question(f"{name}.example.com", kind), 7)
        for name, kind in (
            ("app", "A"),
            ("www", "AAAA"),
            ("loop", "A"),
            ("big", "TXT"),
            ("many", "ANY"),
        )
    ),
    respond(make_query(_ASKED, 7), _ZONES, Transport.UDP) or b"",
    make_query(_ASKED, 7, payload=65535)[:-1],
    b"\0\7\1\0\0\1\0\0\0\0\0\0\300\14\0\1\0\1",
)


def one(data: bytes) -> None:
    for transport in Transport:
        response = respond(data, _ZONES, transport)
        if response is None:
            continue
        assert response[:2] == data[:2], "another query's answer"
        assert response[2] & 0x80, "two servers could talk to each other for ever"
        if transport is Transport.UDP:
            assert len(response) <= UDP_PAYLOAD
    try:
        parse_response(data, _ASKED, 7)
    except DnsError:
        return

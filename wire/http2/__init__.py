"""HTTP/2 (RFC 9113) without I/O: bytes in, callbacks out; requests in, bytes out.

    engine.py        what an engine is: `Engine`, the `Sink` it calls back, `Http2Settings`, `Http2Error`
    fields.py        header fields made safe before any engine sends them
    engines/ngh2.py  the fast one: libnghttp2
    engines/h2.py    the pure-Python one, for machines without the wheel, and as the other voice in the tests

One conformance suite (tests/wire/http2) runs on both. Where we depart from the RFC's letter: server push is never
offered nor accepted, and priority signals are ignored.
"""

"""How a process touches the world, by the loop's own interface and nothing else (no thread, no sleep, no getaddrinfo).

    streams.py    the shape of every exchange: `Stream`, `StreamUser`, back-pressure in both directions
    splice.py     two streams coupled
    http2/        HTTP/2 connections, either role, either engine
    http1/        HTTP/1.1 with who dials us, and towards origins, pooled
    serving.py    who is served and who is not: limits, penalties, drain
    door.py       TLS with ALPN or plain, until it is known what is spoken
    tls.py        contexts, names, readable errors
    admin.py      the operator's door        metrics.py
    clock.py  backoff.py  resolver.py  notify.py  events.py    time, retries, names, readiness, the event log

RFC 9110 (semantics), 9112 (HTTP/1.1), 9113 (HTTP/2), 8441 (WebSocket over HTTP/2), 6455 by passing it on.
"""

"""How a process touches the world, by the loop's own interface and nothing else (no thread, no sleep, no getaddrinfo).

    streams.py       the shape of every exchange: `Stream`, `StreamUser`, back-pressure in both directions
    splice.py        two streams coupled
    http2*.py        HTTP/2 connections, either role, either engine
    http1_server.py  HTTP/1.1 with visitors (http1_stream.py: one exchange)
    http1_client.py  HTTP/1.1 towards origins, pooled (http1_origin.py: one connection)
    serving.py       doors: TLS with ALPN, plain, limits, drain        tls.py   contexts, names, readable errors
    admin.py         the operator's door                               metrics.py
    clock.py  backoff.py  resolver.py  notify.py  events.py            time, retries, names, readiness, the event log

RFC 9110 (semantics), 9112 (HTTP/1.1), 9113 (HTTP/2), 8441 (WebSocket over HTTP/2), 6455 by passing it on.
"""

"""The connector beside a private service: dials out to the edge, serves what comes back.

Outbound only: it listens nowhere but on its own metrics address. It speaks the protocol of
cloudflared's HTTP/2 transport, takes the same flags, environment, token, credentials and
configuration, and either can replace the other.

    errors.py       the root of what can go wrong here
    flags.py        the command line and the environment, as a table
    credentials.py  token and credentials file
    config.py       flags, token, files -> one frozen `Settings`
    core/           decides: addresses, connections, ingress rules, heads of requests and responses
    drivers/        does: dialling, the control stream, exchanges with the origin, /ready and /metrics
    process.py      where they meet
    __main__.py     `python -m tunnel_client run --token ... --url http://localhost:8000`

Where it departs from cloudflared, and why: it sends heartbeats (a silent loss is found in seconds
instead of minutes), it reconnects with full jitter from half a second, it obeys `retryAfter`, a loss
before the first registration is retried instead of ending the process, and after a drain it leaves
by itself when nothing runs any more. Not served: QUIC, raw TCP and UDP, post-quantum-only key
exchange, the quick-tunnel and management services.
"""

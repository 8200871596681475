"""The connector's hands: they do what the core decides, and tell it what happened.

edge.py       one dialled connection: TLS, HTTP/2 in the server's role, its control stream
exchange.py   one request of the edge: to a service and back
origins.py    which pool, address and TLS context a rule's service means
metrics.py    what is counted, and how Prometheus sees it
status.py     /ready, /metrics, /healthcheck, /config, /status
log.py        lines for people on standard error
"""

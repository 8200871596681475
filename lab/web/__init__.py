"""The page of a running lab and what it is made of, served by the gateway. Nothing here changes the world.

index.html     the page: one file, no build step, nothing fetched from elsewhere
server.py      HTTP: which path gives what, and whom it serves (this machine, not the web at large)
observer.py    one account of the whole lab, gathered when somebody looks
feed.py        the same as a stream of server-sent events, with the lab's own events
exposition.py  metrics of every node, and where Prometheus finds them (http_sd)

/api/state    the account          /api/stream   state and events (text/event-stream)
/api/http_sd  targets              /metrics, /metrics/NODE
/api/city     PUT {"city": NAME}   whom a user of the proxy is who names nobody
/ca.pem       the lab's authority  /proxy.pac    the lab's names by the proxy, all others not
"""

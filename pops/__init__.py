"""The edge process: one PoP, with everything that a visitor, a connector or another PoP meets of it.

    config     what it is told at its start            __main__   `python -m pops --config FILE`
    process    where deciding and doing meet           core/      decides; knows no socket and no clock
                                                       drivers/   does; decides nothing

    visitor --HTTPS, HTTP--> PoP --overlay: HTTP/2 over mutual TLS--> PoP --tunnel--> connector

Follows RFC 9110 (semantics, as a gateway), 9112 and 9113 (HTTP/1.1, HTTP/2), 8441 (WebSocket over
HTTP/2), 8586 (CDN-Loop), 1034/1035 (DNS), W3C Server Timing. Departs from what large edges do in
three points: it stores nothing (no cache), it opens no tunnel connection itself, and its error pages
name the hop that failed, because seeing that is the point here.
"""

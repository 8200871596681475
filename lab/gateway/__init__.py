"""The way in from the machine the lab runs on: a proxy that enters the world as a visitor, and the web page.

One process, `python -m lab.gateway`, on the host's network (or in the one container that has another network than
the lab's). It speaks to the nodes through Unix sockets in the run directory alone, so it is the same for every driver.

handshake.py   what a client says first: SOCKS5 (RFC 1928, RFC 1929) or HTTP (RFC 9110 section 9.3.6), sans-IO
visitors.py    sockets of a visitor's own network, asked of its agent; names, asked of the lab's DNS as that visitor
proxy.py       carries bytes between the two, half-close and back-pressure included
ports.py       which ports it has, and where they are told: RUN/gateway.json
process.py     where they meet, with the page (lab/web)
child.py       the process as its parent sees it

The user name of the proxy is the city: `curl -x socks5h://tokyo@localhost:1080 https://app.example.com/`.
"""

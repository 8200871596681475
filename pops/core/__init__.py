"""What a PoP decides: pure functions and small state, all without I/O.

    ingress    a visitor's request head > a refusal, or the request as the connector shall get it
    egress     a connector's response head > the origin's response, or a fault
    failover   whether a request that failed may go again, by which way, within which budget
    registry   tunnel > connector > connection: who may register, which one a request takes
    probing    when to probe which neighbour, what answers say of a link, and when it is dead
    pages      error pages              timing     the server-timing field
    balancer   which member of a pool serves        health     whether a service behind a tunnel is well
    places     a tunnel's connectors at one site, as a destination of their own
    records    what public names lead to            zone       the names of this world

Headers are in HTTP/2 form here: (name, value) bytes, lower case, pseudo-header fields first.
"""

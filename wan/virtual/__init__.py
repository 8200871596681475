"""The same programs in virtual time: an asyncio loop whose clock jumps and whose network is the fabric.

    loop        the event loop: time is that of the next event; nothing left and somebody waiting is a deadlock
    programs    what runs where: a program is a context, and the node it is on travels with its tasks
    network     what the loop asks for: who listens, who is connected
    hosts       hosts with their ports; judges every packet by `wan.fabric` and `wan.link`, as the carrier does
    segment     what connections send each other
    congestion  how fast a sender may be: reno (RFC 5681), round trips and timeouts (RFC 6298). Pure
    sending     what is under way and what of it is lost (RFC 2018, 6675, 8985)
    tcp         one end of a byte stream: handshake, order, windows, FIN, RST
    transports  asyncio's side of that; datagrams: that of UDP
    local       loopback and Unix sockets: no network at all
    doors       what asyncio calls a server
    handshakes  how TLS handshakes go, each really made once or put together from such
    flights     TLS that costs its flights and nothing else

No socket, no thread, no clock of the machine: with one seed, a run is the same byte for byte.

What is simpler than in a kernel, and what that means:

* Programs take no time: processing is 0. A figure from here is what the network alone costs.
* Congestion control is reno, whatever a world asks for; recovery is by SACK with complete reports, and RACK's
  rule with tail-loss probes. No F-RTO, no undo, no pacing, no ECN, no Nagle (asyncio turns it off anyway).
* The receive buffer has one size (3 MiB, Linux' usual window) and window updates come with half of it free.
* MTU: a segment is cut for the path of that moment; one that is sent again by a narrower path goes in pieces.
* No TIME_WAIT, no keep-alive, no simultaneous open, no urgent data, no half-open attack to defend against.
* A packet costs its size with IPv4, TCP and timestamps: 52 bytes more than its data; no ICMP is delivered:
  a sender without a route is told at once, as its own router would.
* Loopback takes no time and never loses.
"""

"""What lies between the nodes of a world: an emulated wide-area network that carries real IP packets.

    packet      IPv4 and ICMP as bytes; the only module that knows what an address looks like
    link        one direction between two nodes: (size, now) -> when it arrives, or why it does not
    dice        luck that can be told again: one stream of random numbers per flow and link
    ways        what a packet's way is made of: doors (nodes), paths between them, flows
    flows       all flows: which of its kind each is, and when it is forgotten
    catchment   which member of an anycast group a node lands at, and when that changes
    fabric      all doors and links, where a packet goes, the rule of private nodes
    router      one packet: TTL, MTU, ICMP errors, the stages of its way
    changes     links change while packets pass: all changes of a message, or none
    timeline    what the world file wants to happen, as a schedule
    ---- above: pure, no clock, no descriptor; below: a process
    carrier     the hot path: reads devices, writes what is due
    lateness    how late the emulator itself is
    control     the control socket; operations: what can be asked; views: what it shows
    events      what is told, to the event file and to subscribers; capture: packets as pcap
    process     where they meet; `python -m wan`
    virtual/    the same fabric under an asyncio loop in virtual time: no packets, no process
    tun, attach, agent   the node's side: makes `wan0`, hands over its descriptor, runs the programs

A packet passes: the sender's access line, the link, the receiver's access line. Both ends have a router,
at which TTL falls, errors begin, and a private node's strangers end.

Obeyed: RFC 791, 792, 1071, 1122 (3.2.2), 1191, 1624, 1812 (4.3.2). The private rule follows RFC 4787 and 5382
(endpoint-dependent filtering; idle times). Departed from, with reasons in `link`: netem's reordering by jitter.
"""

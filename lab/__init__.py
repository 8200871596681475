"""Brings a world up on this machine, drives it, observes it: everything behind the command `popnet`.

    launch.py            starts a supervisor and hands it a world; ends a lab and sweeps up after it
    supervisor*.py       the parent of everything of one lab: its life, its nodes, its links, its socket
    bringup.py           the order in which things start, all or nothing
    children.py          the two children it executes: the wan process and the zygote
    zygote.py            forks the nodes from one parent that has imported everything once
    isolation.py         what makes a forked process a node: namespaces, names, trust
    configs.py, pki.py   the files that processes are started with
    rundir.py            where a lab lives on disk, and how its processes are found
    driver.py            `Lab`: a running lab for programs; connectors.py, rtts.py, metrics.py ask more of it
    jsonlines.py, adminhttp.py   how the processes are talked to; everywhere.py: all PoPs at once; records.py: names
    origin.py, websocket.py      the hello service of a site
    probes/, journey.py, fidelity.py   measuring from inside a node, and what the measurements tell
    play*.py, load*.py   a world's timeline and load by any driver, and what they come to
    recovery/, parity/   how long until broken things are routed around; virtual time against real packets
    doctor.py, quantities.py     what this machine can run; quantities as people type them
    cli/                 the commands

It needs Linux with network, mount and user namespaces and a TUN device, and nothing else: no Docker, no netem,
no root where user namespaces are allowed.
"""

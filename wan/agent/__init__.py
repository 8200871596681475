"""The agent: the small parent process that gives a node its door to the WAN and looks after its programs.

config.py   what an agent is told (`agent.json`, or the command line of `wan.attach`)
core.py     what follows from what: a program died, the WAN came back, someone asked; no I/O
driver.py   one thread, one selector: carries out what the core decides
attachment.py  the connection to the wan process, with the TUN device's descriptor
guests.py  programs that somebody runs in the node from elsewhere, with their own standard streams
spawn.py    how a program is started: dies with its parent, has no capability, writes to its log
netlink.py, linux.py   the kernel's interfaces that Python has no name for

An agent is synchronous and imports little: there is one for every node.
"""

"""The connector's decisions, without I/O: every function takes the time it needs.

addresses.py     which edge address a connection uses (regions, free ones, moving on)
connection.py    the life of one connection: states, inputs, table
supervisor.py    all connections of the process: inputs in, effects out, timers
effects.py       what the supervisor asks for
services.py      what an ingress rule leads to, and how it is written
ingress.py       rules: which service a request is for
configuration.py the configuration in force, and pushed ones
heads.py         heads of requests and responses between edge and origin
"""

"""Which way: pure decisions on what is known about the network.

api         what an algorithm sees (`RoutingState`) and what it returns (`Path`, `Routes`)
graph       the latency graph: a networkx DiGraph of PoPs, edges carry measured or declared RTTs
algorithms/ one file an algorithm, each a function `decide(state) -> routes`
catalogue   the algorithms that have a name, listed by hand
table       one PoP's table: keeps the inputs, runs the algorithm, checks and keeps its answer

networkx is imported in this package only. Nothing here knows a socket, a clock or a process: the caller
hands in `now`. Delays are round-trip times in seconds.
"""

"""Which way: pure decisions on what is known about the network.

api         what an algorithm sees (`RoutingState`) and what it returns (`Path`, `Routes`)
graph       the latency graph: a networkx DiGraph of PoPs, edges carry what was measured
allpairs    the best paths between all PoPs at once, by NumPy or numba, mended row by row
algorithms/ one file an algorithm, each a function `decide(state) -> routes`; docs/routing/algorithms.md compares them
candidates  what most of them rank: the direct way and every way over one relay, priced
oracle      the best path on the declared truth, for regret; a PoP never imports it
catalogue   the algorithms that have a name, listed by hand
estimators  from samples of an RTT to one number
lsa, news   what PoPs tell each other of their links and tunnels; what of it cannot wait
lsdb        the newest LSA of every PoP, and when to say something oneself
table       one PoP's table: keeps the inputs, runs the algorithm, checks and keeps its answer
damping     what keeps a route where it is: gains, holds, shares
plugin      algorithms from outside, by file or entry point
worker      a plug-in in a process of its own: `python -m routing.worker`

networkx is imported in this package only. Nothing here knows a socket, a clock or a process: the caller
hands in `now`. Delays are round-trip times in seconds.
"""

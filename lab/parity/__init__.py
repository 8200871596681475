"""Does virtual time tell what real packets tell? The same world by two drivers, figure by figure.

    traces      for every visitor: the path of a trace, and the part of its time that the links declare
    transfers   1 MB over one lossy link, many times: the model of TCP against the kernel's
    recoveries  how long it takes to get around a killed PoP, many times (lab/recovery)

Each compares and none prints. Paths have to be equal; how far times may be apart stands in each.
"""

"""How long until requests find a way around something that broke: RON's question (Andersen et al., SOSP 2001, 6.2).

    experiment   what one event is and how it is measured, from samples alone; quantiles. Pure but for its ground
    virtual      the ground of virtual time
    real         the ground of a running lab, by its commands' own means

One event: visitors ask steadily, something breaks at a moment drawn by the seed, and they ask on until all is as
well as before. Then it is mended, connectors start anew so that every event finds the same world, and the next
one follows. The figures of an event are its worst visitor's.
"""

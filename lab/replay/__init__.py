"""Replays: routing algorithms on a series of real RTT matrices, judged on the slice after the one they knew.

    matrices   reads .npz and .csv; finds the RTTs that cannot be, and says what became of them
    dense      the algorithms that are plain arithmetic on a matrix, for all pairs at once in numpy
    walking    any algorithm, plug-ins too: `decide` at each PoP of a sample, with the PoPs' own damping
    playing    slice by slice: estimate, decide, damp, judge against the oracle
    summary    what came of it as the rows and samples of an experiment (lab.experiment.files), and the table

A replay knows round trips and nothing else: no loss, no jitter, no load, no tunnels. Every node is a PoP, and the
destination is the egress. RTTs are in milliseconds here, as in the files; in seconds where an algorithm sees them.
"""

"""Experiments: the same requests by several routing algorithms, and what may be concluded from them.

wanted      what is to be compared: algorithms, worlds, URLs, checked
design      which requests, in which order, in which block of time: from the seed alone
virtual     plays a design in virtual time: one world for each algorithm and seed
real        plays it by real packets: one lab, all algorithms beside each other (asking: one visitor of it)
played      what one world gave
truth       declared RTTs: of the path that was taken, of the best there is, and what brute force predicts
stats       quantiles, block bootstrap, sign-flip test, Holm, the verdict
summary     samples in, one row for each algorithm, city and metric out
comparing   from what was wanted to what was found
files       samples.csv, summary.csv, summary.json, manifest.json: written and read back
provenance  what a result has to name so that somebody can repeat it
figures     redraws the figures of a directory (matplotlib, the extra `plot`)

design, truth, stats, summary and played are pure: known numbers in, known numbers out.
"""

"""Experiments: the same requests by several routing algorithms, and what may be concluded from them.

design    which requests, in which order, in which block of time: from the seed alone
stats     quantiles, block bootstrap, sign-flip test, Holm, the verdict
summary   samples in, one row for each algorithm, city and metric out
files     samples.csv, summary.csv, summary.json, manifest.json: written and read back
truth     declared RTTs: of the path that was taken, of the best there is, and what brute force predicts
virtual   plays a design in virtual time: one world for each algorithm and seed
provenance what a result has to name so that somebody can repeat it
figures   redraws the figures of a directory (matplotlib, the extra `plot`)

All but virtual, provenance and figures are pure: known numbers in, known numbers out.
"""

"""Every figure the project claims, measured on the machine at hand.

`make bench` runs all; `python -m benchmarks NAME...` some. Each module has `run() -> list[Row]` and measures what it
compares in one run, side by side, because machines are noisy: the ratios mean something, the seconds less.
Nothing here is a test; the bounds are printed, not enforced.
"""

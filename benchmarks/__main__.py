"""`python -m benchmarks [NAME...] [-o json]`: run the benchmarks and print their figures."""

from __future__ import annotations

import argparse
import importlib
import sys

from benchmarks.report import Row, show

NAMES = (
    "wan",
    "http",
    "lab",
    "bulk",
    "docker",
    "virtual",
    "flooding",
    "routing",
    "policy",
    "attacks",
    "steering",
    "chaos",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"among {', '.join(NAMES)}; default all"
    )
    parser.add_argument("-o", dest="output", choices=("table", "json"), default="table")
    given = parser.parse_args()
    if unknown := sorted(set(given.names) - set(NAMES)):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    rows: list[Row] = []
    for name in given.names or NAMES:
        print(f"-- {name}", file=sys.stderr, flush=True)
        measured = importlib.import_module(f"benchmarks.{name}").run()
        rows += measured
        if given.output == "table":
            show(measured)
    if given.output == "json":
        show(rows, as_json=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

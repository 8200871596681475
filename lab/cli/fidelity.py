"""`popnet fidelity`: does the network do what the world says?"""

from __future__ import annotations

from typing import Annotated

import typer

from lab.cli.app import (
    Code,
    Format,
    FormatOption,
    NameOption,
    app,
    open_lab,
    put_json,
    put_table,
    say,
)
from lab.fidelity import Check, measure, pairs_in_use


@app.command()
def fidelity(
    name: NameOption = None,
    output: FormatOption = Format.table,
    count: Annotated[int, typer.Option("--count", "-c", min=30, help="Echoes per pair.")] = 40,
) -> int:
    """Compare declared and measured round trips of every pair in use.

    Pairs in use: overlay neighbours, each visitor and the PoP it lands at, each site and the PoPs that hold its
    connections. FLOOR is what the fastest tenth of the echoes took: a busy machine makes some of them late, the network
    all. Where links have jitter the median is judged. Exit code 1 when any is off by more than max(0.5 ms, 2 %), or
    does not answer.
    """
    lab = open_lab(name)
    pairs = pairs_in_use(lab)
    say(f"{len(pairs)} pairs, {count} echoes each ...")
    checks = measure(lab, pairs, count)
    bad = [check for check in checks if not check.ok]
    if output is Format.json:
        put_json({"ok": not bad, "pairs": [check.to_dict() for check in checks]})
    else:
        put_table(
            ("A", "B", "DECLARED", "FLOOR", "ERROR", "MEDIAN", "ECHOES", ""),
            [_row(check) for check in checks],
            "llrrrrrl",
        )
    if bad:
        say(f"{len(bad)} of {len(checks)} pairs are off")
        return Code.CHECK_FAILED
    say(f"all {len(checks)} pairs within max(0.5 ms, 2 %)")
    return Code.OK


def _row(check: Check) -> tuple[str, ...]:
    measured = "-" if check.measured_s is None else f"{check.measured_s * 1e3:.2f}"
    error = "-" if check.error_s is None else f"{check.error_s * 1e3:+.2f}"
    declared = f"{check.declared_s * 1e3:.2f}"
    median = "-" if check.median_s is None else f"{check.median_s * 1e3:.2f}"
    off = "" if check.ok else "OFF"
    return check.a, check.b, declared, measured, error, median, str(check.echoes), off

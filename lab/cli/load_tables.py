"""What a run came to, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from lab.assertions import Verdict
from lab.cli.app import put, put_table
from lab.load_summary import Group, Summary, quantile


def show(summary: Summary) -> None:
    groups = [("all", summary.everything), *summary.visitors.items()]
    if len(summary.hosts) > 1:
        groups += list(summary.hosts.items())
    columns = ("FROM", "REQUESTS", "FAILED", "P50", "P95", "P99", "MAX", "TTFB P50", "ms")
    put_table(columns, [_line(name, group) for name, group in groups], "lrrrrrrr")
    if summary.statuses:
        put("")
        statuses = [(str(count), str(status)) for status, count in summary.statuses.items()]
        put_table(("ANSWERS", "STATUS"), statuses, "r")
    if summary.paths:
        put("")
        shares = [(f"{100 * share:.1f} %", path) for path, share in summary.paths.items()]
        put_table(("SHARE", "PATH"), shares[:10], "r")
    if summary.causes:
        put("")
        causes = [(str(count), cause) for cause, count in summary.causes.items()]
        put_table(("FAILED", "CAUSE"), causes, "r")
    if summary.recoveries:
        put("")
        put_table(
            ("AT", "WHAT", "RECOVERED", "CONVERGED", "CUT OFF"),
            [
                (
                    f"{one.disturbance.at_s:g} s",
                    one.disturbance.what,
                    _time(one.recovery_s),
                    "-" if one.convergence_s is None else _time(one.convergence_s),
                    " ".join(one.cut_off) or "nobody",
                )
                for one in summary.recoveries
            ],
            "rlrr",
        )


def show_verdicts(verdicts: Sequence[Verdict]) -> None:
    if verdicts:
        put("")
        rows = [("ok" if one.held else "FAILED", one.text, one.measured) for one in verdicts]
        put_table(("", "ASSERTION", "MEASURED"), rows)


def _line(name: str, group: Group) -> tuple[str, ...]:
    times = [quantile(group.total_s, percent) for percent in (50, 95, 99, 100)]
    times.append(quantile(group.first_byte_s, 50))
    texts = ["-" if value != value else f"{value * 1e3:.1f}" for value in times]
    return name, str(group.requests), str(group.failed), *texts, ""


def _time(seconds: float) -> str:
    return "never" if seconds == float("inf") else f"{seconds:.2f} s"

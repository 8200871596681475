"""One page of metrics out of many: every sample gets its node (and program), every family its head once.

Works on the text format of Prometheus as it stands, for what processes expose is well-formed by construction:
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lab import adminhttp, configs
from lab.driver import Lab
from lab.jsonlines import UnreachableError


@dataclass(slots=True)
class _Family:
    head: list[str] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)


def collect(lab: Lab, node: str | None = None) -> str:
    """The metrics of all processes that answer; `popnet_up` says which do."""
    pages: list[tuple[dict[str, str], str]] = []
    alive: list[str] = []
    for name, program in _sources(lab, node):
        labels = {"node": name, "program": program}
        try:
            answer = adminhttp.request(
                lab.admin_socket(name, program), "GET", "/metrics", timeout=2.0
            )
            is_up = answer.status == 200
        except UnreachableError:
            is_up = False
        if is_up:
            pages.append((labels, answer.body.decode()))
        alive.append(f"popnet_up{{{_written(labels)}}} {int(is_up)}")
    head = ["# HELP popnet_up Whether the process answers.", "# TYPE popnet_up gauge"]
    return "\n".join([*head, *alive, *merge(pages)]) + "\n"


def merge(pages: list[tuple[dict[str, str], str]]) -> list[str]:
    """The lines of several pages as those of one, families in the order of their first appearance."""
    families: dict[str, _Family] = {}
    for labels, page in pages:
        current = families.setdefault("", _Family())
        for line in page.splitlines():
            if line.startswith(("# HELP ", "# TYPE ")):
                name = line.split(" ", 3)[2]
                current = families.setdefault(name, _Family())
                if not any(
                    line.split(" ", 3)[1] == known.split(" ", 3)[1] for known in current.head
                ):
                    current.head.append(line)
            elif line and not line.startswith("#"):
                current.samples.append(_labelled(line, labels))
    return [line for family in families.values() for line in (*family.head, *family.samples)]


def _labelled(line: str, labels: dict[str, str]) -> str:
    """`a{b="c"} 1` or `a 1`, with more labels in front. A label's value may contain anything, even braces."""
    brace, space = line.find("{"), line.find(" ")
    if brace != -1 and brace < space:
        separator = "" if line[brace + 1] == "}" else ","
        return f"{line[: brace + 1]}{_written(labels)}{separator}{line[brace + 1 :]}"
    return f"{line[:space]}{{{_written(labels)}}}{line[space:]}"


def _written(labels: dict[str, str]) -> str:
    return ",".join(f'{name}="{value}"' for name, value in labels.items())


def _sources(lab: Lab, node: str | None) -> list[tuple[str, str]]:
    found = [(pop, "pop") for pop in lab.plan.pops]
    for site in lab.plan.world.sites:
        found += [(site, program) for program in configs.connector_names(lab.plan, site)]
    return [(name, program) for name, program in found if node in (None, name)]

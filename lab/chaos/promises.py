"""What must hold in a storm, and after it. Each promise is kept, or broken with examples.

right      every answer is that of the host that was asked, with the body it sent
once       what must not be repeated reached the service at most once
lives      every process runs afterwards
agrees     all PoPs hold the same link state and records, and every visitor gets an answer again
memory     no process keeps much more memory than before
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lab.load import Sample

# Requests with these methods may reach a service twice (RFC 9110 section 9.2.2).
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_EXAMPLES = 5
MEMORY_FACTOR, MEMORY_BYTES = 1.5, 24 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Promise:
    """`broken`: examples of how it was, at most a few."""

    name: str
    about: str
    checked: int
    broken: tuple[str, ...] = field(default=())

    @property
    def kept(self) -> bool:
        return not self.broken


def right(samples: Iterable[Sample]) -> Promise:
    answered, wrong = 0, []
    for sample in samples:
        if sample.status and sample.digest:
            answered += 1
            if sample.digest != "right":
                wrong.append(f"{sample.t_s:.3f} s {sample.visitor} {sample.url}: {sample.digest}")
    about = "answers of the host that was asked, with the body it sent"
    return Promise("right", about, answered, tuple(wrong[:_EXAMPLES]))


def once(samples: Iterable[Sample], ledger: Mapping[str, int]) -> Promise:
    """`ledger`: path of a request -> how often it reached the service."""
    sent, twice = 0, []
    for sample in samples:
        if sample.method in _REPEATABLE:
            continue
        sent += 1
        target = sample.url.partition("://")[2].partition("/")[2]
        if (count := ledger.get(f"{sample.method} /{target}", 0)) > 1:
            twice.append(f"{sample.method} {sample.url}: {count} times")
    return Promise("once", "requests that must not be repeated", sent, tuple(twice[:_EXAMPLES]))


def added(ledgers: Iterable[Mapping[str, int]]) -> Counter[str]:
    """The ledgers of all sites as one: what came once to each of two replicas came twice."""
    total: Counter[str] = Counter()
    for ledger in ledgers:
        total.update(ledger)
    return total


def lives(dead: Sequence[str], processes: int) -> Promise:
    return Promise("lives", "processes run afterwards", processes, tuple(dead[:_EXAMPLES]))


def agrees(differences: Sequence[str], pops: int) -> Promise:
    about = "PoPs hold the same link state and records, visitors are served"
    return Promise("agrees", about, pops, tuple(differences[:_EXAMPLES]))


def memory(before: Mapping[str, int], after: Mapping[str, int]) -> Promise:
    """Private bytes by process, when all was calm."""
    grown = [
        f"{name}: {before[name] / 1e6:.1f} MB, then {size / 1e6:.1f}"
        for name, size in after.items()
        if name in before and size > max(before[name] * MEMORY_FACTOR, before[name] + MEMORY_BYTES)
    ]
    return Promise("memory", "processes keep no more memory", len(after), tuple(grown[:_EXAMPLES]))

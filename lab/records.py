"""The DNS records of a running lab: what every PoP holds, a change to all of them, and the file for later starts.

A change is made at one PoP and flooded by it. It is kept in the file as soon as it is made, before anybody knows who
has heard: what was made must outlive all PoPs.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from lab import everywhere
from lab.alone import alone
from lab.driver import Lab, LabError
from pops.core.records import Record, RecordError, Records, encode_records, parse_records

# Flooding takes a fraction of a second; who has not heard by then is told about.
PATIENCE_S = 5.0
_LOOK_S = 0.02


@dataclass(frozen=True, slots=True)
class Books:
    """What each PoP that answered holds, by name; removed names too. `silent`: the other PoPs."""

    held: dict[str, dict[str, Record]]
    silent: list[str]

    def newest(self) -> Records:
        """What all will hold once all have heard."""
        return Records("", (one for book in self.held.values() for one in book.values()))


@dataclass(frozen=True, slots=True)
class Change:
    """`missing`: PoPs that do not have it yet, each with why."""

    record: Record
    before: Record | None
    reached: list[str]
    missing: dict[str, str]
    took_s: float


def books(lab: Lab, pops: Sequence[str]) -> Books:
    """LabError when no PoP answers."""
    told = everywhere.ask(lab, pops, "GET", "/records")
    if not told.answers:
        raise LabError(f"no answer from {', '.join(told.silent)}")
    held = {
        pop: {one.name: one for one in parse_records(answer.body)}
        for pop, answer in told.answers.items()
    }
    return Books(held, told.silent)


def change(lab: Lab, wanted: Mapping[str, Any]) -> Change:
    """`wanted` as the PoPs' admin door takes it. LabError when it was not made, or no PoP answers."""
    pops = everywhere.serving(lab)
    known = books(lab, pops)
    newest, cut_off = known.newest(), everywhere.vanished(lab)
    started = time.monotonic()
    made_at, made = _made(lab, known, cut_off, wanted)
    keep(lab, [*newest.everything(), made])
    missing = dict.fromkeys(known.silent, "no answer")
    missing |= {pop: "vanished" for pop in pops if pop in cut_off and pop != made_at}
    waiting = [pop for pop in pops if pop != made_at and pop not in missing]
    while waiting:
        told = everywhere.ask(lab, waiting, "GET", "/records").answers
        waiting = [pop for pop in waiting if pop not in told or not _has(told[pop].body, made)]
        if waiting and time.monotonic() - started > PATIENCE_S:
            missing |= dict.fromkeys(waiting, f"has not heard of it within {PATIENCE_S:g} s")
            break
        if waiting:
            time.sleep(_LOOK_S)
    took = time.monotonic() - started
    return Change(
        made,
        newest.get(made.name),
        [pop for pop in pops if pop not in missing],
        {pop: missing[pop] for pop in pops if pop in missing},
        took,
    )


def _made(
    lab: Lab, known: Books, cut_off: set[str], wanted: Mapping[str, Any]
) -> tuple[str, Record]:
    """The PoP that took the change, and what it made of it: the first that answers and can tell the others.

    One that knows less than the others would give it a version that they have passed already.
    """
    versions = {
        pop: max((one.version for one in book.values()), default=0)
        for pop, book in known.held.items()
    }
    body = json.dumps(wanted).encode()
    for pop in sorted(known.held, key=lambda pop: (pop in cut_off, -versions[pop])):
        answer = everywhere.ask(lab, [pop], "PUT", "/records", body).answers.get(pop)
        if answer is None:
            continue
        if answer.status >= 300:
            raise LabError(answer.body.decode(errors="replace").strip())
        return pop, msgspec.json.decode(answer.body, type=Record)
    raise LabError(f"no answer from {', '.join(known.held)}")


def _has(body: bytes, made: Record) -> bool:
    return any(one.name == made.name and one >= made for one in parse_records(body))


def keep(lab: Lab, records: Iterable[Record]) -> None:
    """For PoPs that start when nobody is there to ask. Whole or not at all; what is kept already stays."""
    file = lab.dir.records
    # Two changes at the same time must not lose one another.
    with alone(file.with_suffix(".lock")):
        all_known = Records("", records)
        with contextlib.suppress(FileNotFoundError, RecordError):
            all_known.receive(parse_records(file.read_bytes()))
        beside = file.with_suffix(".new")
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as new:
            new.write(encode_records(one for one in all_known.everything() if one.version))
        beside.replace(file)

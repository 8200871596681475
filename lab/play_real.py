"""A world's timeline and load in a running lab, summed up as a run in virtual time is (lab/drivers/virtual_run.py)."""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec

from lab import load_real
from lab.driver import Lab, LabError
from lab.load import Sample
from lab.load_summary import Summary, summarise
from lab.play import MOVES, converged, disturbances
from topology.happenings import Happening, nodes
from topology.plan import Plan


@dataclass(frozen=True, slots=True)
class Played:
    """`events` are the lab's, from the start of the load to its end; `interrupted_s` is when Ctrl-C ended it, if so."""

    summary: Summary
    samples: tuple[Sample, ...]
    events: bytes
    interrupted_s: float | None = None


def play(lab: Lab, plan: Plan, until_s: float, *, timeline: bool) -> Played:
    """Send the load of `plan` for so long, and let its timeline happen meanwhile: both begin at once."""
    happenings = checked(lab, plan, until_s) if timeline else ()
    since = lab.events_so_far()
    begun = 0.0
    interrupted_s: float | None = None

    def interrupted(at_s: float) -> None:
        nonlocal interrupted_s
        interrupted_s = at_s

    def go() -> None:
        nonlocal begun
        if happenings:
            lab.wan("start_timeline", happenings=msgspec.to_builtins(happenings))
        begun = time.time()

    samples: list[Sample] = []
    if plan.world.load is None:
        go()
        try:
            time.sleep(until_s)
        except KeyboardInterrupt:
            interrupted(time.time() - begun)
    else:
        samples = load_real.send(lab, plan, until_s, on_go=go, on_interrupt=interrupted)
    events = list(lab.events(since=since))
    moves = [fact["t"] - begun for fact in events if fact["event"] in MOVES]
    if interrupted_s is not None:
        until_s = interrupted_s
    found = converged(disturbances(happenings, until_s), [at for at in moves if at >= 0])
    lines = b"".join(msgspec.json.encode(fact) + b"\n" for fact in events)
    return Played(summarise(samples, found), tuple(samples), lines, interrupted_s)


def checked(lab: Lab, plan: Plan, until_s: float) -> tuple[Happening, ...]:
    """What happens before the end. The wan process asks for it too, but not in the words of a world file."""
    found = tuple(one for one in plan.happenings() if one.at_s < until_s)
    for happening in found:
        for name in nodes(happening.what):
            if name not in lab.plan.nodes:
                raise LabError(f"timeline: {name} is no node of the lab {lab.name}")
    return found

"""A storm over a running lab: real processes and packets."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from lab import load_real
from lab.chaos.outcome import Outcome, loaded, outcome
from lab.chaos.promises import Promise, agrees, lives, memory, once, right
from lab.chaos.storm import CALM_S, storm
from lab.driver import Lab, LabError
from lab.visited import visited

# What is still under way when the calm is over.
_PATIENCE_S = 30.0
_LOOK_S = 0.25


def play(lab: Lab, seed: int, for_s: float, say: Callable[[str], None]) -> Outcome:
    plan = loaded(lab.plan, seed)
    happenings = storm(plan, seed, for_s)
    before = _memory(lab)
    say(f"seed {seed}: {len(happenings)} happenings in {for_s - CALM_S:.0f} s, then calm")

    def go() -> None:
        lab.wan("start_timeline", happenings=msgspec.to_builtins(happenings))

    samples = load_real.send(lab, plan, for_s, on_go=go)
    promises = [
        right(samples),
        once(samples, _ledger(lab)),
        _lives(lab),
        _agrees(lab),
        memory(before, _memory(lab)),
    ]
    return outcome(seed, for_s, len(happenings), samples, promises)


def _programs(lab: Lab) -> dict[str, dict[str, Any]]:
    return {
        f"{node['name']} {program['name']}": program
        for node in lab.status()["nodes"]
        for program in node["programs"]
    }


def _lives(lab: Lab) -> Promise:
    """Whoever was to come back has a moment for it."""
    give_up = time.monotonic() + _PATIENCE_S
    while True:
        programs = _programs(lab)
        dead = [name for name, one in programs.items() if one["pid"] is None]
        if not dead or time.monotonic() > give_up:
            return lives(dead, len(programs))
        time.sleep(_LOOK_S)


def _memory(lab: Lab) -> dict[str, int]:
    """Private bytes of every program that can be looked at. In containers there is none: their pids are elsewhere."""
    if lab.in_containers:
        return {}
    found = {}
    for name, program in _programs(lab).items():
        try:
            lines = Path(f"/proc/{program['pid']}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        private = [int(line.split()[1]) for line in lines if line.startswith("Private_")]
        found[name] = 1024 * sum(private)
    return found


def _ledger(lab: Lab) -> dict[str, int]:
    """What reached services more than once and must not; each host's own."""
    twice: dict[str, int] = {}
    for visitor in list(lab.plan.world.visitors)[:1]:
        for host in lab.plan.world.dns:
            told = visited(lab, visitor, f"https://{host}/ledger")
            fields = dict(told["headers"])
            if told["status"] == 200 and "x-twice" in fields:
                twice |= json.loads(fields["x-twice"])
            else:
                raise LabError(f"{host} does not tell what it was asked: {told['error']}")
    return twice


def _agrees(lab: Lab) -> Promise:
    """Every PoP's link state and records, asked until they are the same or time is up."""
    give_up = time.monotonic() + _PATIENCE_S
    while True:
        differences = _differences(lab)
        if not differences or time.monotonic() > give_up:
            break
        time.sleep(_LOOK_S)
    host = next(iter(lab.plan.world.dns), None)
    for visitor in lab.plan.world.visitors if host is not None else ():
        told = visited(lab, visitor, f"https://{host}/")
        if told["error"] is not None or told["status"] != 200:
            differences.append(f"{visitor} is not served: {told['error'] or told['status']}")
    return agrees(differences, len(lab.plan.pops))


def _differences(lab: Lab) -> list[str]:
    told = {}
    for pop in lab.plan.pops:
        lsdb = lab.admin(pop, "GET", "/lsdb").json()
        versions = {one["origin"]: one["seq"] for one in lsdb["lsas"]}
        told[pop] = (versions, lab.admin(pop, "GET", "/records").json())
    (first, what), *others = told.items()
    return [
        f"{pop} and {first} hold different {name}"
        for pop, held in others
        for name, mine, theirs in zip(("link state", "records"), held, what, strict=True)
        if mine != theirs
    ]

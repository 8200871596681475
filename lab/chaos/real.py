"""A storm over a running lab: real processes and packets."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from lab import load_real
from lab.chaos.outcome import Outcome, loaded, outcome
from lab.chaos.promises import Promise, added, agrees, lives, memory, once, right
from lab.chaos.storm import CALM_S, storm
from lab.driver import Lab, LabError
from lab.load import Sample
from lab.visited import visited

# What is still under way when the calm is over.
_PATIENCE_S = 30.0
_LOOK_S = 0.25
# Run inside a site: what its service noted.
_ASK = (
    "import sys, urllib.request as u; "
    "o = u.build_opener(u.ProxyHandler({})); "
    "sys.stdout.buffer.write(o.open('http://127.0.0.1:8000/ledger', timeout=20).read())"
)


def play(lab: Lab, seed: int, for_s: float, say: Callable[[str], None]) -> Outcome:
    plan = loaded(lab.plan, seed)
    happenings = storm(plan, seed, for_s)
    # Asked before anything breaks; and a seed may be played twice in one lab, with the same requests.
    noted = _ledger(lab)
    before = _memory(lab)
    say(f"seed {seed}: {len(happenings)} happenings in {for_s - CALM_S:.0f} s, then calm")

    def go() -> None:
        lab.wan("start_timeline", happenings=msgspec.to_builtins(happenings))

    samples = load_real.send(lab, plan, for_s, on_go=go)
    promises = [
        right(samples),
        _once(lab, samples, noted),
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


def _ledger(lab: Lab) -> Counter[str]:
    """What reached the services, of all sites together. Each is asked in its own node: no policy, no route and no
    balancer is between."""
    tunnels = lab.plan.world.tunnels.values()
    return added(_told(lab, site) for site in sorted({s for one in tunnels for s in one.sites}))


def _told(lab: Lab, site: str) -> dict[str, int]:
    service = lab.plan.world.sites[site].service
    if service.command is not None or service.url is not None:
        raise LabError(f"sites.{site}.service: chaos needs `hello`, which notes what it was asked")
    done = lab.run(site, [sys.executable, "-c", _ASK], capture_output=True, timeout=_PATIENCE_S)
    if done.returncode != 0:
        why = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise LabError(f"the service of {site} does not tell what it was asked: {why}")
    told: dict[str, int] = json.loads(done.stdout)
    return told


def _once(lab: Lab, samples: Sequence[Sample], before: Counter[str]) -> Promise:
    """A service that cannot be asked any more breaks this promise, and leaves the others their results."""
    try:
        return once(samples, _ledger(lab) - before)
    except (LabError, subprocess.TimeoutExpired) as error:
        return replace(once(samples, {}), checked=0, broken=(str(error),))


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

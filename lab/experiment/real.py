"""Plays a design by real packets, in a lab whose PoPs work out all the algorithms beside each other.

The requests of a pair are made right after each other, in random order, by one visitor over one connection; a header
names the table that each goes by. So the algorithms share the network as it is in that moment, and what they cost in
probes is the same for all of them: it is one mesh that probes.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from ruamel.yaml import YAML

from lab.driver import Lab, LabError
from lab.experiment.design import Ask
from lab.experiment.files import Sample
from lab.experiment.played import Played, sample_of
from lab.experiment.truth import Truth
from lab.fidelity import measure, pairs_in_use, sites_connected_to
from lab.launch import Launch
from lab.load_client import Visit
from lab.rtts import current_rtts
from lab.rundir import RunDir
from lab.sites import site_of
from topology.plan import Plan

_TIMEOUT_S = 20.0
_ECHOES = 30
ALL_TOGETHER = "all together"


def beside(plan: Plan, algorithms: Sequence[str]) -> Plan:
    """The world in which all of them are worked out; what names none goes by the first."""
    routing = msgspec.structs.replace(
        plan.world.routing,
        algorithm=algorithms[0],
        source=None,
        params={},
        beside=tuple(algorithms),
    )
    return Plan.of(msgspec.structs.replace(plan.world, routing=routing))


def beside_file(world: Path, algorithms: Sequence[str], to: Path) -> None:
    """As `beside`, from file to file: for a lab that is brought up from one. The world is known to be right."""
    yaml = YAML()
    data = yaml.load(world.read_text("utf-8"))
    routing = data.setdefault("routing", {})
    for key in ("source", "params"):
        routing.pop(key, None)
    routing["algorithm"], routing["beside"] = algorithms[0], list(algorithms)
    internet = data.get("internet") or {}
    if internet.get("rtt_csv"):
        internet["rtt_csv"] = str((world.parent / internet["rtt_csv"]).resolve())
    with to.open("w", encoding="utf-8") as file:
        yaml.dump(data, file)


@contextlib.contextmanager
def brought_up(plan: Plan, tell: Callable[[str], None]) -> Iterator[Lab]:
    """A local lab that lives as long as the context. Raises UpError. Its timeline is not played."""
    launch = Launch(RunDir.of(f"compare-{os.getpid()}"))
    try:
        # No way in: nobody knows of this lab, and ports are few.
        launch.go(plan.idle(), detach=False, gateway={"web": "off", "socks": "off", "city": None})
        for message in launch.progress():
            tell(message.get("say", "ready"))
        yield Lab(launch.run)
    finally:
        launch.end()


def faithful(lab: Lab) -> bool:
    """Whether every pair in use takes as long as it is declared to (as `popnet fidelity`)."""
    return all(check.ok for check in measure(lab, pairs_in_use(lab), _ECHOES))


def play(lab: Lab, asks: Sequence[Ask], *, warm_up_s: float) -> Played:
    """All requests of one seed. They take as long as the design says."""
    visitors = list(dict.fromkeys(ask.visitor for ask in asks))
    programs = {
        visitor: lab.popen(
            visitor,
            [sys.executable, "-m", "lab.experiment.asking"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for visitor in visitors
    }
    try:
        load = lab.plan.world.load
        for visitor, program in programs.items():
            mine = [ask for ask in asks if ask.visitor == visitor]
            task = {
                "ca": str(lab.dir.pki / "ca.pem"),
                "timeout_s": load.timeout if load is not None else _TIMEOUT_S,
                "urls": list(dict.fromkeys(ask.url for ask in mine)),
                "asks": [[ask.pair_id, ask.at_s, ask.url, list(ask.order)] for ask in mine],
            }
            _say(program, json.dumps(task))
        for visitor, program in programs.items():
            assert program.stdout is not None
            if program.stdout.readline() != b"ready\n":
                raise LabError(f"{visitor}: the asking process did not start")
        begun, sent = time.monotonic(), _between_pops(lab)
        time.sleep(warm_up_s)
        quiet_s, control = time.monotonic() - begun, _between_pops(lab) - sent
        truths = _Truths(lab)
        since = time.time()
        for program in programs.values():
            _say(program, "go")
        begun = time.monotonic()
        with ThreadPoolExecutor(len(programs)) as readers:
            # All at once: whoever is not read from would stand still when its pipe is full.
            told = list(readers.map(_rest, programs.values()))
        length_s = time.monotonic() - begun
    finally:
        for program in programs.values():
            if program.poll() is None:
                program.kill()
            program.wait()
    by_id = {ask.pair_id: ask for ask in asks}
    samples = [truths.sample(by_id[line["pair_id"]], line) for lines in told for line in lines]
    return Played(
        seed=lab.plan.seed,
        algorithm=ALL_TOGETHER,
        samples=tuple(sorted(samples, key=lambda one: (one.pair_id, one.order))),
        began_s=since,
        length_s=length_s,
        settled=True,
        control_bytes_per_s=control / quiet_s,
        event_log_sha256=None,
    )


def _say(program: subprocess.Popen[Any], line: str) -> None:
    assert program.stdin is not None
    program.stdin.write(line.encode() + b"\n")
    program.stdin.flush()


def _rest(program: subprocess.Popen[Any]) -> list[dict[str, Any]]:
    assert program.stdout is not None
    return [json.loads(line) for line in program.stdout]


def _between_pops(lab: Lab) -> int:
    pops = lab.plan.pops
    pairs = [[a, b] for a in pops for b in pops if a != b]
    return sum(int(row["counters"]["bytes"]) for row in lab.wan("links", pairs=pairs)["links"])


class _Truths:
    """What the links declare while the lab stands as it does now."""

    def __init__(self, lab: Lab) -> None:
        self._plan = lab.plan
        rtt_s = current_rtts(lab)
        rows = {row["node"]: row for row in lab.wan("status")["nodes"]}
        there = [pop for pop in lab.plan.pops if rows[pop]["attached"]]
        self._truth = Truth.of(lab.plan, rtt_s, there)
        self._lands = {row["visitor"]: row["lands"] or "" for row in lab.wan("catchment")["rows"]}
        self._serving = {pop: sites_connected_to(lab, pop) for pop in there}
        self._best: dict[tuple[str, str], float] = {}

    def sample(self, ask: Ask, told: dict[str, Any]) -> Sample:
        site = site_of(self._plan, urlsplit(ask.url).hostname)
        visit = Visit(
            0.0,
            phases=told["phases"],
            status=told["status"],
            headers=[("popnet-path", told["path"])],
            bytes=told["bytes"],
            warm=told["warm"],
            error=told["error"],
        )
        lands = self._lands[ask.visitor]
        best_s = None
        if site is not None and lands:
            exits = [pop for pop, sites in self._serving.items() if site in sites]
            if (lands, site) not in self._best:
                self._best[lands, site], _ = self._truth.best(lands, exits, site)
            best_s = self._best[lands, site]
        return sample_of(
            ask,
            visit,
            told["algorithm"],
            told["order"],
            told["t_s"],
            lands,
            site,
            self._truth,
            best_s,
        )

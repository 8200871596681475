"""One comparison from what was wanted to what was found; the command prints it.

comparison = compare(Wanted(...), progress=tell)
comparison.leave(directory, sys.argv)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from lab.driver import Lab, LabError
from lab.experiment import provenance, real, virtual
from lab.experiment.design import Ask, design
from lab.experiment.files import ALL, Row, Sample, number, write
from lab.experiment.played import Played
from lab.experiment.stats import FEWEST_BLOCKS
from lab.experiment.summary import TTFB, summarise
from lab.experiment.truth import RELAYS, Prediction, declared_rtt, predict
from lab.experiment.wanted import Wanted, worlds
from lab.sites import site_of
from topology.plan import Plan

# What happens, and how much of the whole is done, 0 to 1.
Progress = Callable[[str, float], None]


@dataclass
class Comparison:
    wanted: Wanted
    samples: list[Sample]
    worlds: list[Played]
    predictions: dict[str, Prediction] = field(default_factory=dict)
    driver: str = "virtual"
    fidelity_ok: bool | None = None

    @cached_property
    def rows(self) -> list[Row]:
        costs: Counter[str] = Counter()
        for world in self.worlds:
            shared = world.algorithm == real.ALL_TOGETHER
            for name in self.wanted.names if shared else (world.algorithm,):
                costs[name] += world.control_bytes
        return summarise(self.samples, self.wanted.baseline, costs)

    def length(self) -> str:
        """How long it all took, in the time of the driver."""
        if self.driver == "virtual":
            all_s = sum(world.began_s + world.length_s for world in self.worlds)
            return f"{all_s:.0f} s of virtual time"
        return f"{sum(world.length_s for world in self.worlds):.0f} s of measuring"

    def overall(self) -> list[Row]:
        """One row for each algorithm but the baseline: everything, time to first byte."""
        return [row for row in self.rows if row.group == ALL and row.metric == TTFB]

    def lines(self) -> list[str]:
        """What the table does not say, for people."""
        found = self._failures() + self._problems()
        found += self._promises()
        each = ", ".join(f"{name} {rate / 1e3:.1f}" for name, rate in self.control_rates().items())
        found.append(f"probing and flooding, all PoPs, kB/s: {each}")
        if self.fidelity_ok is False:
            found.append(
                "`popnet fidelity` did not hold: a busy machine, or links so slow that an echo takes its time"
            )
        found += [
            f"seed {world.seed}: the routes of {world.algorithm} did not stand still before the measurement"
            for world in self.worlds
            if not world.settled
        ]
        blocks = min((row.n_blocks for row in self.overall()), default=0)
        if blocks < FEWEST_BLOCKS:
            found.append(
                f"{blocks} blocks of time are too few for a verdict, which needs {FEWEST_BLOCKS}: "
                "ask for more requests or more seeds"
            )
        return found

    def _promises(self) -> list[str]:
        """A line for each number of relays: what brute force finds, and how much of it was had."""
        found = []
        for relays in dict.fromkeys(RELAYS.get(name) for name in self.predictions):
            names = [name for name in self.predictions if RELAYS.get(name) == relays]
            promised = self.predictions[names[0]]
            most = "any number of relays" if relays is None else f"at most {relays} relay"
            had = []
            for name in names:
                gain = self._gain(name)
                share = _of(gain, promised.gain_ms)
                if gain is not None:
                    of = "" if share is None else f" ({100 * share:.0f} % of it)"
                    had.append(f"{name} gained {gain:.1f}{of}")
            found.append(
                f"by brute force on the declared RTTs, {most} can gain {promised.gain_ms:.1f} ms"
                f" ({100 * promised.share:.1f} %); {', '.join(had) or 'nothing was measured'}"
            )
        return found

    def _failures(self) -> list[str]:
        found = []
        for name in self.wanted.names:
            mine = [one for one in self.samples if one.algorithm == name]
            causes = Counter(one.error or f"status {one.status}" for one in mine if not one.ok)
            found += [
                f"{count} of {len(mine)} requests by {name} failed: {cause}"
                for cause, count in causes.most_common(3)
            ]
        return found

    def _problems(self) -> list[str]:
        """Where an algorithm fails, the last good table or `direct` decides: no gain is its own then."""
        found = []
        for name in self.wanted.names:
            mine = [
                problem for one in self.worlds for problem in one.problems if one.algorithm == name
            ]
            if mine:
                found.append(f"{name} failed {len(mine)} times to decide, first at {mine[0]}")
        return found

    def control_rates(self) -> dict[str, float]:
        """Algorithm -> bytes a second, over its worlds."""
        found = {}
        for name in dict.fromkeys(one.algorithm for one in self.worlds):
            rates = [one.control_bytes_per_s for one in self.worlds if one.algorithm == name]
            found[name] = sum(rates) / len(rates)
        return found

    def extra(self) -> dict[str, Any]:
        """Of summary.json, beside the rows."""
        return {
            "world": self.wanted.plan.name,
            "driver": self.driver,
            "baseline": self.wanted.baseline,
            "algorithms": list(self.wanted.names),
            "requests": self.wanted.requests,
            "seeds": list(self.wanted.seeds),
            "prediction": {
                name: {
                    "relays_at_most": RELAYS.get(name),
                    "base_ms": number(one.base_ms),
                    "gain_ms": number(one.gain_ms),
                    "measured_of_predicted": _of(self._gain(name), one.gain_ms),
                }
                for name, one in self.predictions.items()
            },
            "control_bytes_per_s": {
                name: number(rate, 1) for name, rate in self.control_rates().items()
            },
            "paths": shares(self.samples),
        }

    def _gain(self, name: str) -> float | None:
        return next(row.gain_ms for row in self.overall() if row.algorithm == name)

    def _events(self) -> str | None:
        """Of virtual worlds only: what happens by real packets never happens again to the microsecond."""
        digests = [one.event_log_sha256 for one in self.worlds]
        told = [digest for digest in digests if digest is not None]
        return provenance.digest(told) if told else None

    def leave(self, directory: Path, argv: Sequence[str]) -> None:
        """Write the files."""
        wanted = self.wanted
        matrix = wanted.plan.world.internet.rtt_csv
        facts = {
            "seeds": list(wanted.seeds),
            "driver": self.driver,
            "visitors": list(wanted.visitors),
            "urls": list(wanted.urls),
            "every_s": wanted.every_s,
            "block_s": wanted.block_s,
            "warm_up_s": wanted.warm_up_s,
            "fidelity_ok": self.fidelity_ok,
            "event_log_sha256": self._events(),
            "worlds": [one.to_dict() for one in self.worlds],
        }
        manifest = provenance.manifest(
            argv,
            world=wanted.world,
            matrix=None if matrix is None else wanted.world.parent / matrix,
            plugins=[one.file for one in wanted.algorithms if one.file is not None],
            **facts,
        )
        write(
            directory,
            samples=self.samples,
            rows=self.rows,
            extra=self.extra(),
            manifest=manifest,
        )


def _of(gain_ms: float | None, promised_ms: float) -> float | None:
    """None where next to nothing was promised: a share of that says nothing."""
    return None if gain_ms is None or promised_ms < 0.1 else number(gain_ms / promised_ms)


def shares(samples: Sequence[Sample]) -> dict[str, dict[str, dict[str, float]]]:
    """Algorithm -> visitor -> path -> share of its answered requests, the most frequent first."""
    counts: dict[str, dict[str, Counter[str]]] = {}
    for one in samples:
        if one.ok:
            of = counts.setdefault(one.algorithm, {}).setdefault(one.visitor, Counter())
            of[one.path] += 1
    return {
        name: {
            visitor: {
                path: round(count / of.total(), 4)
                for path, count in sorted(of.items(), key=lambda item: (-item[1], item[0]))
            }
            for visitor, of in sorted(by_visitor.items())
        }
        for name, by_visitor in counts.items()
    }


def predictions(wanted: Wanted) -> dict[str, Prediction]:
    """Empty where brute force has nothing to say: several sites, or a site that no PoP is declared for."""
    sites = {site_of(wanted.plan, urlsplit(url).hostname) for url in wanted.urls}
    site = sites.pop()
    if sites or site is None:
        return {}
    return predict(wanted.plan, declared_rtt(wanted.plan), site, wanted.visitors, wanted.names)


def designed(wanted: Wanted) -> dict[int, tuple[Ask, ...]]:
    return design(
        seeds=wanted.seeds,
        requests=wanted.requests,
        visitors=wanted.visitors,
        urls=wanted.urls,
        algorithms=wanted.names,
        every_s=wanted.every_s,
        block_s=wanted.block_s,
    )


def compare(wanted: Wanted, *, progress: Progress = lambda text, done: None) -> Comparison:
    """In virtual time: a world for each seed and algorithm."""
    played: list[Played] = []
    many = len(wanted.seeds) * len(wanted.names)
    for one in virtual.play(
        worlds(wanted.plan, wanted.algorithms), designed(wanted), warm_up_s=wanted.warm_up_s
    ):
        played.append(one)
        text = f"{len(played)}/{many} worlds, last seed {one.seed} by {one.algorithm}"
        progress(text, len(played) / many)
    samples = [sample for one in played for sample in one.samples]
    return Comparison(wanted, samples, played, predictions(wanted))


def compare_really(wanted: Wanted, *, progress: Progress = lambda text, done: None) -> Comparison:
    """By real packets: a lab for each seed, one after another. Raises LabError, UpError."""
    no_files(wanted)
    played: list[Played] = []
    fidelity_ok = True
    for number_, (seed, asks) in enumerate(designed(wanted).items()):
        plan = Plan.of(msgspec.structs.replace(wanted.plan.world, seed=seed))

        def tell(text: str, done: float = number_ / len(wanted.seeds), seed: int = seed) -> None:
            progress(f"seed {seed}: {text}", done)

        with real.brought_up(real.beside(plan, wanted.names), tell) as lab:
            faithful, one = _in_lab(lab, wanted, asks, tell)
            fidelity_ok &= faithful
            played.append(one)
    return _really(wanted, played, "local", fidelity_ok)


def compare_in(
    lab: Lab, wanted: Wanted, *, progress: Progress = lambda text, done: None
) -> Comparison:
    """In a lab that is running; one seed, its own. Its PoPs must work out all the algorithms already."""
    no_files(wanted)
    there = lab.plan.world.routing.beside
    missing = [name for name in wanted.names if name not in there]
    if missing:
        raise LabError(
            f"--algorithms: found {', '.join(missing)}, allowed: what `routing.beside` of the lab's world names"
            f" ({', '.join(there) or 'nothing'})"
        )
    (asks,) = designed(wanted).values()
    faithful, one = _in_lab(lab, wanted, asks, lambda text: progress(text, 0.0))
    driver = "containers" if lab.in_containers else "local"
    return _really(wanted, [one], driver, faithful)


def no_files(wanted: Wanted) -> None:
    files = [one.name for one in wanted.algorithms if one.file is not None]
    if files:
        raise LabError(
            f"--algorithms: found the file {files[0]}.py, allowed: names, where the driver is not virtual; "
            "PoPs of one lab work out all algorithms beside each other"
        )


def _in_lab(
    lab: Lab, wanted: Wanted, asks: Sequence[Ask], tell: Callable[[str], None]
) -> tuple[bool, Played]:
    tell("is the network faithful?")
    faithful = real.faithful(lab)
    until_s = wanted.warm_up_s + (asks[-1].at_s if asks else 0.0)
    tell(f"{len(asks)} pairs of requests, {until_s:.0f} s")
    return faithful, real.play(lab, asks, warm_up_s=wanted.warm_up_s)


def _really(wanted: Wanted, played: list[Played], driver: str, fidelity_ok: bool) -> Comparison:
    samples = [sample for one in played for sample in one.samples]
    return Comparison(wanted, samples, played, predictions(wanted), driver, fidelity_ok)

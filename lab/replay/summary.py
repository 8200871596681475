"""What came of a replay: the table for people, and the files of an experiment.

samples.csv holds the sampled pairs: a pair is (slice, source, destination), a block of time is a slice, and a request
takes the RTT of its path, for a matrix knows no servers. In summary.csv the group `all` is all pairs of the matrix,
for algorithms that have an array form, and the group `sample` the sampled pairs, for every algorithm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.experiment.files import ALL, Row, Sample, number
from lab.experiment.stats import (
    MARGIN_MS,
    MARGIN_SHARE,
    block_bootstrap,
    holm,
    margin,
    sign_flip_p,
    verdict,
)
from lab.replay.dense import NONE, Relays
from lab.replay.playing import ORACLES, Judged, Played

BASELINE = "direct"
SAMPLE = "sample"
METRIC = "overlay_rtt_ms"

Cube = NDArray[np.float64]
"""Judged slices x pairs, in ms."""


@dataclass(frozen=True, slots=True)
class Line:
    """One algorithm in one group. Gains are direct's RTT less its own, in ms, over every pair and judged slice.

    `of_oracle` is the share of what the best single relay would have gained on the same pairs; `changes` the share of
    routes that changed from one slice to the next; `worse` the share of pairs that lost more than 1 ms and 1 % by it;
    `tried` is the share of decisions within slices, which nobody judged, that had another path than the judged one;
    `failed` the share that had a direct way and no way by it.
    """

    algorithm: str
    group: str
    pairs: int
    slices: int
    mean_ms: float
    gain_ms: float
    gain_p50_ms: float
    gain_p95_ms: float
    of_oracle: float | None
    changes: float
    tried: float | None
    worse: float
    failed: float
    regret_ms: float


def cube(judged: Judged) -> Cube:
    return 1e3 * np.stack(judged.rtt_s)


def lines(played: Played) -> list[Line]:
    """On all pairs what can be; on the sampled ones everything, if there is something that was only judged on those."""
    found = [_line(name, ALL, played.everywhere) for name in played.everywhere]
    if set(played.sample) - set(played.everywhere):
        found += [_line(name, SAMPLE, played.sample) for name in played.sample]
    return found


def _group(played: Played, whole: bool) -> Mapping[str, Judged]:
    return played.everywhere if whole else played.sample


def _line(name: str, group: str, judged: Mapping[str, Judged]) -> Line:
    direct, mine, single, best = (
        cube(judged[one]) for one in (BASELINE, name, ORACLES[0], ORACLES[1])
    )
    known = np.isfinite(direct) & np.isfinite(mine)
    base, own = direct[known], mine[known]
    gains = base - own
    possible = (base - single[known]).sum()
    changed, tried = judged[name].changed[1:], judged[name].tried
    return Line(
        algorithm=name,
        group=group,
        pairs=direct.shape[1],
        slices=len(direct),
        mean_ms=float(own.mean()),
        gain_ms=float(gains.mean()),
        gain_p50_ms=_percentile(gains, 50),
        gain_p95_ms=_percentile(gains, 95),
        of_oracle=float(gains.sum() / possible) if possible > 0 else None,
        changes=sum(changed) / (len(changed) * direct.shape[1]) if changed else 0.0,
        tried=sum(tried) / len(tried) if tried else None,
        worse=float((gains < -np.maximum(MARGIN_MS, MARGIN_SHARE * base)).mean()),
        failed=float((np.isfinite(direct) & ~np.isfinite(mine)).mean()),
        regret_ms=float((own - best[known]).mean()),
    )


def _percentile(values: NDArray[np.float64], percent: float) -> float:
    """By the nearest rank, as everywhere."""
    return float(np.percentile(values, percent, method="inverted_cdf")) if len(values) else np.nan


def rows(played: Played) -> list[Row]:
    """Every algorithm in each of its groups, with interval and verdict: a block is a slice."""
    found = []
    for whole, group in ((True, ALL), (False, SAMPLE)):
        judged = _group(played, whole)
        names = [name for name in judged if name not in (BASELINE, *ORACLES)]
        direct = cube(judged[BASELINE])
        mine = {name: cube(judged[name]) for name in names}
        blocks = {name: _blocks(direct, mine[name]) for name in names}
        p_values = holm({name: sign_flip_p(blocks[name]) for name in names})
        lines_ = {name: _line(name, group, judged) for name in names}
        for name in names:
            known = np.isfinite(direct) & np.isfinite(mine[name])
            base, own = direct[known], mine[name][known]
            gain = block_bootstrap(blocks[name])
            found.append(
                Row(
                    baseline=BASELINE,
                    algorithm=name,
                    group=group,
                    metric=METRIC,
                    n_pairs=int(known.sum()),
                    n_blocks=gain.blocks,
                    base_p50=number(_percentile(base, 50)),
                    p50=number(_percentile(own, 50)),
                    p95=number(_percentile(own, 95)),
                    p99=number(_percentile(own, 99)),
                    gain_ms=number(lines_[name].gain_ms),
                    gain_lo=number(gain.lo),
                    gain_hi=number(gain.hi),
                    worse_share=number(lines_[name].worse),
                    p_holm=number(p_values[name], 6),
                    failed_base=int((~np.isfinite(direct)).sum()),
                    failed=int((~np.isfinite(mine[name])).sum()),
                    route_changes=sum(judged[name].changed[1:]),
                    regret_ms=number(lines_[name].regret_ms),
                    probe_bytes=None,
                    verdict=verdict(gain, margin(float(base.mean())), p_values[name]),
                )
            )
    return found


def _blocks(direct: Cube, mine: Cube) -> list[list[float]]:
    """One block a slice. Its mean stands for it: slices of one matrix have about as many pairs."""
    found = []
    for before, after in zip(direct, mine, strict=True):
        known = np.isfinite(before) & np.isfinite(after)
        gains = before[known] - after[known]
        found.append([float(gains.mean())] if len(gains) else [])
    return found


def samples(played: Played, names: Sequence[str], seed: int, every_s: float) -> list[Sample]:
    """Every sampled pair in every judged slice by every algorithm."""
    found = []
    best = cube(played.sample[ORACLES[1]])
    ways = {name: judged.paths for name, judged in played.sample.items() if judged.paths}
    costs = {name: cube(played.sample[name]) for name in ways}
    pairs = played.sample[BASELINE].pairs
    for t in range(len(best)):
        for at, (a, b) in enumerate(zip(pairs.source, pairs.destination, strict=True)):
            for order, name in enumerate(ways):
                rtt_ms = float(costs[name][t, at])
                there = bool(np.isfinite(rtt_ms))
                found.append(
                    Sample(
                        seed=seed,
                        repeat=t,
                        pair_id=t * len(pairs) + at,
                        order=order,
                        t_s=(t + 1) * every_s,
                        visitor=names[a],
                        host=names[b],
                        ingress=names[a],
                        egress=names[b],
                        algorithm=name,
                        path=_way(names, a, b, ways[name][t], at) if there else "",
                        status=200 if there else 0,
                        error="" if there else "not measured",
                        warm=True,
                        bytes=0,
                        dns_ms=0.0,
                        connect_ms=0.0,
                        tls_ms=0.0,
                        ttfb_ms=round(rtt_ms, 4) if there else 0.0,
                        total_ms=round(rtt_ms, 4) if there else 0.0,
                        overlay_rtt_ms=number(rtt_ms),
                        oracle_rtt_ms=number(float(best[t, at])),
                    )
                )
    return found


def _way(names: Sequence[str], a: int, b: int, relays: Relays, at: int) -> str:
    return ">".join([names[a], *(names[one] for one in relays[at] if one != NONE), names[b]])


def to_dict(line: Line) -> dict[str, Any]:
    return {
        name: number(value, 6) if isinstance(value := getattr(line, name), float) else value
        for name in Line.__dataclass_fields__
    }

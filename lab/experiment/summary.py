"""Samples in, rows out: each algorithm against the baseline, in all and for every visitor. Pure.

A pair counts when both of its requests were answered and both went over a warm connection: what a cold one costs is the
visitor's way to its PoP, which no routing changes, and would only add noise. Failures are counted over all requests.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from lab.experiment.files import ALL, Row, Sample, number
from lab.experiment.stats import (
    LEVEL,
    Interval,
    Verdict,
    block_bootstrap,
    blocked,
    holm,
    margin,
    mean,
    quantile,
    sign_flip_p,
    verdict,
)

TTFB, OVERLAY = "ttfb_ms", "overlay_rtt_ms"
METRICS = (TTFB, OVERLAY)
# More failures than the baseline by this share of the requests are harm, however fast the rest was.
_FAILURES = 0.01

Pair = tuple[Sample, Sample]


def pairs_of(samples: Iterable[Sample], baseline: str) -> dict[str, list[Pair]]:
    """Algorithm -> (baseline's sample, its own), in the order of the pairs."""
    by_pair: dict[tuple[int, int], dict[str, Sample]] = {}
    for sample in samples:
        by_pair.setdefault((sample.seed, sample.pair_id), {})[sample.algorithm] = sample
    found: dict[str, list[Pair]] = {}
    for key in sorted(by_pair):
        base = by_pair[key].get(baseline)
        for name, sample in by_pair[key].items():
            if base is not None and name != baseline:
                found.setdefault(name, []).append((base, sample))
    return found


def value(sample: Sample, metric: str) -> float | None:
    """None when the sample does not say."""
    if not sample.ok or not sample.warm:
        return None
    found: float | None = getattr(sample, metric)
    return found


def measured(pairs: Iterable[Pair], metric: str) -> list[tuple[tuple[int, int], float, float]]:
    """(block, baseline's value, the algorithm's) of every pair that counts."""
    found = []
    for base, mine in pairs:
        before, after = value(base, metric), value(mine, metric)
        if before is not None and after is not None:
            found.append((base.block, before, after))
    return found


def route_changes(samples: Iterable[Sample]) -> int:
    """How often a request went another way than the one before it of the same visitor to the same host."""
    last: dict[tuple[int, str, str], str] = {}
    changes = 0
    for sample in sorted(samples, key=lambda one: (one.seed, one.t_s, one.pair_id)):
        if sample.ok:
            key = (sample.seed, sample.visitor, sample.host)
            changes += last.get(key, sample.path) != sample.path
            last[key] = sample.path
    return changes


def regret_ms(samples: Iterable[Sample]) -> float:
    """Mean of what the way that was taken declares beyond the best there was."""
    return mean(
        [
            one.overlay_rtt_ms - one.oracle_rtt_ms
            for one in samples
            if one.ok and one.overlay_rtt_ms is not None and one.oracle_rtt_ms is not None
        ]
    )


def summarise(
    samples: Sequence[Sample],
    baseline: str,
    probe_bytes: Mapping[str, int] | None = None,
    *,
    metrics: Sequence[str] = METRICS,
) -> list[Row]:
    """Rows by algorithm, then group (`all` first), then metric.

    `probe_bytes`: what each algorithm's PoPs sent each other without any request, while it was measured.
    """
    pairs = pairs_of(samples, baseline)
    algorithms = list(dict.fromkeys(one.algorithm for one in samples if one.algorithm != baseline))
    visitors = sorted({one.visitor for one in samples})
    rows: dict[tuple[str, str, str], Row] = {}
    for group in (ALL, *visitors):
        mine = {
            name: [pair for pair in pairs.get(name, []) if group in (ALL, pair[0].visitor)]
            for name in algorithms
        }
        for metric in metrics:
            found = {name: measured(mine[name], metric) for name in algorithms}
            gains = {
                name: blocked((block, before - after) for block, before, after in found[name])
                for name in algorithms
            }
            p_values = holm({name: sign_flip_p(gains[name]) for name in algorithms})
            for name in algorithms:
                rows[name, group, metric] = _row(
                    baseline,
                    name,
                    group,
                    metric,
                    mine[name],
                    found[name],
                    gains[name],
                    p_values[name],
                    (probe_bytes or {}).get(name) if group == ALL else None,
                )
    return [
        rows[name, group, metric]
        for name in algorithms
        for group in (ALL, *visitors)
        for metric in metrics
    ]


def _row(
    baseline: str,
    algorithm: str,
    group: str,
    metric: str,
    pairs: Sequence[Pair],
    found: Sequence[tuple[object, float, float]],
    gains: Sequence[Sequence[float]],
    p_holm: float,
    probe_bytes: int | None,
) -> Row:
    base, mine = [before for _, before, _ in found], [after for _, _, after in found]
    gain = block_bootstrap(gains)
    worse = [before - after < -margin(before) for _, before, after in found]
    own = [pair[1] for pair in pairs]
    return Row(
        baseline=baseline,
        algorithm=algorithm,
        group=group,
        metric=metric,
        n_pairs=len(found),
        n_blocks=gain.blocks,
        base_p50=number(quantile(base, 50)),
        p50=number(quantile(mine, 50)),
        p95=number(quantile(mine, 95)),
        p99=number(quantile(mine, 99)),
        gain_ms=number(gain.value),
        gain_lo=number(gain.lo),
        gain_hi=number(gain.hi),
        worse_share=number(mean(worse)),
        p_holm=number(p_holm, 6),
        failed_base=sum(not pair[0].ok for pair in pairs),
        failed=sum(not one.ok for one in own),
        route_changes=route_changes(own),
        regret_ms=number(regret_ms(own)),
        probe_bytes=probe_bytes,
        verdict=_verdict(gain, mean(base), p_holm, pairs),
    )


def _verdict(gain: Interval, base_ms: float, p_holm: float, pairs: Sequence[Pair]) -> Verdict:
    lost = blocked((base.block, float(not mine.ok) - float(not base.ok)) for base, mine in pairs)
    more = math.fsum(x for block in lost for x in block)
    if more > _FAILURES * len(pairs) and sign_flip_p(lost) <= 1 - LEVEL:
        return Verdict.harms
    return verdict(gain, margin(base_ms), p_holm)

"""The array forms give the paths of the algorithms themselves, after the same damping."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.replay.dense import DENSE, NONE, Pairs, any_relays, k_median
from lab.replay.estimates import Estimates
from lab.replay.matrices import Matrices, checked
from lab.replay.playing import Contender, Settings, play, sampled
from lab.replay.walking import Walking, graph_of
from routing.algorithms import hubs
from routing.catalogue import algorithm
from routing.damping import Damping


def series(seed: int, nodes: int = 9, slices: int = 5, missing: float = 0.1) -> Matrices:
    """RTTs with detours, spikes and gaps; odd enough not to tie."""
    rng = np.random.default_rng(seed)
    base = rng.choice([20.0, 80.0, 300.0], (nodes, nodes)) * rng.uniform(0.7, 1.3, (nodes, nodes))
    base = np.minimum(base, base.T)
    rtts = np.stack([base * rng.uniform(0.95, 1.3, base.shape) for _ in range(slices)])
    rtts[rng.random(rtts.shape) < 0.1] *= 2.5
    rtts[1:][rng.random(rtts[1:].shape) < missing] = np.nan
    for one in rtts:
        np.fill_diagonal(one, 0.0)
    return checked([f"n{index}" for index in range(nodes)], rtts)


def wanted(**more: object) -> Settings:
    given = {
        "estimator": {"ewma": 0.3},
        "damping": Damping(min_gain_pct=5),
        "pairs": 10_000,
        "every_s": 60.0,
        "rounds": 1,
        "hop_cost_s": 0.001,
        "seed": 1,
    }
    return Settings(**{**given, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(DENSE))
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), pct=st.sampled_from([0.0, 5.0, 20.0]))
def test_the_array_form_is_the_algorithm(name: str, seed: int, pct: float) -> None:
    matrices = series(seed)
    params = {"hubs": {"count": 2}, "sla": {"max_rtt_s": 0.1}}.get(name, {})
    chosen = algorithm(name)
    contender = Contender(name, chosen, chosen.with_params(params))
    chosen_settings = wanted(damping=Damping(min_gain_pct=pct))
    played = play(matrices, [contender], chosen_settings)
    pairs = Pairs.all(len(matrices.names))
    walk = Walking(chosen, contender.params, matrices.names, pairs, chosen_settings.damping, 1)
    estimates = Estimates({"ewma": 0.3})
    for t, seen in enumerate(matrices.rtt_ms[:-1] / 1e3):
        estimates.add(seen)
        rtts = np.nan_to_num(estimates.matrix(), nan=np.inf)
        walked = walk.decide(graph_of(matrices.names, rtts, t), t, t * 60.0)
        dense = played.sample[name].paths[t]
        assert paths(walked) == paths(dense), f"slice {t}"


def paths(relays: np.ndarray) -> list[list[int]]:
    return [[int(one) for one in row if one != NONE] for row in relays]


@given(seed=st.integers(0, 10_000), most=st.integers(1, 3))
def test_bounded_paths_over_any_relays(seed: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    rtts = rng.uniform(0.001, 0.03, (7, 7)) ** 2 * 100
    rtts[rng.random((7, 7)) < 0.3] = np.inf
    np.fill_diagonal(rtts, 0.0)
    names = [f"n{index}" for index in range(7)]
    pairs = Pairs.all(7)
    chosen = algorithm("lowest-rtt")
    params = chosen.with_params({"max_relays": most})
    walk = Walking(chosen, params, names, pairs, Damping(), 1)
    walked = paths(walk.decide(graph_of(names, rtts, 1), 0, 0.0))
    # A pair that nothing connects has no path there, and the direct one that costs infinity here.
    assert walked == paths(any_relays(rtts, pairs, 0.001, most))


def test_hubs_are_the_same() -> None:
    matrices = series(3, missing=0.0)
    rtts = matrices.rtt_ms[0] / 1e3
    found = hubs.k_median(graph_of(matrices.names, rtts, 1), 4)
    assert found == [matrices.names[one] for one in k_median(rtts, 4)]


def test_a_sample_is_what_was_asked_for_and_repeats() -> None:
    some = sampled(100, 400, seed=5)
    assert len(some) == 400
    assert len(set(some.source)) == 20
    assert not (some.source == some.destination).any()
    again = sampled(100, 400, seed=5)
    assert (some.source == again.source).all()
    assert (some.destination == again.destination).all()
    assert len(sampled(5, 400, seed=5)) == 20

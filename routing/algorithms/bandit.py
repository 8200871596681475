"""Learn from requests which of the best paths is best, and try the others now and then.

After VIA (Jiang et al., VIA: Improving Internet Telephony Call Quality Using Predictive Relay Selection, SIGCOMM
2016): measurements predict the cost of every relay, the best `arms` paths become the arms of a bandit, and outcomes
correct the prediction. What is learnt of an arm is how much slower its requests were than predicted, against the mean
of the tunnel, so that the origin's own time, the same for all arms, does not matter. Few outcomes count little
(`prior`), old ones fade (`half_life_s`; Garivier, Moulines, On Upper-Confidence Bound Policies for Switching Bandit
Problems, ALT 2011).

`rule: ucb` ranks by cost less a bonus for what is seldom tried (UCB1; Auer et al., Finite-time Analysis, 2002),
scaled as VIA does by what requests cost; `rule: thompson` draws each arm's cost from what is known of it (Thompson,
Biometrika 1933). `explore` is the scale of both. It pays for what it learns with requests that take a worse path.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from routing.api import Path, Routes, RoutingState
from routing.candidates import Candidates, Way, ranked, rtt_price
from routing.errors import UnknownParameterError

PARAMS: dict[str, Any] = {
    "rule": "ucb",
    "arms": 4,
    "explore": 0.03,
    "prior": 2.0,
    "half_life_s": 60.0,
    "failed_s": 1.0,
    "hop_cost_s": 0.001,
}


@dataclass(slots=True)
class Arm:
    """Outcomes of one path, faded: how many, and the sum of what they took beyond the prediction."""

    count: float = 0.0
    beyond_s: float = 0.0


@dataclass(slots=True)
class Learnt:
    """What one tunnel's requests have taught, and what was predicted for the ones under way."""

    at: float
    arms: dict[Way, Arm] = field(default_factory=dict)
    predicted: dict[Way, float] = field(default_factory=dict)


def decide(state: RoutingState) -> Routes:
    params = state.params
    if params["rule"] not in ("ucb", "thompson"):
        raise UnknownParameterError(f"bandit: rule {params['rule']!r}; there are ucb, thompson")
    candidates = Candidates(state, rtt_price(params["hop_cost_s"]))
    memory: dict[str, Learnt] = state.memory.setdefault("learnt", {})
    routes = {}
    for tunnel in state.tunnels:
        learnt = memory.setdefault(tunnel, Learnt(state.now))
        _learn(learnt, tunnel, state)
        ranking = candidates.paths(tunnel)
        learnt.predicted = {path.way: path.cost_s for path in ranking}
        arms = ranking[: int(params["arms"])]
        corrected = [_corrected(path, arms[0].cost_s, learnt, state) for path in arms]
        # What is no arm stands behind them, as an alternative only.
        worst = max((path.cost_s for path in corrected), default=0.0)
        routes[tunnel] = ranked(corrected) + [
            _behind(path, worst) for path in ranking[int(params["arms"]) :]
        ]
    return routes


def _learn(learnt: Learnt, tunnel: str, state: RoutingState) -> None:
    fade = 0.5 ** ((state.now - learnt.at) / state.params["half_life_s"])
    learnt.at = state.now
    for arm in learnt.arms.values():
        arm.count *= fade
        arm.beyond_s *= fade
    for outcome in state.outcomes:
        way = (outcome.pops, outcome.connection)
        if outcome.tunnel == tunnel and way in learnt.predicted:
            took = outcome.ttfb_s if outcome.ok else max(outcome.ttfb_s, state.params["failed_s"])
            arm = learnt.arms.setdefault(way, Arm())
            arm.count += 1.0
            arm.beyond_s += took - learnt.predicted[way]
    learnt.arms = {way: arm for way, arm in learnt.arms.items() if arm.count > 0.01}


def _corrected(path: Path, best_s: float, learnt: Learnt, state: RoutingState) -> Path:
    params = state.params
    total = sum(arm.count for arm in learnt.arms.values())
    mean = sum(arm.beyond_s for arm in learnt.arms.values()) / total if total else 0.0
    arm = learnt.arms.get(path.way, Arm())
    terms = dict(path.terms)
    terms["learnt"] = (arm.beyond_s - mean * arm.count) / (arm.count + params["prior"])
    # By what requests take, not by what was predicted: where these are far apart, there is much to find out.
    scale = params["explore"] * (best_s + max(0.0, mean)) / math.sqrt(1.0 + arm.count)
    if params["rule"] == "ucb":
        terms["explore"] = -scale * math.sqrt(math.log1p(total))
    else:
        terms["explore"] = scale * state.rng.gauss(0.0, 1.0)
    return Path(path.pops, path.connection, terms)


def _behind(path: Path, worst_s: float) -> Path:
    terms = {**path.terms, "learnt": max(0.0, worst_s - path.cost_s), "explore": 0.0}
    return Path(path.pops, path.connection, terms)

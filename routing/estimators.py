"""From samples of a link's RTT to one number: pure functions on small immutable states.

last                    the newest sample
ewma(a)                 exponentially weighted: old + a x (sample - old); a = 1/8 is TCP's SRTT (RFC 6298)
min(window)             the least of the last samples: propagation without queues (as BBR's RTprop)
median(window)          unmoved by less than half a window of outliers (RON ran on it, SOSP 2001)
quantile(q, window)     the q-quantile of the last samples, by linear interpolation
mean_deviation(k)       mean plus k mean deviations, both smoothed as in RFC 6298: dislikes links that vary

Times are seconds. A spec is what a world file says: `last`, or a mapping of one name to its parameter(s).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from routing.errors import UnknownEstimatorError

State = Any
"""What an estimator remembers: its own immutable thing, None before the first sample."""

Spec = str | Mapping[str, Any]

_WINDOW = 20
_LONGEST = 10_000


@dataclass(frozen=True, slots=True)
class Estimator:
    """`add(state, sample_s)` returns the next state; `value(state)` is NaN before the first sample."""

    name: str
    start: Callable[[], State]
    add: Callable[[State, float], State]
    value: Callable[[State], float]


def estimator(spec: Spec) -> Estimator:
    """The estimator that a spec names. Raises UnknownEstimatorError, which says what there is."""
    if isinstance(spec, str):
        name, given = spec, None
    elif len(spec) == 1:
        ((name, given),) = spec.items()
    else:
        raise UnknownEstimatorError(f"an estimator is one name with its parameter, not {spec!r}")
    make = _KINDS.get(name)
    if make is None:
        raise UnknownEstimatorError(f"no estimator {name!r}; there are {', '.join(_KINDS)}")
    if given is None:
        values: list[Any] = []
    else:
        values = list(given) if isinstance(given, Sequence) else [given]
    if not all(isinstance(one, int | float) and math.isfinite(one) for one in values):
        raise UnknownEstimatorError(f"estimator {name!r}: {given!r} is no number")
    try:
        return make(name, *values)
    except TypeError:
        raise UnknownEstimatorError(f"estimator {name!r} does not take {given!r}") from None


def _start() -> State:
    return None


def _last(name: str) -> Estimator:
    return Estimator(
        name, _start, lambda _, sample: sample, lambda state: math.nan if state is None else state
    )


def _ewma(name: str, weight: float = 0.3) -> Estimator:
    if not 0 < weight <= 1:
        raise UnknownEstimatorError(f"estimator {name!r}: {weight!r} is not in (0, 1]")

    def add(state: State, sample: float) -> State:
        return sample if state is None else state + weight * (sample - state)

    return Estimator(name, _start, add, lambda state: math.nan if state is None else state)


def _mean_deviation(name: str, factor: float = 4.0) -> Estimator:
    if factor < 0:
        raise UnknownEstimatorError(f"estimator {name!r}: {factor!r} is below 0")

    def add(state: State, sample: float) -> State:
        if state is None:
            # RFC 6298 starts at half the sample, to be careful; a route is not chosen by caution.
            return sample, 0.0
        mean, deviation = state
        deviation += (abs(sample - mean) - deviation) / 4
        return mean + (sample - mean) / 8, deviation

    def value(state: State) -> float:
        return math.nan if state is None else state[0] + factor * state[1]

    return Estimator(name, _start, add, value)


def _windowed(name: str, window: float, reduce: Callable[[tuple[float, ...]], float]) -> Estimator:
    if not 1 <= window <= _LONGEST or window != int(window):
        raise UnknownEstimatorError(
            f"estimator {name!r}: a window of {window!r} is not a whole number in 1..{_LONGEST}"
        )
    older = int(window) - 1

    def add(state: State, sample: float) -> State:
        return (*state[-older:], sample) if state is not None and older else (sample,)

    return Estimator(name, _start, add, lambda state: math.nan if state is None else reduce(state))


def _min(name: str, window: float = _WINDOW) -> Estimator:
    return _windowed(name, window, min)


def _median(name: str, window: float = _WINDOW) -> Estimator:
    return _windowed(name, window, lambda samples: _at(samples, 0.5))


def _quantile(name: str, q: float = 0.9, window: float = _WINDOW) -> Estimator:
    if not 0 <= q <= 1:
        raise UnknownEstimatorError(f"estimator {name!r}: {q!r} is not in [0, 1]")
    return _windowed(name, window, lambda samples: _at(samples, q))


def _at(samples: tuple[float, ...], q: float) -> float:
    ordered = sorted(samples)
    place = q * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


_KINDS: Mapping[str, Callable[..., Estimator]] = {
    "last": _last,
    "ewma": _ewma,
    "min": _min,
    "median": _median,
    "quantile": _quantile,
    "mean_deviation": _mean_deviation,
}

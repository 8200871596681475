"""The estimators of routing.estimators for a whole matrix at once. A slice is one sample of every link.

A link that was not measured in a slice keeps its estimate, as a PoP does whose probe has no answer yet. The windows of
min, median and quantile are of the last slices.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.driver import LabError
from routing.errors import RoutingError
from routing.estimators import estimator

Matrix = NDArray[np.float64]

_WINDOWED = {"min": 0.0, "median": 0.5, "quantile": None}
_WINDOW = 20


def spec(text: str) -> str | dict[str, Any]:
    """`ewma:0.3`, `min:5`, `quantile:0.9,20` as a world file would say it. Raises LabError."""
    name, colon, rest = text.partition(":")
    found: str | dict[str, Any] = name
    try:
        if colon:
            numbers = [float(part) for part in rest.split(",")]
            found = {name: numbers if len(numbers) > 1 else numbers[0]}
        estimator(found)
    except (ValueError, RoutingError) as error:
        raise LabError(
            f"--estimator: found {text!r}, allowed: a name and its numbers, such as ewma:0.3 ({error})"
        ) from None
    return found


class Estimates:
    """Feed it slices; `matrix()` is what a PoP would believe, NaN where nothing was ever measured."""

    def __init__(self, spec: str | Mapping[str, Any]) -> None:
        name, given = (spec, None) if isinstance(spec, str) else next(iter(spec.items()))
        self._estimator = estimator(spec)
        self._name = name
        values = [] if given is None else list(given) if isinstance(given, list) else [given]
        self._q = _WINDOWED.get(name)
        if name == "quantile":
            self._q = values.pop(0) if values else 0.9
        window = int(values[0]) if values and name in _WINDOWED else _WINDOW
        self._slices: deque[Matrix] = deque(maxlen=window)
        self._state: Any = None
        self._matrix: Matrix | None = None

    def add(self, rtts: Matrix) -> None:
        new = self._windowed(rtts) if self._q is not None else self._recursive(rtts)
        if self._matrix is not None:
            new = np.where(np.isnan(new), self._matrix, new)
        self._matrix = new

    def matrix(self) -> Matrix:
        assert self._matrix is not None
        return self._matrix

    def _windowed(self, rtts: Matrix) -> Matrix:
        self._slices.append(rtts)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a link that was never measured
            stacked = np.stack(self._slices)
            if np.isnan(stacked).any():
                return np.asarray(np.nanquantile(stacked, self._q or 0.0, axis=0))
        return np.asarray(np.quantile(stacked, self._q or 0.0, axis=0))

    def _recursive(self, rtts: Matrix) -> Matrix:
        """last, ewma and mean_deviation are arithmetic, which arrays know too; what is missing is left out of it."""
        if self._state is None:
            self._state = self._estimator.add(None, rtts)  # type: ignore[arg-type]
            return np.asarray(self._estimator.value(self._state))
        # A copy: what is `+=` on a number changes an array.
        before = _copied(self._state)
        after = self._estimator.add(self._state, rtts)  # type: ignore[arg-type]
        first = self._estimator.add(None, rtts)  # type: ignore[arg-type]
        self._state = _merged(before, after, first)
        return np.asarray(self._estimator.value(self._state))


def _copied(state: Any) -> Any:
    return tuple(map(_copied, state)) if isinstance(state, tuple) else np.array(state)


def _merged(before: Any, after: Any, first: Any) -> Any:
    """Element by element: the new state; the first one where there was none; the old one where nothing is new."""
    if isinstance(after, tuple):
        return tuple(_merged(*parts) for parts in zip(before, after, first, strict=True))
    begun = np.where(np.isnan(before), first, after)
    return np.where(np.isnan(begun), before, begun)

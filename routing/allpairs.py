"""All pairs of PoPs at once: the least cost and the next hop, over any number of relays.

Cost and next hop are packed into one 64-bit integer: the cost in nanoseconds above, the index of the next hop below.
One addition and one minimum then find both, and of two paths that cost the same the one with the lower next hop wins,
by whichever way it is computed. The least (cost, next hop) of all paths is what Floyd and Warshall's algorithm finds
here (CACM 5(6), 1962), because appending a path to two others keeps their order.

When the links of one PoP change, what does not lead through them stays. The pairs whose best path used a link of it
that has become worse are found by one comparison, since that path costs exactly what its parts cost; they alone are
computed again, from the pairs around them; and then every pair may gain by the new links. This is the idea of
Ramalingam and Reps (J. Algorithms 21(2), 1996) for all sources at once.

numba, where it is installed, does the same sums in compiled loops. Both are imported when they are first needed: a PoP
that knows a dozen others does without them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

Costs = NDArray[np.float64]
"""N x N seconds, from row to column; infinite where there is no link."""
Keys = NDArray[np.int64]

Engine = Literal["numpy", "numba"]

# 47 bits of nanoseconds above 16 bits of index: sums of two unreachables still fit. A path of ten hours is none.
_BITS = 16
_INDEX = (1 << _BITS) - 1
_COST = ~_INDEX
_UNREACHED = 1 << 45
_NONE = _UNREACHED << _BITS
_NS = 1e9
MOST_POPS = _INDEX
MOST_COST_S = 3600.0


@dataclass(slots=True)
class AllPairs:
    """`edges` are the links as keys, `best` the paths. The diagonal of both is unreached, of `best` without meaning."""

    edges: Keys
    best: Keys
    engine: Engine

    @property
    def costs_s(self) -> Costs:
        """Seconds from row to column, 0 on the diagonal, infinite where no path leads."""
        cost = self.best >> _BITS
        found = np.where(cost >= _UNREACHED, np.inf, cost / _NS)
        np.fill_diagonal(found, 0.0)
        return found

    @property
    def next_hops(self) -> NDArray[np.int64]:
        """Index of the first PoP on the way from row to column; -1 where no path leads, and on the diagonal."""
        found = np.where(self.best >= _NONE, -1, self.best & _INDEX)
        np.fill_diagonal(found, -1)
        return found

    def cost_s(self, source: int, destination: int) -> float:
        if source == destination:
            return 0.0
        key = int(self.best[source, destination])
        return float("inf") if key >= _NONE else (key >> _BITS) / _NS

    def path(self, source: int, destination: int) -> list[int] | None:
        """Indices from `source` to `destination`, both included; None where no path leads."""
        way = [source]
        while way[-1] != destination:
            key = int(self.best[way[-1], destination])
            if key >= _NONE:
                return None
            way.append(key & _INDEX)
        return way

    def update(self, source: int, row: Costs) -> None:
        """The links of one PoP cost `row` from now on, infinite where there is none."""
        new = _keys(row.reshape(1, -1))[0]
        new[source] = _NONE
        engine = _numba().update if self.engine == "numba" else _update
        engine(self.best, self.edges, source, new)


def all_pairs(costs: Costs, engine: Engine | None = None) -> AllPairs:
    """Best paths between all PoPs of `costs`. `engine`: numba where it is installed and PoPs are many, else numpy."""
    count = len(costs)
    if count > MOST_POPS:
        raise ValueError(f"{count} PoPs; at most {MOST_POPS}")
    chosen = engine or ("numba" if count >= _MANY and has_numba() else "numpy")
    edges = _keys(costs)
    np.fill_diagonal(edges, _NONE)
    best = edges.copy()
    run = _numba().floyd_warshall if chosen == "numba" else _floyd_warshall
    run(best)
    return AllPairs(edges, best, chosen)


# Below this numpy is done before numba is imported.
_MANY = 128


def has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None


def _keys(costs: Costs) -> Keys:
    """Costs as keys; the next hop over a link is its other end. No link is free, or paths could loop."""
    ns = np.full(costs.shape, _UNREACHED, dtype=np.int64)
    there = np.isfinite(costs)
    ns[there] = np.maximum(1, np.rint(np.minimum(costs[there], MOST_COST_S) * _NS)).astype(np.int64)
    return (ns << _BITS) | np.arange(costs.shape[1], dtype=np.int64)


def _floyd_warshall(best: Keys) -> None:
    count = len(best)
    there = best < _NONE
    # Doubles hold whole numbers of 53 bits: costs that no path can exceed, sums of two, and an index.
    far = 1 << (51 - count.bit_length())
    if int((best >> _BITS).max(where=there, initial=0)) * count < far:
        _by_products(best, there, far)
        return
    sums = np.empty_like(best)
    for middle in range(count):
        np.add(best[:, middle, None], best[middle] & _COST, out=sums)
        np.minimum(best, sums, out=best)
    np.minimum(best, _NONE, out=best)


def _by_products(best: Keys, there: NDArray[np.bool_], far: int) -> None:
    """The same in doubles that hold whole numbers, so exact. What each step adds, column to row, is then the product of
    two thin matrices, for which there are faster loops than NumPy's own for a sum of that shape: half the time."""
    count = len(best)
    scale = float(1 << count.bit_length())
    keys = np.where(there, best >> _BITS, far) * scale + (best & _INDEX)
    lead, onward = np.ones((count, 2)), np.ones((2, count))
    sums = np.empty_like(keys)
    for middle in range(count):
        lead[:, 0] = keys[:, middle]
        np.floor(keys[middle] / scale, out=onward[1])
        onward[1] *= scale
        np.matmul(lead, onward, out=sums)
        np.minimum(keys, sums, out=keys)
    cost = np.floor(keys / scale)
    index = (keys - cost * scale).astype(np.int64)
    found = (cost.astype(np.int64) << _BITS) | index
    np.copyto(best, np.where(cost < far, found, _NONE))


def _update(best: Keys, edges: Keys, source: int, new: Keys) -> None:
    worse = np.flatnonzero((new & _COST) > (edges[source] & _COST))
    if worse.size:
        # What a path from `source` costs that begins with a link that is worse now, by the costs of before.
        onward = best[worse] & _COST
        onward[np.arange(worse.size), worse] = 0
        through = ((edges[source, worse] & _COST)[:, None] + onward).min(axis=0)
        lead = best[:, source] & _COST
        lead[source] = 0
        lost = (best & _COST) == lead[:, None] + through
        lost &= best < _NONE
        edges[source] = new
        best[lost] = _NONE
        lost[source] = False  # mended at the end, from all others
        rows, columns = np.nonzero(lost)
        _mend(best, edges, rows, columns)
        best[source] = new
    else:
        edges[source] = new
    candidates = (new & _COST)[:, None] + (best & _COST)
    candidates |= np.arange(len(best), dtype=np.int64)[:, None]
    candidates[source] = _NONE
    np.minimum(new, candidates.min(axis=0), out=best[source])
    np.minimum(best, best[:, source, None] + (best[source] & _COST), out=best)
    np.minimum(best, _NONE, out=best)


def _mend(best: Keys, edges: Keys, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> None:
    """The best paths of these pairs, given those of all others: Bellman's equation until nothing changes."""
    if not rows.size:
        return
    last = np.ascontiguousarray((edges & _COST).T)
    best[rows, columns] = edges[rows, columns]
    while rows.size:
        found = (best[rows] + last[columns]).min(axis=1)
        better = found < best[rows, columns]
        best[rows[better], columns[better]] = found[better]
        # What a path gains, only other paths from the same PoP can gain by.
        gained = np.bincount(rows[better], minlength=len(best))
        rest = gained[rows] - better > 0
        rows, columns = rows[rest], columns[rest]


# The same as loops


def _floyd_warshall_loops(best: Keys) -> None:
    count = len(best)
    onward = np.empty(count, dtype=np.int64)
    for middle in range(count):
        for j in range(count):
            onward[j] = best[middle, j] & _COST
        for i in range(count):
            row, lead = best[i], best[i, middle]
            # No branch but a choice of values: the compiler does several columns at once.
            for j in range(count):
                candidate = lead + onward[j]
                row[j] = candidate if candidate < row[j] else row[j]
    for i in range(count):
        for j in range(count):
            if best[i, j] > _NONE:
                best[i, j] = _NONE


def _update_loops(best: Keys, edges: Keys, source: int, new: Keys) -> None:
    count = len(best)
    through = np.full(count, _NONE, dtype=np.int64)
    worse = False
    for v in range(count):
        if (new[v] & _COST) > (edges[source, v] & _COST):
            worse = True
            step = edges[source, v] & _COST
            for j in range(count):
                cost = step + (0 if j == v else best[v, j] & _COST)
                through[j] = min(through[j], cost)
    for v in range(count):
        edges[source, v] = new[v]
    if worse:
        rows, columns = [0], [0]
        for i in range(count):
            lead = 0 if i == source else best[i, source] & _COST
            for j in range(count):
                lost = best[i, j] < _NONE and (best[i, j] & _COST) == lead + through[j]
                if lost and i != source:
                    rows.append(i)
                    columns.append(j)
        for place in range(1, len(rows)):
            best[rows[place], columns[place]] = _NONE
        changed = True
        while changed:
            changed = False
            for place in range(1, len(rows)):
                i, j = rows[place], columns[place]
                found = min(edges[i, j], best[i, j])
                for u in range(count):
                    found = min(found, best[i, u] + (edges[u, j] & _COST))
                if found < best[i, j]:
                    best[i, j] = found
                    changed = True
    row = new.copy()
    for v in range(count):
        step = new[v]
        if step < _NONE:
            for j in range(count):
                if v != source and j != v:
                    row[j] = min(row[j], step + (best[v, j] & _COST))
    for j in range(count):
        best[source, j] = min(row[j], _NONE)
    for i in range(count):
        lead = best[i, source]
        if i != source and lead < _NONE:
            for j in range(count):
                candidate = lead + (best[source, j] & _COST)
                if candidate < best[i, j]:
                    best[i, j] = candidate


@dataclass(frozen=True, slots=True)
class _Compiled:
    floyd_warshall: Callable[[Keys], None]
    update: Callable[[Keys, Keys, int, Keys], None]


_compiled: list[_Compiled] = []


def _numba() -> _Compiled:
    """The loops compiled; kept on disk between processes where that can be written."""
    if not _compiled:
        import numba

        def compiled(loops: Callable[..., None]) -> Callable[..., Any]:
            try:
                return cast(Callable[..., Any], numba.njit(cache=True)(loops))
            except RuntimeError:  # nowhere to keep it
                return cast(Callable[..., Any], numba.njit(loops))

        _compiled.append(_Compiled(compiled(_floyd_warshall_loops), compiled(_update_loops)))
    return _compiled[0]

"""Reads a series of RTT matrices, and finds the RTTs that cannot be.

    .npz  an array of slices x nodes x nodes, or nodes x nodes for a single slice. It is called `rtt`, or is the only
          one of that shape. Optional: `unit_ms` (default 1), `names`, `places` (latitude, longitude for each node)
    .csv  a header and a line a measurement: `from,to,rtt_ms`, and `t` for the slice where there are several

Row = source, column = destination. Names may be IATA codes, which have places then.

What becomes of them: a value that is no number, zero, negative or below light in fibre counts as not measured; of two
directions that contradict each other, both round trips of the same two nodes, the shorter one counts for both, because
queues and pauses only ever add. A mistake in a clock or a unit shows in the counts: read them.
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.driver import LabError
from topology.geo import fibre_s, great_circle_m
from topology.places import airport

Series = NDArray[np.float64]
"""Slices x nodes x nodes, in ms; NaN where nothing was measured, 0 on the diagonal."""

ASYMMETRY = 3.0
"""Two directions of one round trip that differ by more than this factor and by 10 ms contradict each other."""
_ASYMMETRY_MS = 10.0
_ABOVE_ZERO = np.nextafter(0.0, 1.0)
_EXAMPLES = 3
_MOST_NODES = 5000


@dataclass(frozen=True, slots=True)
class Finding:
    """RTTs that cannot be: how many of how many, what was done with them, and the first few."""

    what: str
    count: int
    of: int
    treated: str
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        share = f"{self.count} of {self.of} RTTs ({100 * self.count / self.of:.2g} %)"
        such = f"; such as {', '.join(self.examples)}" if self.examples else ""
        return f"{share} {self.what}: {self.treated}{such}"


@dataclass(frozen=True, slots=True)
class Matrices:
    """A checked series. Nodes are in the order of their names."""

    names: tuple[str, ...]
    rtt_ms: Series
    findings: tuple[Finding, ...]

    @property
    def slices(self) -> int:
        return len(self.rtt_ms)


def read(path: Path) -> Matrices:
    """Raises LabError, which names the file and what is wrong with it."""
    try:
        if path.suffix == ".npz":
            names, series, places = _from_npz(path)
        elif path.suffix == ".csv":
            names, series, places = _from_csv(path)
        else:
            raise LabError(f"{path}: found {path.suffix or 'no suffix'}, allowed: .npz or .csv")
    except OSError as error:
        raise LabError(f"{path}: {error.strerror or error}") from error
    if len(series) < 2:
        raise LabError(
            f"{path}: found {len(series)} slice, allowed: at least 2; one to decide on, one to be judged on"
        )
    if len(names) < 3:
        raise LabError(f"{path}: found {len(names)} nodes, allowed: at least 3; two and a relay")
    order = sorted(range(len(names)), key=lambda index: names[index])
    names = tuple(names[index] for index in order)
    series = series[:, order][:, :, order]
    places = [places[index] for index in order]
    return checked(names, series, places)


def checked(
    names: Sequence[str], series: Series, places: Sequence[tuple[float, float] | None] | None = None
) -> Matrices:
    """Treat what cannot be. `series` is not changed."""
    series = series.copy()
    count = len(names)
    off = ~np.eye(count, dtype=bool)
    findings = []

    def note(bad: NDArray[np.bool_], what: str, treated: str) -> None:
        found = np.argwhere(bad)
        if len(found):
            examples = tuple(
                f"{names[a]}-{names[b]} {series[t, a, b]:g} ms in slice {t}"
                for t, a, b in found[:_EXAMPLES]
            )
            total = int(off.sum()) * len(series)
            findings.append(Finding(what, len(found), total, treated, examples))

    absent = ~np.isfinite(series) & off
    note(absent, "are no number", "not measured")
    series[absent] = np.nan
    for least, what in (
        (0.0, "are negative"),
        (_ABOVE_ZERO, "are zero"),
        (_light_ms(places, count), "are below light in fibre"),
    ):
        bad = (series < least) & off
        note(bad, what, "not measured")
        series[bad] = np.nan
    series[:, ~off] = 0.0
    low = np.fmin(series, series.swapaxes(1, 2))
    with np.errstate(invalid="ignore"):
        bad = (series > ASYMMETRY * low) & (series > low + _ASYMMETRY_MS)
    note(bad, f"are over {ASYMMETRY:g} times those of the way back", "the shorter one for both")
    series[bad] = low[bad]
    if not (np.isfinite(series) & off).any(axis=(1, 2)).all():
        empty = np.flatnonzero(~(np.isfinite(series) & off).any(axis=(1, 2)))
        raise LabError(f"slice {empty[0]}: nothing in it was measured")
    return Matrices(tuple(names), series, tuple(findings))


def _light_ms(places: Sequence[tuple[float, float] | None] | None, count: int) -> Series:
    """The least RTT between two nodes; 0 where a place is not known."""
    least = np.zeros((count, count))
    for a, here in enumerate(places or ()):
        for b, there in enumerate(places or ()):
            if here is not None and there is not None and a != b:
                least[a, b] = 2e3 * fibre_s(great_circle_m(*here, *there))
    return least


Read = tuple[tuple[str, ...], Series, list[tuple[float, float] | None]]


def _from_npz(path: Path) -> Read:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays: dict[str, NDArray[Any]] = {name: file[name] for name in file.files}
    except (ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise LabError(f"{path}: no .npz file of plain arrays: {error}") from error
    square = [
        name
        for name, array in arrays.items()
        if array.ndim in (2, 3) and array.shape[-1] == array.shape[-2] and array.dtype.kind in "fiu"
    ]
    if "rtt" not in square and len(square) != 1:
        found = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
        raise LabError(
            f"{path}: found {found}, allowed: an array `rtt` of slices x nodes x nodes numbers"
        )
    raw = arrays["rtt" if "rtt" in square else square[0]]
    count = raw.shape[-1]
    if count > _MOST_NODES:
        raise LabError(f"{path}: found {count} nodes, allowed: at most {_MOST_NODES}")
    unit = arrays.get("unit_ms", np.array(1.0))
    if unit.size != 1 or unit.dtype.kind not in "fiu" or not 0 < float(unit.reshape(())) < 1e6:
        raise LabError(f"{path}: unit_ms: found {unit!r}, allowed: one number above 0")
    series = raw.astype(np.float64).reshape(-1, count, count)
    if raw.dtype.kind == "f":
        scale = float(unit.reshape(()))
    else:
        # Whole numbers of a unit such as 0.1 ms, which a 32-bit float does not hold exactly.
        scale = round(float(unit.reshape(())), 6)
    series *= scale
    names = _names(path, arrays, count)
    return names, series, _places(path, arrays, names)


def _names(path: Path, arrays: dict[str, NDArray[Any]], count: int) -> tuple[str, ...]:
    if "names" not in arrays:
        width = len(str(count - 1))
        return tuple(f"n{index:0{width}d}" for index in range(count))
    names = tuple(str(name) for name in arrays["names"].ravel())
    if len(names) != count or len(set(names)) != count or not all(names):
        raise LabError(
            f"{path}: names: found {len(set(names))} different ones, allowed: one for each of {count} nodes"
        )
    return names


def _places(
    path: Path, arrays: dict[str, NDArray[Any]], names: tuple[str, ...]
) -> list[tuple[float, float] | None]:
    if "places" not in arrays:
        return _places_by_code(names)
    array = arrays["places"]
    if array.shape != (len(names), 2) or array.dtype.kind not in "fiu":
        raise LabError(
            f"{path}: places: found {array.shape}, allowed: latitude and longitude of {len(names)} nodes"
        )
    found: list[tuple[float, float] | None] = []
    for name, (lat, lon) in zip(names, array.astype(float), strict=True):
        if np.isnan(lat) or np.isnan(lon):
            found.append(None)
        elif abs(lat) <= 90 and abs(lon) <= 180:
            found.append((float(lat), float(lon)))
        else:
            raise LabError(
                f"{path}: places: {name}: found {lat:g}, {lon:g}, allowed: latitude -90..90, longitude -180..180"
            )
    return found


def _places_by_code(names: Sequence[str]) -> list[tuple[float, float] | None]:
    """Places of IATA codes. Only when all names look like codes: a host called `GRU` need not be in São Paulo."""
    if not all(len(name) == 3 and name.isupper() for name in names):
        return [None] * len(names)
    found = [airport(name) for name in names]
    return [None if place is None else (place.lat, place.lon) for place in found]


def _from_csv(path: Path) -> Read:
    needed = ("from", "to", "rtt_ms")
    rows: list[tuple[int, str, str, float]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file)
            header = lines.fieldnames or []
            unknown = [name for name in header if name not in (*needed, "t")]
            if unknown or any(name not in header for name in needed):
                raise LabError(
                    f"{path}:1: found {','.join(header) or 'nothing'}, allowed: from,to,rtt_ms and optionally t"
                )
            rows.extend(_row(line, f"{path}:{lines.line_num}") for line in lines)
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabError(f"{path}: {error}") from error
    if not rows:
        raise LabError(f"{path}: found no line below the header, allowed: from,to,rtt_ms")
    names = tuple(sorted({name for _, a, b, _ in rows for name in (a, b)}))
    slices = sorted({t for t, *_ in rows})
    if len(names) > _MOST_NODES:
        raise LabError(f"{path}: found {len(names)} nodes, allowed: at most {_MOST_NODES}")
    index = {name: at for at, name in enumerate(names)}
    at_slice = {t: at for at, t in enumerate(slices)}
    series = np.full((len(slices), len(names), len(names)), np.nan)
    for t, a, b, rtt in rows:
        series[at_slice[t], index[a], index[b]] = rtt
    return names, series, _places_by_code(names)


def _row(line: dict[str | Any, str | Any], where: str) -> tuple[int, str, str, float]:
    if None in line or None in line.values():
        raise LabError(f"{where}: found another number of fields than in the header")
    try:
        t = int(line.get("t", "0"))
    except ValueError:
        raise LabError(f"{where}: t: found {line['t']!r}, allowed: a whole number") from None
    text = line["rtt_ms"].strip()
    try:
        rtt = float(text) if text else np.nan
    except ValueError:
        raise LabError(
            f"{where}: rtt_ms: found {text!r}, allowed: milliseconds, or nothing"
        ) from None
    a, b = line["from"].strip(), line["to"].strip()
    if not a or not b:
        raise LabError(f"{where}: found no name, allowed: a name in `from` and in `to`")
    return t, a, b, rtt

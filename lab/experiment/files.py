"""What an experiment leaves in its directory: written here, and read back here. Pure but for the files themselves.

    samples.csv    one request a line (`Sample`)
    summary.csv    one line for each algorithm, group and metric (`Row`)
    summary.json   the same rows, and what does not fit a table: predictions, shares of paths
    manifest.json  what is needed to do it again

`schema` is the first field everywhere; a file of another schema is refused. A field that does not apply is empty in
CSV and null in JSON. Times in milliseconds, `t_s` in seconds since the measurement began in that seed's world.
"""

from __future__ import annotations

import csv
import io
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from lab.driver import LabError

SCHEMA = 1
SAMPLES, SUMMARY_CSV, SUMMARY_JSON, MANIFEST = (
    "samples.csv",
    "summary.csv",
    "summary.json",
    "manifest.json",
)
FIGURES = "figures"
ALL = "all"  # the group of everything
_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request by one algorithm. The two of a pair share seed, repeat and pair_id.

    `repeat` numbers the block of time within the seed; `order` says in which place of its pair the request was made (0
    for all where each algorithm has a world of its own); `ttfb_ms` counts from the start of the request, connecting
    included, to the first byte of the response. `overlay_rtt_ms` is what the links declare for the way that was
    taken, from the ingress PoP to the service's site; `oracle_rtt_ms` the same for the best way there is.
    """

    schema: int = SCHEMA
    seed: int
    repeat: int
    pair_id: int
    order: int
    t_s: float
    visitor: str
    host: str
    ingress: str
    egress: str
    algorithm: str
    path: str
    status: int
    error: str
    warm: bool
    bytes: int
    dns_ms: float
    connect_ms: float
    tls_ms: float
    ttfb_ms: float
    total_ms: float
    overlay_rtt_ms: float | None
    oracle_rtt_ms: float | None

    @property
    def ok(self) -> bool:
        """Answered by the service. What the edge refused (4xx) went no way at all, so its time says nothing."""
        return not self.error and 200 <= self.status < 400 and bool(self.path)

    @property
    def block(self) -> tuple[int, int]:
        return self.seed, self.repeat


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An algorithm against the baseline, in one group (`all`, or a visitor) and one metric. See docs/experiments.md."""

    schema: int = SCHEMA
    baseline: str
    algorithm: str
    group: str
    metric: str
    n_pairs: int
    n_blocks: int
    base_p50: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    gain_ms: float | None
    gain_lo: float | None
    gain_hi: float | None
    worse_share: float | None
    p_holm: float | None
    failed_base: int
    failed: int
    route_changes: int
    regret_ms: float | None
    probe_bytes: int | None
    verdict: str


R = TypeVar("R", Sample, Row)


def number(value: float | None, digits: int = _DIGITS) -> float | None:
    """For a file: rounded; None when it is no number or without bound, which JSON does not know."""
    return None if value is None or not math.isfinite(value) else round(value, digits)


def to_csv(records: Iterable[Sample | Row], kind: type[Sample] | type[Row]) -> str:
    """A header line and a line each. Without records, the header alone."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [field.name for field in fields(kind)]
    writer.writerow(names)
    for record in records:
        writer.writerow(_cell(getattr(record, name)) for name in names)
    return out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return number(value, 6)
    return "" if value is None else value


def from_csv(text: str, kind: type[R], file: str = "file") -> list[R]:
    """Raises LabError with line and column for whatever does not fit the schema."""
    reader = csv.reader(io.StringIO(text))
    names = [field.name for field in fields(kind)]
    hints = typing.get_type_hints(kind)
    header = next(reader, [])
    if header != names:
        missing = [name for name in names if name not in header]
        unknown = [name for name in header if name not in names]
        raise LabError(
            f"{file}:1: found {len(header)} columns (missing: {', '.join(missing) or 'none'}; unknown: "
            f"{', '.join(unknown) or 'none'}), allowed: {','.join(names)}"
        )
    found = []
    for line, cells in enumerate(reader, 2):
        if len(cells) != len(names):
            raise LabError(f"{file}:{line}: found {len(cells)} fields, allowed: {len(names)}")
        values = {
            name: _value(text, hints[name], f"{file}:{line}: {name}")
            for name, text in zip(names, cells, strict=True)
        }
        if values["schema"] != SCHEMA:
            raise LabError(f"{file}:{line}: schema: found {values['schema']}, allowed: {SCHEMA}")
        found.append(kind(**values))
    return found


def _value(text: str, hint: Any, where: str) -> Any:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if text == "" and types.NoneType in kinds:
        return None
    try:
        if bool in kinds:
            return {"true": True, "false": False}[text]
        return next(kind for kind in kinds if kind is not types.NoneType)(text)
    except (KeyError, ValueError):
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise LabError(f"{where}: found {text!r}, allowed: {expected}") from None


def write(
    directory: Path,
    *,
    samples: Iterable[Sample],
    rows: Iterable[Row],
    extra: Mapping[str, Any],
    manifest: Mapping[str, Any],
) -> None:
    """All files. `extra` goes into summary.json beside the rows."""
    listed = list(rows)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / SAMPLES).write_text(to_csv(samples, Sample), encoding="utf-8")
        (directory / SUMMARY_CSV).write_text(to_csv(listed, Row), encoding="utf-8")
        summary = {"schema": SCHEMA, **extra, "rows": [asdict(row) for row in listed]}
        (directory / SUMMARY_JSON).write_bytes(_json(summary))
        (directory / MANIFEST).write_bytes(_json({"schema": SCHEMA, **manifest}))
    except OSError as error:
        raise LabError(f"{directory}: {error.strerror}") from error


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value)) + b"\n"


@dataclass(frozen=True, slots=True)
class Results:
    """What a directory holds."""

    samples: list[Sample]
    rows: list[Row]
    summary: dict[str, Any]
    manifest: dict[str, Any]


def read(directory: Path) -> Results:
    """Raises LabError when something is missing or not what it should be."""
    try:
        texts = {name: (directory / name).read_text("utf-8") for name in (SAMPLES, SUMMARY_CSV)}
        objects = {
            name: msgspec.json.decode((directory / name).read_bytes(), type=dict[str, Any])
            for name in (SUMMARY_JSON, MANIFEST)
        }
    except OSError as error:
        raise LabError(
            f"{directory}: no {Path(str(error.filename)).name} ({error.strerror}); "
            "`popnet compare --out DIR` leaves what is needed"
        ) from error
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise LabError(f"{directory}: {error}") from error
    return Results(
        samples=from_csv(texts[SAMPLES], Sample, str(directory / SAMPLES)),
        rows=from_csv(texts[SUMMARY_CSV], Row, str(directory / SUMMARY_CSV)),
        summary=objects[SUMMARY_JSON],
        manifest=objects[MANIFEST],
    )

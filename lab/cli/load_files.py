"""The files that a run leaves: `--out DIR` with events, samples and the summary, `--junit FILE`.

Both are tried before the run: an hour of it shall not be lost to a directory that was misspelt.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lab.assertions import Verdict, junit
from lab.driver import LabError
from lab.load import Sample


@dataclass(frozen=True, slots=True)
class Files:
    out: Path | None = None
    junit: Path | None = None

    def check(self) -> None:
        """Raises LabError when something could not be written there. Leaves no trace."""
        if self.out is not None:
            try:
                _try(next(one for one in (self.out, *self.out.absolute().parents) if one.exists()))
            except OSError as error:
                raise _unwritable("--out", self.out, "a directory to write in", error) from None
        if self.junit is not None:
            try:
                if self.junit.is_dir():
                    raise IsADirectoryError(0, "Is a directory")
                _try(self.junit.parent)
                if self.junit.exists() and not os.access(self.junit, os.W_OK):
                    raise PermissionError(0, "Permission denied")
            except OSError as error:
                raise _unwritable("--junit", self.junit, "a file to write", error) from None

    def write(
        self,
        name: str,
        figures: dict[str, Any],
        samples: Sequence[Sample],
        events: bytes,
        verdicts: Sequence[Verdict],
        interrupted: str,
    ) -> None:
        """Raises LabError, should the disk be full by now."""
        if self.out is not None:
            try:
                _leave(self.out, {**figures, "assertions": rows(verdicts)}, samples, events)
            except OSError as error:
                raise _unwritable("--out", self.out, "a directory to write in", error) from None
        if self.junit is not None:
            try:
                self.junit.write_bytes(junit(name, verdicts, interrupted))
            except OSError as error:
                raise _unwritable("--junit", self.junit, "a file to write", error) from None


def rows(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    return [{"assertion": one.text, "measured": one.measured, "held": one.held} for one in verdicts]


def _try(directory: Path) -> None:
    with tempfile.TemporaryFile(dir=directory):
        pass


def _unwritable(option: str, path: Path, allowed: str, error: OSError) -> LabError:
    return LabError(f"{option}: found {str(path)!r}: {error.strerror}; allowed: {allowed}")


def _leave(out: Path, figures: dict[str, Any], samples: Sequence[Sample], events: bytes) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "events.jsonl").write_bytes(events)
    (out / "summary.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures)) + b"\n")
    fields = Sample.__dataclass_fields__
    lines = [",".join(fields)]
    lines += [",".join(_cell(getattr(one, name)) for name in fields) for one in samples]
    (out / "samples.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cell(value: object) -> str:
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n') else text

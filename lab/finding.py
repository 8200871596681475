"""What the doctor finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """`needed`: no local lab without it."""

    what: str
    ok: bool
    found: str
    needed: bool = False
    mend: str = ""

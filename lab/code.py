"""`python -m lab.code`: a mark of the code that this lab is, the same wherever it lies. An image carries its own."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Final

HOME: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = (
    "topology",
    "routing",
    "wire",
    "runtime",
    "wan",
    "pops",
    "tunnel_client",
    "lab",
)
LOCK: Final = "requirements-runtime.lock"
IGNORED: Final = frozenset({"__pycache__"})


def mark(home: Path = HOME) -> str:
    digest = hashlib.sha256()
    files = [path for package in PACKAGES for path in (home / package).rglob("*")]
    for path in sorted([*files, home / LOCK]):
        if path.is_file() and not IGNORED.intersection(path.parts):
            digest.update(f"{path.relative_to(home).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    sys.stdout.write(mark())

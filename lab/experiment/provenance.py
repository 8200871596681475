"""What a result has to name so that somebody can repeat it, and can tell whether it was the same that he repeated."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lab.code import HOME, LOCK, mark

_PACKAGES = ("popnet", "networkx", "numpy", "numba", "ngh2", "msgspec", "httptools", "uvloop")


def sha256(path: Path) -> str | None:
    """None when there is no such file."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def files(paths: Iterable[Path | None]) -> list[dict[str, Any]]:
    return [{"file": path.name, "sha256": sha256(path)} for path in paths if path is not None]


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> dict[str, Any]:
    """Of the checkout this runs from. Without git: the mark of the code alone, which an image carries, too."""
    found: dict[str, Any] = {"commit": None, "changed": None, "code": mark()}
    try:
        for key, arguments in (
            ("commit", ("rev-parse", "HEAD")),
            ("changed", ("status", "--porcelain", "--untracked-files=no")),
        ):
            done = subprocess.run(
                ["git", "-C", str(HOME), *arguments],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
            found[key] = done.stdout.strip() if key == "commit" else bool(done.stdout.strip())
    except (OSError, subprocess.SubprocessError):
        pass
    return found


def machine() -> dict[str, str]:
    return {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_implementation(),
    }


def manifest(
    argv: Sequence[str],
    *,
    world: Path | None,
    matrix: Path | None,
    plugins: Sequence[Path],
    **facts: Any,
) -> dict[str, Any]:
    return {
        "argv": list(argv),
        "versions": versions(),
        **commit(),
        "lock_sha256": sha256(HOME / LOCK),
        "world": next(iter(files([world])), None),
        "matrix": next(iter(files([matrix])), None),
        "plugins": files(plugins),
        "platform": machine(),
        **facts,
    }


def digest(parts: Iterable[str]) -> str:
    """One digest of many."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()

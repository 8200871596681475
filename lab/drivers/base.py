"""What a driver is. `tests/system` holds every one of them to the same behaviour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

Say = Callable[[str], None]


class Started(Protocol):
    """A lab that has come up and is still held by whoever started it."""

    @property
    def name(self) -> str: ...

    def wait(self) -> str | None:
        """Until the lab ends; why, if it failed."""

    def end(self) -> None:
        """End the lab and remove all of it."""

    def let_go(self) -> None:
        """It lives on without us."""


class Driver(Protocol):
    def names(self) -> list[str]:
        """Labs that there are, running or left behind."""

    def up(
        self,
        file: Path,
        name: str | None,
        *,
        detach: bool,
        progress: Say,
        idle: bool = False,
        algorithm: str | None = None,
    ) -> Started:
        """All or nothing. Raises WorldError, UpError, RunDirError, KeyboardInterrupt.

        `algorithm`: instead of the file's own, a name or a Python file (lab/worlds.py).
        `idle`: the world's timeline waits for whoever plays it (lab/play_real.py).
        """

    def down(self, name: str) -> list[str] | None:
        """End and remove. None: there was none; else what did not end by itself."""

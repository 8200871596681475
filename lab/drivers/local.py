"""The local driver: every node a network namespace of this machine, below one supervisor (lab/supervisor.py)."""

from __future__ import annotations

from pathlib import Path

from lab import launch
from lab.drivers.base import Say
from lab.rundir import RunDir, labs


class LocalDriver:
    """`gateway`: ports and city of the way in, as `popnet up` takes them."""

    def __init__(self, gateway: dict[str, str | None] | None = None) -> None:
        self._gateway = gateway

    def names(self) -> list[str]:
        return [run.name for run in labs()]

    def up(
        self,
        file: Path,
        name: str | None,
        *,
        detach: bool,
        progress: Say,
        idle: bool = False,
        algorithm: str | None = None,
    ) -> launch.Launch:
        return launch.up(
            file,
            name,
            detach=detach,
            gateway=self._gateway,
            progress=progress,
            idle=idle,
            algorithm=algorithm,
        )

    def down(self, name: str) -> list[str] | None:
        left = launch.down(RunDir.of(name))
        return None if left is None else [f"process {pid}" for pid in left]

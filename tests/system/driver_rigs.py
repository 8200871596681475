"""The drivers under one interface, for tests: bring up, end, and what only each of them can do to a process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from typing import Any, Protocol

import pytest

from lab.compose import ROLE_LABEL, WAN
from lab.launch import UpError

from .conftest import Popnet


class Rig(Protocol):
    """`driver` is what `popnet up --driver` takes."""

    driver: str
    popnet: Popnet

    def kill_wan(self, name: str) -> None:
        """SIGKILL, from outside."""

    def left(self, name: str) -> list[str]:
        """What there is of a lab on this machine."""


class LocalRig:
    driver = "local"

    def __init__(self, popnet: Popnet) -> None:
        self.popnet = popnet

    def kill_wan(self, name: str) -> None:
        status: dict[str, Any] = json.loads(self.popnet("status", "-n", name, "-o", "json"))
        os.kill(status["wan"]["pid"], signal.SIGKILL)

    def left(self, name: str) -> list[str]:
        run = self.popnet.run_dir(name)
        return [*map(str, run.processes()), *([str(run.path)] if run.path.exists() else [])]


class DockerRig:
    """Skips, loudly, where no engine answers or no image can be made."""

    driver = "docker"

    def __init__(self, popnet: Popnet) -> None:
        self.popnet = popnet
        try:
            from lab.drivers.docker import connect, provide_image

            if shutil.which("docker") is None:
                raise UpError("no docker command on this machine", 5, [])
            provide_image(connect(), lambda _: None)
        except UpError as error:
            why = f"no lab of containers here: {error.why} {' '.join(error.log[-1:])}"
            if os.environ.get("POPNET_REQUIRE_DOCKER"):
                pytest.fail(why)
            pytest.skip(why)

    def containers(self, name: str, *labels: str) -> list[str]:
        wanted = [f"popnet.lab={name}", *labels]
        filters = [word for label in wanted for word in ("--filter", f"label={label}")]
        return docker("ps", "--all", "--quiet", *filters).split()

    def kill_wan(self, name: str) -> None:
        # What `docker kill` ends the engine does not start again; a process that dies it does.
        (container,) = self.containers(name, f"{ROLE_LABEL}={WAN}")
        pid = int(docker("inspect", "--format", "{{.State.Pid}}", container))
        os.kill(pid, signal.SIGKILL)

    def left(self, name: str) -> list[str]:
        project = f"com.docker.compose.project=popnet-{name}"
        return [
            *self.containers(name),
            *docker("volume", "ls", "--quiet", "--filter", f"label={project}").split(),
            *docker("network", "ls", "--quiet", "--filter", f"label={project}").split(),
        ]


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


RIGS: dict[str, type[LocalRig] | type[DockerRig]] = {"local": LocalRig, "docker": DockerRig}

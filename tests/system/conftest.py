"""Worlds on this machine's real kernel. What a machine cannot do is skipped, with what `popnet doctor` says of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from lab.doctor import examine_local
from lab.driver import Lab
from lab.rundir import BASE_VARIABLE, LAB_VARIABLE, RunDir

ROOT = Path(__file__).resolve().parents[2]

# Short distances, so that handshakes take no time worth waiting for.
SMALL_WORLD = """
popnet: 1
name: small
pops: {LHR: {region: 1}, FRA: {region: 2}, IAD: {region: 1}}
internet:
  rtt_ms:
    LHR: {FRA: 6, IAD: 20, london: 4, dublin: 4, new-york: 22}
    FRA: {IAD: 24, london: 8, dublin: 10, new-york: 26}
    IAD: {london: 22, dublin: 22, new-york: 4}
anycast: {convergence: 500ms}
visitors: [london, new-york]
sites: {dublin: {service: hello}}
tunnels: {app: {site: dublin}}
dns: {app.example.com: {tunnel: app}}
"""


@dataclass(slots=True)
class Popnet:
    """The command, with run directories of its own; as another user where `user` says so."""

    base: Path
    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)
    user: int | None = None

    def popen(self, *arguments: str, **options: object) -> subprocess.Popen[str]:
        environment = {**os.environ, BASE_VARIABLE: str(self.base), **self.environment}
        identity = (
            {} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}
        )
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            [self.python, "-P", "-m", "lab", *arguments],
            env=environment,
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **identity,
            **{"stdin": subprocess.DEVNULL, **options},
        )

    def __call__(self, *arguments: str, code: int | None = 0) -> str:
        """Run a command to its end, check its exit code, return what it printed."""
        with self.popen(*arguments) as process:
            output, errors = process.communicate(timeout=90)
        said = f"popnet {' '.join(arguments)}: exit {process.returncode}\n{output}{errors}"
        if code is not None:
            assert process.returncode == code, said
        return output

    def of(self, lab: str) -> Popnet:
        """The command as in a shell where this lab is meant when none is named."""
        return replace(self, environment={**self.environment, LAB_VARIABLE: lab})

    def run_dir(self, name: str) -> RunDir:
        return RunDir(self.base / name)

    def assert_nothing_left(self, name: str) -> None:
        run = self.run_dir(name)
        assert run.processes() == []
        assert not run.path.exists()


def _require(findings: Sequence[str]) -> None:
    if findings:
        pytest.skip("this machine cannot run a lab: " + "; ".join(findings))


@pytest.fixture(scope="session", autouse=True)
def _machine() -> None:
    _require([f"{one.what}: {one.found}" for one in examine_local() if one.needed and not one.ok])


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    """Short, for the paths of Unix sockets; whatever a failed test left there is ended."""
    directory = Path(tempfile.mkdtemp(prefix="pn-", dir="/tmp"))
    path = directory / "l"
    yield path
    for entry in list(path.iterdir()) if path.exists() else []:
        RunDir(entry).sweep()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def popnet(base: Path) -> Popnet:
    return Popnet(base)


@pytest.fixture(scope="module")
def world(base: Path) -> Path:
    base.parent.chmod(0o755)
    path = base.with_name("world.yaml")
    path.write_text(SMALL_WORLD)
    return path


@pytest.fixture(scope="module")
def lab(popnet: Popnet, world: Path) -> Iterator[Lab]:
    """A lab that the tests of one module share; they leave it as they found it."""
    popnet("up", str(world), "-n", "s", "--detach")
    yield Lab(popnet.run_dir("s"))
    popnet("down", "-n", "s", code=None)


@pytest.fixture(scope="module")
def ordinary(base: Path) -> Iterator[Popnet]:
    """The command as a user without any right: this one, or one that root turns into.

    Such a user needs a TUN device that everybody may open (most distributions have it so) and an interpreter that
    he may read: root's own virtual environment is often not.
    """
    if os.geteuid() != 0:
        yield Popnet(base)
        return
    user = 12_321
    with tempfile.TemporaryDirectory(prefix="pu-", dir="/tmp") as directory:
        os.chmod(directory, 0o755)
        labs = Path(directory, "labs")
        labs.mkdir()
        os.chown(labs, user, user)
        tun = Path(directory, "tun")
        try:
            os.mknod(tun, 0o666 | 0o020000, os.makedev(10, 200))
            os.chmod(tun, 0o666)
        except OSError as error:
            pytest.skip(f"no second TUN device for an ordinary user: {error}")
        packages = sysconfig.get_paths()["purelib"]
        environment = {
            "POPNET_TUN": str(tun),
            "HOME": directory,
            "PYTHONPATH": os.pathsep.join([str(ROOT), packages]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        minor = f"/usr/bin/python3.{sys.version_info.minor}"
        tried = []
        for python in (sys.executable, minor):
            popnet = Popnet(labs, python, environment, user)
            try:
                with popnet.popen("doctor") as process:
                    output, errors = process.communicate(timeout=30)
            except OSError as error:
                tried.append(f"{python}: {error.strerror}")
                continue
            if process.returncode == 0:
                yield popnet
                return
            tried.append(f"{python}: {output}{errors}")
        pytest.skip("an ordinary user cannot run a lab here: " + "; ".join(tried))

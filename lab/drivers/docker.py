"""The docker driver: the containers of `lab.compose`, made and started in parallel by the engine's own interface.

Labels are how a lab is found: nothing about it is kept on this machine. They are compose's own besides ours, so a
lab started by `docker compose up` is found as well, and `docker compose ls` shows one that was started here.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import tarfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import docker
import requests
from docker.errors import APIError, BuildError, DockerException, ImageNotFound, NotFound

from lab import code, compose
from lab.compose import BASE, IMAGE, LAB, NODE_LABEL, ROLE_LABEL, WAN, WORLD, Container
from lab.drivers.base import Say
from lab.gateway import ports
from lab.isolation import DNS_ADDRESS
from lab.launch import UpError
from lab.rundir import RunDir
from lab.worlds import load_world
from topology.plan import Plan

NAME_LABEL: Final = "popnet.lab"
_PROJECT_LABEL: Final = "com.docker.compose.project"
_SERVICE_LABEL: Final = "com.docker.compose.service"
_VOLUME_LABEL: Final = "com.docker.compose.volume"

_ABORTED, _MACHINE_CANNOT = 4, 5
_BAD_INPUT = 2
_AT_ONCE = 8
_LOOK_S = 0.1
_GONE_WITHIN_S = 5
_PATIENCE_S = 90.0
_PATIENCE_PER_NODE_S = 2.0
_SECOND_NS = 1_000_000_000
_LOG_LINES = 12

T = TypeVar("T")


def connect() -> Any:
    """The engine that the `docker` command would talk to. Raises UpError."""
    try:
        host = os.environ.get("DOCKER_HOST") or _of_context()
        client = docker.DockerClient(base_url=host) if host else docker.from_env()
        client.ping()
    except (DockerException, OSError) as error:
        raise UpError(f"no Docker engine answers: {error}", _MACHINE_CANNOT, []) from error
    return client


def _of_context() -> str | None:
    with contextlib.suppress(Exception):
        return str(docker.ContextAPI.get_current_context().Host)
    return None


@dataclass(frozen=True, slots=True)
class Found:
    """A lab of containers, in whatever state. `control`: id of the one that commands run in, while it runs."""

    name: str
    project: str
    control: str | None


def find(client: Any) -> dict[str, Found]:
    by_project: dict[str, list[dict[str, Any]]] = {}
    for row in client.api.containers(all=True, filters={"label": ROLE_LABEL}):
        project = row["Labels"].get(_PROJECT_LABEL)
        if project is not None:
            by_project.setdefault(project, []).append(row)
    found = {}
    for project, rows in sorted(by_project.items()):
        controls = [
            row["Id"]
            for row in rows
            if row["Labels"][ROLE_LABEL] == LAB and row["State"] == "running"
        ]
        name = rows[0]["Labels"].get(NAME_LABEL, project)
        found[name] = Found(name, project, controls[0] if controls else None)
    return found


class DockerDriver:
    """`client` is made when it is first needed."""

    def __init__(self, gateway: dict[str, str | None] | None = None) -> None:
        self._gateway = gateway or {}
        self._client: Any = None

    @property
    def client(self) -> Any:
        if self._client is None:
            self._client = connect()
        return self._client

    def names(self) -> list[str]:
        return list(find(self.client))

    def up(
        self,
        file: Path,
        name: str | None,
        *,
        detach: bool,
        progress: Say = lambda _: None,
        idle: bool = False,
        algorithm: str | None = None,
    ) -> StartedLab:
        plan = Plan.of(load_world(file, algorithm))
        if idle:
            plan = plan.idle()
        name = RunDir.of(name or plan.name).name
        try:
            containers = compose.containers(plan, compose.run_dir(name), f"{BASE}/world.json")
        except compose.ComposeError as error:
            raise UpError(str(error), _BAD_INPUT, []) from error
        if (other := find(self.client).get(name)) is not None:
            if other.control is not None:
                raise UpError(
                    f"a lab named {name} is running already; end it by `popnet down -n {name}`, "
                    "or give this one another name by -n",
                    _BAD_INPUT,
                    [],
                )
            self.down(name)
        lab = _Making(self.client, plan, name, containers, progress, self._gateway)
        try:
            provide_image(self.client, progress)
            lab.make()
            lab.start()
        except BaseException as error:
            self.down(name)
            if isinstance(error, APIError):
                raise UpError(str(error.explanation or error), _ABORTED, []) from error
            raise
        return StartedLab(self, name, lab.control)

    def down(self, name: str) -> list[str] | None:
        found = find(self.client).get(name)
        project = found.project if found is not None else project_name(name)
        volumes = self.client.volumes.list(filters={"label": f"{_PROJECT_LABEL}={project}"})
        if found is None and not volumes:
            return None
        every = {"label": f"{_PROJECT_LABEL}={project}"}

        def remove(one: Any) -> None:
            with contextlib.suppress(NotFound):
                one.remove(force=True, v=True)

        _in_parallel(remove, self.client.containers.list(all=True, filters=every, sparse=True))
        for network in self.client.networks.list(filters=every):
            with contextlib.suppress(NotFound):
                network.remove()
        for volume in volumes:
            with contextlib.suppress(NotFound):
                volume.remove(force=True)
        return []


def project_name(name: str) -> str:
    """Compose takes lower-case letters, digits, - and _ only."""
    folded = "".join(char if char.isalnum() or char in "-_" else "_" for char in name.lower())
    return f"popnet-{folded}"


@dataclass(slots=True)
class StartedLab:
    driver: DockerDriver
    name: str
    control: Any

    def wait(self) -> str | None:
        while True:
            try:
                self.control.wait(timeout=3600)
                # Ended from elsewhere, by `popnet down` for one, it is gone in a moment.
                self.control.wait(condition="removed", timeout=_GONE_WITHIN_S)
            except NotFound:
                return None
            except requests.exceptions.ConnectionError:
                self.control.reload()
                if self.control.status == "running":
                    continue
                self.driver.down(self.name)
                return "its control ended"
            return None

    def end(self) -> None:
        self.driver.down(self.name)

    def let_go(self) -> None:
        """Containers belong to the engine anyhow."""


# The image


def provide_image(client: Any, progress: Say) -> None:
    """Build it where there is none, or one of other code than this. Raises UpError."""
    home = code.HOME
    present = _image_mark(client)
    if present == code.mark():
        return
    if not (home / "Dockerfile").exists():
        if present is None:
            raise UpError(
                f"there is no image {IMAGE!r}, and no Dockerfile at {home} to build it from",
                _MACHINE_CANNOT,
                [],
            )
        return
    progress("building the image (minutes the first time, then seconds)")
    arguments = {}
    if base := os.environ.get("BASE_IMAGE"):
        arguments["BASE_IMAGE"] = base
    try:
        client.images.build(
            path=str(home),
            tag=IMAGE,
            buildargs=arguments,
            network_mode=os.environ.get("POPNET_BUILD_NETWORK"),
            rm=True,
        )
    except (BuildError, APIError) as error:
        said = [str(entry.get("stream", "")).rstrip() for entry in getattr(error, "build_log", ())]
        log = [line for line in said if line][-_LOG_LINES:]
        log.append("Without a registry: .ci/base-image, then set BASE_IMAGE=popnet-base")
        raise UpError(f"the image cannot be built: {error}", _ABORTED, log) from error


def _image_mark(client: Any) -> str | None:
    """Of the code inside the image; None: there is no image. A container that never runs is how to look into it."""
    try:
        container = client.containers.create(IMAGE)
    except ImageNotFound:
        return None
    try:
        return _read(container, "/popnet/.code")
    except NotFound:
        return ""
    finally:
        container.remove(force=True)


class _Making:
    """One lab coming up."""

    def __init__(
        self,
        client: Any,
        plan: Plan,
        name: str,
        containers: Iterable[Container],
        progress: Say,
        gateway: dict[str, str | None],
    ) -> None:
        self._client = client
        self._plan = plan
        self._name = name
        self._project = project_name(name)
        self._containers = tuple(containers)
        self._progress = progress
        self._gateway = gateway
        self._made: dict[str, Any] = {}

    @property
    def control(self) -> Any:
        return self._made[LAB]

    # The containers

    def make(self) -> None:
        self._progress(f"making {len(self._containers)} containers")
        self._client.volumes.create(
            self._volume, labels={_PROJECT_LABEL: self._project, _VOLUME_LABEL: "run"}
        )

        def make(one: Container) -> None:
            self._made[one.name] = self._client.containers.create(**self._options(one))

        # The first one gives the fresh volume its owner.
        make(self._containers[0])
        _in_parallel(make, self._containers[1:])

    @property
    def _volume(self) -> str:
        return f"{self._project}_run"

    def _options(self, one: Container) -> dict[str, Any]:
        run = compose.run_dir(self._name)
        options: dict[str, Any] = {
            "image": IMAGE,
            "name": f"{self._project}-{one.name}",
            "command": list(one.command),
            "user": compose.USER,
            "environment": compose.common_environment(run),
            "volumes": [f"{self._volume}:{BASE}"],
            "network_mode": "none",
            "labels": {
                **one.labels,
                NAME_LABEL: self._name,
                _PROJECT_LABEL: self._project,
                _SERVICE_LABEL: one.name,
                "com.docker.compose.oneoff": "False",
                "com.docker.compose.container-number": "1",
            },
        }
        if one.node:
            options |= {
                "user": "root",
                "hostname": one.name,
                "cap_add": ["NET_ADMIN"],
                "devices": ["/dev/net/tun:/dev/net/tun:rwm"],
                "dns": [DNS_ADDRESS],
                "dns_search": ["."],
                "dns_opt": list(compose.DNS_OPTIONS),
                "extra_hosts": compose.hosts(self._plan),
                "sysctls": dict(compose.SYSCTLS),
                "environment": compose.node_environment(run),
            }
        elif one.role == WAN:
            options["restart_policy"] = {"Name": "unless-stopped"}
        elif one.role == LAB:
            published = self._published()
            del options["network_mode"]
            options["environment"] = {
                **compose.common_environment(run),
                **{variable: str(port) for variable, (_, port) in published.items()},
                compose.ALL_OR_NOTHING: "1",
            }
            options["ports"] = {
                f"{inside}/tcp": ("127.0.0.1", port) for inside, port in published.values()
            }
            options["healthcheck"] = {
                "test": ["CMD", *compose.health_command(run)],
                "interval": _SECOND_NS,
                "timeout": 90 * _SECOND_NS,
                "retries": 1,
                "start_period": 600 * _SECOND_NS,
            }
            if city := self._gateway.get("city"):
                options["command"] = [*one.command, "--city", city]
        return options

    def _published(self) -> dict[str, tuple[int, int]]:
        """Variable -> (port inside, port of this machine); without those that are off."""
        wanted = {
            ports.PUBLISHED_WEB: (ports.WEB_PORT, self._gateway.get("web")),
            ports.PUBLISHED_SOCKS: (ports.SOCKS_PORT, self._gateway.get("socks")),
        }
        return {
            variable: (inside, _free_port(os.environ.get(variable) or choice or "auto", inside))
            for variable, (inside, choice) in wanted.items()
            if choice != "off"
        }

    def start(self) -> None:
        """`world` first, to its end; then all at once; then until everything serves."""
        world = self._made[WORLD]
        _write(world, BASE, "world.json", self._plan.to_json())
        self._progress("writing certificates and configurations")
        world.start()
        if world.wait()["StatusCode"] != 0:
            raise self._failed("the world could not be prepared", world)
        rest = [one for name, one in self._made.items() if name != WORLD]
        self._progress(f"starting {len(rest)} containers")
        _in_parallel(lambda one: one.start(), rest)
        self._progress("waiting until every PoP serves and every tunnel is connected")
        patience = _PATIENCE_S + _PATIENCE_PER_NODE_S * len(rest)
        give_up = time.monotonic() + patience
        while not self._ready():
            if time.monotonic() > give_up:
                raise self._failed(f"gave up after {patience:g} s", self.control)
            time.sleep(_LOOK_S)

    def _ready(self) -> bool:
        rows = self._client.api.containers(
            all=True, filters={"label": f"{_PROJECT_LABEL}={self._project}"}
        )
        for row in rows:
            role = row["Labels"].get(ROLE_LABEL)
            if role != WORLD and row["State"] in ("exited", "dead"):
                who = row["Labels"].get(NODE_LABEL, role)
                raise self._failed(f"the container {who} ended", self._made[who])
        (control,) = (row for row in rows if row["Labels"].get(ROLE_LABEL) == LAB)
        return "(healthy)" in control["Status"]

    def _failed(self, why: str, container: Any) -> UpError:
        log = container.logs(tail=_LOG_LINES).decode(errors="replace").splitlines()
        return UpError(why, _ABORTED, log)


def _in_parallel(action: Callable[[Any], T], things: Iterable[Any]) -> list[T]:
    """In their order; the first that fails fails the whole, when all have ended."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        futures = [pool.submit(action, one) for one in things]
    return [future.result() for future in futures]


def _free_port(wanted: str, usual: int) -> int:
    if wanted != "auto":
        return int(wanted)
    for port in (usual, 0):
        with contextlib.suppress(OSError), socket.socket() as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind((ports.LOOPBACK, port))
            return int(attempt.getsockname()[1])
    raise UpError("no free port on this machine", _MACHINE_CANNOT, [])


def _write(container: Any, directory: str, name: str, content: bytes) -> None:
    """A file in a container that need not run."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o644
        archive.addfile(entry, io.BytesIO(content))
    container.put_archive(directory, packed.getvalue())


def _read(container: Any, path: str) -> str:
    stream, _ = container.get_archive(path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        member = archive.extractfile(archive.getmembers()[0])
        return member.read().decode() if member is not None else ""


# Commands on a running lab


def control(name: str | None) -> Found | None:
    """The lab in whose `control` commands on it run; None: there is no such lab.

    Without a name: the only lab of containers there is.
    """
    if shutil.which("docker") is None:
        return None
    try:
        found = [one for one in find(connect()).values() if one.control is not None]
    except UpError:
        return None
    found = [one for one in found if name is None or one.name == name]
    return found[0] if len(found) == 1 else None

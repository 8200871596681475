"""What this machine can run in containers: engine, compose, and whether a container gets its door to the WAN.

The last is tried with the lab's own image where there is one: what an engine's version says, its settings may forbid.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

from lab.compose import IMAGE
from lab.finding import Finding

_PATIENCE_S = 20
_LEAST_COMPOSE = 2
_OPTIONAL = "only for the lab in containers; `popnet up` on this machine does not need it"
_TRY = "from wan.tun import open_tun; open_tun()"


def examine() -> list[Finding]:
    if shutil.which("docker") is None:
        mend = f"https://docs.docker.com/engine/install, or apt install docker.io; {_OPTIONAL}"
        return [Finding("docker", False, "not installed", False, mend)]
    code, said = _ask("info", "--format", "{{json .}}")
    if code != 0:
        return [Finding("docker", False, _why(said), False, _mend_engine(said))]
    info = json.loads(said)
    system = str(info.get("OperatingSystem", ""))
    version = f"engine {info.get('ServerVersion')} on {system}, kernel {info.get('KernelVersion')}"
    findings = [Finding("docker", True, version), _compose(), _base(info)]
    if "Docker Desktop" in system:
        found = "containers run in a virtual machine: reach a lab by `docker compose exec lab popnet ...`"
        findings.append(Finding("docker desktop", True, found))
    if _is_wsl():
        found = "WSL2: its kernel has no netem; popnet needs none"
        findings.append(Finding("wsl", True, found))
    findings.append(_door(desktop="Docker Desktop" in system))
    return findings


def _ask(*arguments: str) -> tuple[int, str]:
    """Exit code, and what it said: output when all went well, errors when not."""
    try:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return 1, "does not answer"
    return done.returncode, (done.stdout if done.returncode == 0 else done.stderr).strip()


def _why(said: str) -> str:
    last = said.splitlines()[-1] if said else "no answer"
    return last.removeprefix("errors pretty printing info").strip() or "its engine does not answer"


def _mend_engine(said: str) -> str:
    if "permission denied" in said:
        return "sudo usermod -aG docker $USER, then log in again; or run popnet as root"
    if _is_wsl():
        return "start Docker Desktop and switch on its WSL integration, or in WSL: sudo service docker start"
    if platform.system() != "Linux":
        return "start Docker Desktop"
    return f"sudo systemctl start docker (without systemd: sudo dockerd &); {_OPTIONAL}"


def _compose() -> Finding:
    code, said = _ask("compose", "version", "--short")
    version = said.removeprefix("v")
    mend = (
        "apt install docker-compose-plugin, or put a docker-compose of version 2 into ~/.docker/cli-plugins; "
        "`popnet up --driver docker` works without"
    )
    if code != 0:
        return Finding("docker compose", False, "not installed", False, mend)
    major = version.partition(".")[0]
    good = major.isdigit() and int(major) >= _LEAST_COMPOSE
    return Finding("docker compose", good, version, False, mend)


def _base(info: dict[str, object]) -> Finding:
    code, _ = _ask("image", "inspect", "--format", "{{.Id}}", IMAGE)
    mend = (
        "docker compose build; without a registry: export BASE_IMAGE=$(.ci/base-image); "
        "without Internet: docker load -i popnet-image.tar.gz (made elsewhere by `make image-tar`)"
    )
    found = f"{IMAGE}, {info.get('Architecture')}" if code == 0 else "not built yet"
    return Finding("docker image", code == 0, found, False, mend)


def _door(*, desktop: bool) -> Finding:
    """A TUN device in a container without a network."""
    rights = ("--cap-add", "NET_ADMIN", "--device", "/dev/net/tun", "--network", "none")
    if _ask("image", "inspect", "--format", "{{.Id}}", IMAGE)[0] != 0:
        exists = desktop or Path("/dev/net/tun").exists()
        found = "not tried: no image" if exists else "/dev/net/tun is missing"
        return Finding("docker tun", exists, found, False, _mend_door(desktop))
    code, said = _ask("run", "--rm", "--user", "root", *rights, IMAGE, "python", "-c", _TRY)
    found = "a container gets /dev/net/tun and NET_ADMIN" if code == 0 else _why(said)
    return Finding("docker tun", code == 0, found, False, _mend_door(desktop))


def _mend_door(desktop: bool) -> str:
    if desktop:
        return "update Docker Desktop: its virtual machine has /dev/net/tun since version 4"
    if os.environ.get("DOCKER_HOST"):
        return "on the engine's machine: sudo modprobe tun"
    return (
        "sudo modprobe tun; a rootless or user-remapped engine may not give devices: "
        "use one that runs as root, or the local driver"
    )


def _is_wsl() -> bool:
    return "microsoft" in platform.release().lower()

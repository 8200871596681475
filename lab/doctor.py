"""What this machine can run. Whatever can be tried is tried, in a child that ends at once: only that is the truth."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from lab import doctor_docker, isolation
from lab.finding import Finding
from wan import tun
from wan.agent import linux

_LEAST_PYTHON = (3, 11)
_TOOLS = {
    "ping": "iputils-ping",
    "curl": "curl",
    "dig": "dnsutils",
    "traceroute": "traceroute",
    "h2load": "nghttp2-client",
    "tcpdump": "tcpdump",
}
_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_CLONE = Path("/proc/sys/kernel/unprivileged_userns_clone")


def examine() -> list[Finding]:
    return [*examine_local(), *doctor_docker.examine()]


def examine_local() -> list[Finding]:
    return [_system(), _python(), *_namespaces(), *_tools()]


def _system() -> Finding:
    name = f"{platform.system()} {platform.release()} {platform.machine()}"
    mend = "the local driver needs Linux; elsewhere run the lab in containers (docker compose up)"
    return Finding("system", sys.platform == "linux", name, True, mend)


def _python() -> Finding:
    good = sys.version_info[:2] >= _LEAST_PYTHON
    return Finding(
        "python", good, platform.python_version(), True, "Python 3.11 or newer is needed"
    )


def _attempt(action: Callable[[], object]) -> str | None:
    """Do it in a child of its own; None when that went well, else what the system said."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = b""
        try:
            os.close(reading)
            action()
        except OSError as error:
            said = (error.strerror or str(error)).encode() or b"an error without a name"
        except BaseException as error:  # noqa: BLE001 a child ends here, whatever it is
            said = repr(error).encode()
        finally:
            os.write(writing, said)
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    return said.decode(errors="replace") or None


def _privileges() -> None:
    if not isolation.has_privileges():
        isolation.become_user_root()


def _namespaces() -> list[Finding]:
    if sys.platform != "linux":
        return []
    findings = []
    if isolation.has_privileges():
        findings.append(Finding("privileges", True, "root: no user namespace is needed", True))
    else:
        problem = _attempt(isolation.become_user_root)
        found = "user namespaces may be made" if problem is None else f"user namespaces: {problem}"
        findings.append(
            Finding("privileges", problem is None, found, True, _mend_user_namespaces())
        )
        if problem is not None:
            return findings

    def network() -> None:
        _privileges()
        linux.unshare(linux.CLONE_NEWNET | linux.CLONE_NEWNS | linux.CLONE_NEWUTS)
        linux.mount("none", "/", linux.MS_REC | linux.MS_PRIVATE)

    problem = _attempt(network)
    mend = "in a container: run it with CAP_SYS_ADMIN and CAP_NET_ADMIN, or use the docker driver"
    found = problem or "network and mount namespaces may be made"
    findings.append(Finding("namespaces", problem is None, found, True, mend))
    if problem is not None:
        return findings

    def device() -> None:
        network()
        descriptor, refused = tun.set_up(
            tun.Interface("100.64.0.1", ("198.18.0.1",), 1500, "cubic")
        )
        os.close(descriptor)
        if refused:
            raise OSError(0, "; ".join(refused))

    def opened() -> None:
        network()
        os.close(tun.open_tun())

    problem = _attempt(opened)
    found = problem or f"{tun.tun_path()} gives devices"
    findings.append(Finding("tun", problem is None, found, True, _mend_tun()))
    if problem is None:
        problem = _attempt(device)
        found = problem or "addresses, routes and settings are accepted"
        mend = "a read-only /proc/sys, or a congestion control whose module is not loaded (modprobe tcp_cubic)"
        findings.append(Finding("settings", problem is None, found, False, mend))
    return findings


def _mend_user_namespaces() -> str:
    if _switched(_APPARMOR, "1"):
        return (
            "AppArmor forbids them to ordinary users here: "
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or run popnet as root"
        )
    if _switched(_CLONE, "0"):
        return "sudo sysctl kernel.unprivileged_userns_clone=1, or run popnet as root"
    return "sudo sysctl user.max_user_namespaces=65536, or run popnet as root"


def _switched(path: Path, value: str) -> bool:
    try:
        return path.read_text().strip() == value
    except OSError:
        return False


def _mend_tun() -> str:
    path = tun.tun_path()
    if not Path(path).exists():
        return f"{path} is missing: sudo modprobe tun; in a container: --device /dev/net/tun"
    return (
        f"{path} may be opened by root alone: sudo chmod 666 {path} (what most distributions do), or "
        "sudo mknod -m 666 PATH c 10 200 elsewhere and POPNET_TUN=PATH"
    )


def _tools() -> list[Finding]:
    return [
        Finding(tool, path is not None, path or "not installed", False, f"apt install {package}")
        for tool, package in _TOOLS.items()
        for path in [shutil.which(tool)]
    ]

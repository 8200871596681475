"""What makes a forked process a node: its own network, and files of its own where programs look for names and trust.

In a node's mount namespace resolv.conf, nsswitch.conf, hosts and the bundle of trusted authorities are the
lab's, and the sockets of the machine's resolver daemons lead nowhere: no look-up escapes to the real network.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, MutableMapping
from pathlib import Path

from topology.spec import Node
from wan.agent import linux

DNS_ADDRESS = "198.18.0.53"

# Where distributions keep the bundle of trusted authorities; programs are compiled with one of these.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_RESOLVER_SOCKETS = (
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/systemd/resolve/io.systemd.Resolve.Monitor",
    "/run/nscd/socket",
    "/var/run/nscd/socket",
)
_RESOLV_CONF = f"nameserver {DNS_ADDRESS}\noptions timeout:1 attempts:3\n"
_NSSWITCH = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n"

_PROXY = re.compile(r"(https?|ftp|all|no)_proxy", re.IGNORECASE)
# Variables by which programs would look elsewhere for trust or names than in the files above.
_UNWANTED = (
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "RES_OPTIONS",
)


def write_files(etc: Path, authority: Path, nodes: Iterable[Node]) -> None:
    """The files that all nodes share. `hosts` names every node, so that traceroute needs no look-up per hop."""
    etc.mkdir(exist_ok=True)
    (etc / "resolv.conf").write_text(_RESOLV_CONF)
    (etc / "nsswitch.conf").write_text(_NSSWITCH)
    lines = ["127.0.0.1 localhost", *(f"{node.address} {node.name}" for node in nodes)]
    (etc / "hosts").write_text("\n".join(lines) + "\n")
    system = next((Path(path) for path in _BUNDLES if Path(path).is_file()), None)
    # A proxy's variable may name a bundle of its own: inside the lab only the system's counts.
    known = system.read_text() if system is not None else ""
    (etc / "ca-bundle.pem").write_text(known.rstrip("\n") + "\n" + authority.read_text())


def environment(etc: Path, node: str, environ: MutableMapping[str, str]) -> None:
    """Change the environment of a process that is going to run inside the node."""
    for name in [name for name in environ if _PROXY.fullmatch(name) or name in _UNWANTED]:
        del environ[name]
    environ["SSL_CERT_FILE"] = str(etc / "ca-bundle.pem")
    environ["POPNET_NODE"] = node


def become_user_root() -> None:
    """Enter a user namespace in which this user is root: for an ordinary user, who may make no other otherwise.

    Needs a process with one thread. Raises OSError where the system forbids it.
    """
    user, group = os.geteuid(), os.getegid()
    linux.unshare(linux.CLONE_NEWUSER)
    # Without this line the kernel would let nobody write gid_map (user_namespaces(7)).
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def become_node(etc: Path, node: str) -> None:
    """Leave the machine's network and names for those of the node. Needs CAP_SYS_ADMIN."""
    linux.unshare(linux.CLONE_NEWNET | linux.CLONE_NEWNS | linux.CLONE_NEWUTS)
    linux.sethostname(node)
    # Nothing mounted here may be seen by the machine, nor the other way about.
    linux.mount("none", "/", linux.MS_REC | linux.MS_PRIVATE)
    for name in ("resolv.conf", "nsswitch.conf", "hosts"):
        _cover(etc / name, Path("/etc", name))
    for bundle in {os.path.realpath(path) for path in _BUNDLES if os.path.exists(path)}:
        _cover(etc / "ca-bundle.pem", Path(bundle))
    for path in {os.path.realpath(path) for path in _RESOLVER_SOCKETS if os.path.exists(path)}:
        _cover(Path(os.devnull), Path(path))


def _cover(source: Path, target: Path) -> None:
    """Bind over the file that is really there: resolv.conf is often a symbolic link."""
    real = os.path.realpath(target)
    if os.path.exists(real):
        linux.bind_mount(str(source), real)


def has_privileges() -> bool:
    """True if this process may make network and mount namespaces as it is."""
    cap_net_admin, cap_sys_admin = 12, 21
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
            return all(effective >> number & 1 for number in (cap_net_admin, cap_sys_admin))
    return False

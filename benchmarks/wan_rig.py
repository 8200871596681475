"""A wan process with nodes that are bare namespaces: sockets of any node, all in the calling process.

The caller's network namespace is left for good (a socket stays in the namespace it was made in), so each
measurement forks first: `apart` does.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from topology.load import parse_world
from topology.plan import Plan
from wan import tun
from wan.agent.linux import CLONE_NEWNET, CLONE_NEWUSER, unshare

_START_S = 20.0


def apart(measure: Callable[[], Any]) -> Any:
    """What `measure` returns, from a process of its own."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def child() -> None:
        theirs.send(measure())

    process = context.Process(target=child)
    process.start()
    theirs.close()
    try:
        result = ours.recv()
    except EOFError:
        raise RuntimeError("the measurement died; see above") from None
    finally:
        process.join()
    return result


def become_root() -> None:
    """Of a user namespace, unless we are root already."""
    if os.geteuid() == 0:
        return
    uid, gid = os.getuid(), os.getgid()
    unshare(CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


class Rig:
    """`count` PoPs n0, n1 ... and a wan process; a context manager."""

    def __init__(self, count: int, internet: Mapping[str, object]) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="popnet-wan-")
        self._run = Path(self._directory.name)
        self._path = str(self._run / "wan.sock")
        pops = {f"n{n}": {"at": [n % 80, n % 170]} for n in range(count)}
        world = {"popnet": 1, "pops": pops, "internet": internet}
        self.plan = Plan.of(parse_world(json.dumps(world)))
        (self._run / "world.json").write_bytes(self.plan.to_json())
        ready_path = str(self._run / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(ready_path)
            ready.settimeout(_START_S)
            root = str(Path(__file__).resolve().parents[1])
            paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
            self._wan = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "wan",
                    "--world",
                    f"{self._run}/world.json",
                    "--socket",
                    self._path,
                ],
                env={**os.environ, "NOTIFY_SOCKET": ready_path, "PYTHONPATH": paths},
            )
            ready.recv(100)
        self._connections: dict[str, socket.socket] = {}
        self._sockets: dict[str, list[socket.socket]] = {}

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.close()
        self._wan.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._wan.wait(10)
        if self._wan.poll() is None:
            self._wan.kill()
            self._wan.wait()
        self._directory.cleanup()

    @property
    def address(self) -> Callable[[str], str]:
        return lambda name: self.plan.nodes[name].address

    def attach(
        self, name: str, make: Callable[[], list[socket.socket]] = list
    ) -> list[socket.socket]:
        """A new namespace with a device; `make` makes the sockets that are wanted in it."""
        unshare(CLONE_NEWNET)
        fd, _ = tun.set_up(tun.Interface(self.plan.nodes[name].address))
        try:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.connect(self._path)
            request = json.dumps({"op": "attach", "node": name}).encode() + b"\n"
            socket.send_fds(connection, [request], [fd])
            answer = json.loads(connection.recv(65536))
            assert answer["ok"], answer
        finally:
            os.close(fd)
        self._connections[name] = connection
        return make()

    def ask(self, **request: object) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(self._path)
            client.sendall(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(client.makefile().readline())
        assert answer["ok"], answer
        return answer

    def cpu_s(self) -> float:
        """CPU time of the wan process, in the kernel included; nanosecond resolution where there is one."""
        pid = self._wan.pid
        try:
            return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
        except OSError:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def udp() -> list[socket.socket]:
    """One UDP socket on an address of the namespace at hand, not blocking, with room for bursts."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.setblocking(False)
    return [sock]


def pinger() -> list[socket.socket]:
    """A socket that sends and receives ICMP echoes."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    sock.setblocking(False)
    return [sock]

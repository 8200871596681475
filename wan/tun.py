"""A node's only door to the WAN: the TUN device `wan0`, and the few settings its network namespace needs.

`open_tun()` must run inside the node's network namespace: the kernel makes the device in the namespace in
which the clone device was *opened*, whoever later asks for it. The descriptor carries bare IP packets
(IFF_NO_PI). As long as one copy of it is open the device lives, whatever happens to the other copies.

The clone device is /dev/net/tun, or what POPNET_TUN says: some systems keep the first for root alone,
and a second node of the same kind (`mknod -m 666 PATH c 10 200`) serves everybody.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wan.agent.netlink import Netlink

DEVICE = "wan0"

# The default of 500 lost thousands of packets in bursts that no link of the world had lost.
QUEUE_PACKETS = 5000

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000


def tun_path() -> str:
    return os.environ.get("POPNET_TUN") or "/dev/net/tun"


def open_tun(device: str = DEVICE) -> int:
    """Make the device in the current network namespace; returns its descriptor (close-on-exec, blocking)."""
    import fcntl  # not everywhere, and the settings below are asked for where no device can be made

    fd = os.open(tun_path(), os.O_RDWR | os.O_CLOEXEC)
    try:
        request = struct.pack("=16sH22x", device.encode(), _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(fd, _TUNSETIFF, request)
    except OSError:
        os.close(fd)
        raise
    return fd


@dataclass(frozen=True, slots=True)
class Interface:
    """What a node's namespace shall look like. Addresses are literals; `anycast` go on the loopback device."""

    address: str
    anycast: tuple[str, ...] = ()
    mtu: int = 1500
    congestion: str | None = None


# (name, value, needed): what is needed but refused is reported, the rest is best effort. rp_filter 1 would drop
# packets whose way back leads elsewhere; `all` counts as a floor for every device. IPv6 stays off until
# the world has IPv6: its router solicitations would be noise in every capture.
SYSCTLS = (
    ("net/ipv6/conf/all/disable_ipv6", "1", False),
    ("net/ipv6/conf/default/disable_ipv6", "1", False),
    ("net/ipv4/conf/all/rp_filter", "0", True),
    ("net/ipv4/conf/default/rp_filter", "0", True),
    # Programs bind 53, 80 and 443 without any capability.
    ("net/ipv4/ip_unprivileged_port_start", "0", True),
    # The kernel remembers RTT and ssthresh per destination: one transfer would colour the next.
    ("net/ipv4/tcp_no_metrics_save", "1", True),
)

# In a user namespace only mapped groups may be named, and there is only one: the wide range comes last.
PING_GROUPS = ("0 0", "0 2147483647")


def set_up(interface: Interface, device: str = DEVICE) -> tuple[int, list[str]]:
    """Make the device and everything around it; returns its descriptor and what the system refused.

    Refusals are sentences for people: a container with a read-only /proc/sys has its settings made from
    outside, so what already has the wanted value is not a refusal.
    """
    refused = list(_set_sysctls())
    fd = open_tun(device)
    try:
        with Netlink() as netlink:
            loopback = socket.if_nametoindex("lo")
            wan = socket.if_nametoindex(device)
            netlink.set_link(loopback)
            for address in interface.anycast:
                netlink.add_address(loopback, address)
            netlink.set_link(wan, mtu=interface.mtu, queue=QUEUE_PACKETS)
            netlink.add_address(wan, interface.address)
            try:
                netlink.add_default_route(wan, interface.address, interface.congestion)
            except OSError as error:
                if interface.congestion is None:
                    raise
                netlink.add_default_route(wan, interface.address)
                refused.append(f"congestion control {interface.congestion}: {error.strerror}")
    except BaseException:
        os.close(fd)
        raise
    return fd, refused


def _set_sysctls() -> Iterable[str]:
    for name, value, needed in SYSCTLS:
        if (problem := _set_sysctl(name, value)) and needed:
            yield problem
    refusals = [_set_sysctl("net/ipv4/ping_group_range", groups) for groups in PING_GROUPS]
    if all(refusals):
        yield f"net.ipv4.ping_group_range: {refusals[0]}"


def _set_sysctl(name: str, value: str) -> str | None:
    path = Path("/proc/sys", name)
    try:
        path.write_text(value)
    except FileNotFoundError:
        return f"{name.replace('/', '.')} = {value}: not on this system"
    except OSError as error:
        with contextlib.suppress(OSError):
            if path.read_text().split() == value.split():
                return None
        reason = os.strerror(error.errno or errno.EIO)
        return f"{name.replace('/', '.')} = {value}: {reason}"
    return None

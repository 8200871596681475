"""ICMP echoes to several addresses at once: RTTs as this node's kernel sees them.

Reads {"targets": {name: address}, "count": n, "interval_s": s, "wait_s": s} from the first line of stdin, answers
"ready", and starts at the next line, so that many nodes can start together. Prints {name: [rtt_s, ...]}; an echo
that did not come back within `wait_s` of the last request is missing from its list.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time

ECHO_REQUEST = 8
ECHO_REPLY = 0
# struct timespec in a control message, from SO_TIMESTAMPNS (socket(7)); Python 3.11 has no name for either.
SO_TIMESTAMPNS = 35
TIMESPEC = struct.Struct("@qq")
HEADER = struct.Struct("!BBHHH")


def echoes(
    targets: dict[str, str], count: int, interval_s: float, wait_s: float
) -> dict[str, list[float]]:
    """Send `count` rounds of echoes to every target; return the RTTs by target, in seconds.

    Uses an unprivileged ICMP socket (icmp(7), net.ipv4.ping_group_range): the kernel fills in identifier and
    checksum and delivers only our own replies, stamped when they arrived and not when we were scheduled.
    """
    names = list(targets)
    sent: dict[int, float] = {}
    rtts: dict[str, list[float]] = {name: [] for name in names}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as icmp:
        icmp.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        icmp.setblocking(False)

        def receive(until: float) -> None:
            while (left := until - time.monotonic()) > 0:
                if select.select([icmp], [], [], left)[0]:
                    _take_reply(icmp, sent, names, rtts)

        for turn in range(count):
            # Spread one round over the interval: a burst would queue behind itself.
            for index, name in enumerate(names):
                sequence = turn * len(names) + index
                sent[sequence] = time.time()
                icmp.sendto(HEADER.pack(ECHO_REQUEST, 0, 0, 0, sequence), (targets[name], 0))
                receive(time.monotonic() + interval_s / len(names))
        give_up = time.monotonic() + wait_s
        while sent and time.monotonic() < give_up:
            receive(min(give_up, time.monotonic() + interval_s))
    return rtts


def _take_reply(
    icmp: socket.socket, sent: dict[int, float], names: list[str], rtts: dict[str, list[float]]
) -> None:
    try:
        data, control, _, _ = icmp.recvmsg(2048, socket.CMSG_SPACE(TIMESPEC.size))
    except OSError:
        return  # an ICMP error for one of the targets: that echo is lost
    kind, _, _, _, sequence = HEADER.unpack_from(data)
    stamp = next((value for level, what, value in control if what == SO_TIMESTAMPNS), None)
    if kind != ECHO_REPLY or sequence not in sent or stamp is None:
        return
    seconds, nanoseconds = TIMESPEC.unpack(stamp)
    rtts[names[sequence % len(names)]].append(seconds + nanoseconds * 1e-9 - sent.pop(sequence))


def main() -> None:
    task = json.loads(sys.stdin.readline())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    json.dump(
        echoes(task["targets"], task["count"], task["interval_s"], task["wait_s"]), sys.stdout
    )


if __name__ == "__main__":
    main()

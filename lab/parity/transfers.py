"""The same transfer over the same lossy link: the model of TCP in `wan.virtual` against this machine's kernel.

Two nodes that have nothing else to do with each other, so that any pair of any world will do: the link between them is
made what is wanted for the time of it, whatever the world file says of it. The sender's congestion control is reno on
both sides. Medians within 25 %: a transfer of 1 MB with 1 % loss meets seven losses, so single ones differ by factors.
How well a median is known: by 7 % from a hundred transfers (standard error), by 5 % from two hundred.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from lab.driver import Lab, LabError
from lab.drivers.virtual import VirtualWorld
from lab.parity.band import Pair
from lab.probes import transfer
from topology.plan import Plan
from wan.changes import Wish
from wan.timeline import Wishes

SHARE = 0.25
SIZE = 1_000_000
_PORT = 9000
_OWNER = "parity"
_PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Settings:
    """One way: half of the round trip, and the loss."""

    receiver: str
    sender: str
    count: int = 100
    at_once: int = 20
    rtt_s: float = 0.06
    loss: float = 0.01
    congestion: str = "reno"

    @property
    def link(self) -> dict[str, Any]:
        calm = {"jitter_s": 0.0, "burst": None, "reorder": 0.0, "duplicate": 0.0, "down": False}
        return {"one_way_s": self.rtt_s / 2, "loss": self.loss, **calm}

    @property
    def text(self) -> str:
        return (
            f"1 MB {self.sender} > {self.receiver}, {self.rtt_s * 1e3:g} ms, {self.loss:.1%} loss, "
            f"{self.congestion}"
        )

    @property
    def ways(self) -> tuple[tuple[str, str], tuple[str, str]]:
        return (self.receiver, self.sender), (self.sender, self.receiver)


def ends(plan: Plan) -> tuple[str, str]:
    """Receiver and sender: two visitors, for nothing else goes between them, those without a line of their own
    first. Where there is only one, the PoP that is farthest from it."""
    visitors = sorted(plan.world.visitors, key=lambda name: plan.access(name) is not None)
    if len(visitors) >= 2:
        return visitors[0], visitors[1]
    if not visitors or len(plan.pops) < 2:
        raise LabError("a transfer needs two visitors, or one and two PoPs")
    return visitors[0], max(plan.pops, key=lambda pop: plan.rtt(visitors[0], pop))


def compare(virtual: list[float | None], real: list[float | None], settings: Settings) -> Pair:
    done = [[one for one in all_ if one is not None] for all_ in (virtual, real)]
    return Pair.of(settings.text, done[0], done[1], SHARE)


def virtually(world: VirtualWorld, settings: Settings) -> list[float | None]:
    fields = settings.link
    world.apply(Wishes(_OWNER, tuple(Wish(a, b, fields) for a, b in settings.ways)))
    sender = world.network.program(settings.sender, "sender")
    receiver = world.network.program(settings.receiver, "receiver")
    address = world.plan.nodes[settings.sender].address

    async def main() -> list[float | None]:
        await sender.start(transfer.serve(_PORT, SIZE))
        fetching = transfer.fetch(address, _PORT, settings.count, settings.at_once, world.loop.time)
        return await receiver.start(fetching)

    try:
        return world.run(main())
    finally:
        world.apply(Wishes(_OWNER, tuple(Wish(a, b, None) for a, b in settings.ways)))


def really(lab: Lab, settings: Settings) -> list[float | None]:
    changes = [{"from": a, "to": b, "set": settings.link} for a, b in settings.ways]
    lab.wan("set", changes=changes)
    try:
        with _probe(lab, settings.sender) as sender:
            _tell(sender, {"serve": _PORT, "size": SIZE, "congestion": settings.congestion})
            assert sender.stdout is not None
            if sender.stdout.readline() != b"ready\n":
                raise LabError(f"the sending probe in {settings.sender} did not start")
            with _probe(lab, settings.receiver) as receiver:
                address = lab.plan.nodes[settings.sender].address
                task = {"fetch": [address, _PORT], "count": settings.count}
                _tell(receiver, {**task, "at_once": settings.at_once})
                try:
                    output, _ = receiver.communicate(timeout=_PATIENCE_S)
                finally:
                    receiver.kill()
                    # Its stdin ends, and so does it.
                    sender.communicate()
    finally:
        lab.wan("reset", pairs=[list(way) for way in settings.ways])
    if receiver.returncode != 0:
        raise LabError(f"the receiving probe in {settings.receiver} failed")
    found: list[float | None] = json.loads(output)
    return found


def _probe(lab: Lab, node: str) -> subprocess.Popen[bytes]:
    return lab.popen(
        node,
        [sys.executable, "-m", "lab.probes.transfer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def _tell(probe: subprocess.Popen[bytes], task: dict[str, Any]) -> None:
    assert probe.stdin is not None
    probe.stdin.write(json.dumps(task).encode() + b"\n")
    probe.stdin.flush()

"""Breaking things in a running lab."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Self

from lab.connectors import connectors
from lab.driver import Lab, LabError
from lab.load import Arrival, Sample
from lab.load_real import Asking
from lab.recovery.experiment import Strike

# As in virtual time.
SETTLE_S = 3.0
_PATIENCE_S = 60.0
_LOOK_S = 0.05


class RealGround:
    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._asking: Asking | None = None

    @property
    def now_s(self) -> float:
        assert self._asking is not None
        return self._asking.now_s

    def begin(self, requests: Sequence[Arrival], timeout_s: float) -> None:
        self._asking = Asking(self._lab, requests, timeout_s=timeout_s)
        self._asking.go()

    def wait(self, until_s: float) -> list[Sample]:
        assert self._asking is not None
        return self._asking.collect(until_s)

    def end(self) -> list[Sample]:
        assert self._asking is not None
        with self._asking as asking:
            asking.stop()
            return asking.rest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._asking is not None:
            self._asking.close()

    def strike(self, strike: Strike) -> None:
        self._do(strike, on=True)

    def mend(self, strike: Strike) -> None:
        self._do(strike, on=False)
        self._until_ready()
        # As `popnet kill` and `start` of every site: connectors find their PoPs anew.
        sites = tuple(self._lab.plan.world.sites)
        for site in sites:
            self._lab.supervisor("node", node=site, do="kill", program=None)
        self._until(lambda: self._dead(sites), "every program of a site is dead")
        for site in sites:
            self._lab.supervisor("node", node=site, do="start", program=None)
        self._until_ready()
        time.sleep(SETTLE_S)

    def _do(self, strike: Strike, *, on: bool) -> None:
        lab = self._lab
        if strike.kind == "kill":
            for name in strike.targets:
                if not on:
                    self._until(partial(self._dead, (name,)), f"the programs of {name} are dead")
                lab.supervisor("node", node=name, do="kill" if on else "start", program=None)
        elif strike.kind == "vanish":
            for name in strike.targets:
                lab.wan("vanish", node=name, on=on)
        elif on:
            a, b = strike.targets
            both = [{"from": a, "to": b}, {"from": b, "to": a}]
            lab.wan("set", changes=[{**way, "set": {"down": True}} for way in both])
        else:
            lab.wan("reset", pairs=[list(strike.targets), list(strike.targets[::-1])])

    def _until_ready(self) -> None:
        self._until(self._is_ready, "all is as before")

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        give_up = time.monotonic() + _PATIENCE_S
        while not holds():
            if time.monotonic() > give_up:
                raise LabError(f"not within {_PATIENCE_S:.0f} s: {what}")
            time.sleep(_LOOK_S)

    def _dead(self, names: Sequence[str]) -> bool:
        return all(
            program["state"] == "dead"
            for node in self._lab.status()["nodes"]
            if node["name"] in names
            for program in node["programs"]
        )

    def _is_ready(self) -> bool:
        if not all(node["ready"] for node in self._lab.status()["nodes"]):
            return False
        pops, wanted = self.connections()
        return len(pops) >= wanted

    def connections(self) -> tuple[list[str], int]:
        told = connectors(self._lab)
        return [pop for one in told for pop in one["pops"]], sum(one["wanted"] for one in told)

"""The order in which a lab comes up, each step waiting for what it needs and for nothing else.

    files, wan process   (while the zygote imports)
    PoPs and visitors    all at once
    sites                when every PoP serves, so that no connector meets a closed port and backs off
    connections          until every connector has as many as the world wants
    gateway              starts beside the sites, and listens

All or nothing: whatever ends or does not come in time fails the whole.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import msgspec

from lab import adminhttp, configs
from lab.children import Zygote
from lab.gateway.child import GatewayProcess
from lab.jsonlines import UnreachableError
from lab.routed import routed
from lab.rundir import RunDir
from lab.supervisor_nodes import Changes, NodeHandle, tail
from topology.plan import Plan

_BAD_INPUT = 2
_ABORTED = 4
_MACHINE_CANNOT = 5
_PATIENCE_S = 60.0
_PATIENCE_PER_NODE_S = 1.0
# Between two looks at a connector that is not yet complete; it has no way of calling us.
_LOOK_AGAIN_S = 0.05


class BringUpError(Exception):
    """The lab cannot come up: why, the exit code that fits, the end of the log that tells more."""

    def __init__(self, why: str, code: int, log: list[str]) -> None:
        super().__init__(why)
        self.why, self.code, self.log = why, code, log


class Lab(Protocol):
    """What is brought up; `lab.supervisor` has it."""

    run: RunDir
    plan: Plan
    changes: Changes
    nodes: dict[str, NodeHandle]
    zygote: Zygote
    gateway: GatewayProcess
    preloaded: bool
    wan_ready: bool

    def tell(self, **message: Any) -> None:
        """How it goes, to whoever waits."""

    def write_files(self) -> None: ...

    def start_wan(self) -> None: ...


async def bring_up(lab: Lab) -> None:
    patience = _PATIENCE_S + _PATIENCE_PER_NODE_S * len(lab.nodes)
    waiting_for: list[str] = [""]
    try:
        async with asyncio.timeout(patience):
            await _bring_up(lab, waiting_for)
    except TimeoutError:
        raise BringUpError(
            f"gave up after {patience:g} s: {waiting_for[0]}", _ABORTED, []
        ) from None


async def _bring_up(lab: Lab, waiting_for: list[str]) -> None:
    def now(what: str) -> None:
        waiting_for[0] = what
        lab.tell(say=what)

    now("writing certificates and configurations")
    lab.write_files()
    lab.start_wan()
    now("waiting for the wan process and the imports")
    await lab.changes.until(lambda: lab.wan_ready and lab.preloaded)
    handles = list(lab.nodes.values())
    first = [one for one in handles if one.node.kind != "site"]
    sites = [one for one in handles if one.node.kind == "site"]
    for group, what in ((first, "PoPs and visitors"), (sites, "sites")):
        if group is sites:
            # Its imports pass the time in which connectors wait for the other end of the world.
            lab.gateway.start()
        for handle in group:
            lab.zygote.fork(handle.name)
        now(f"starting {len(group)} {what}")
        await _until_ready(lab, group)
    wanted = list(_connectors(lab))
    now(f"waiting for {sum(entry[2] for entry in wanted)} tunnel connections")
    try:
        async with asyncio.TaskGroup() as connectors:
            for site, name, connections in wanted:
                connected = _connected(lab, site, name, connections)
                connectors.create_task(connected, name=f"{site} {name}")
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    now("waiting for routes to every tunnel")
    tunnels = {configs.connector_names(lab.plan, site)[name][0] for site, name, _ in wanted}
    while not await routed(lab.run, lab.plan.pops, tunnels):  # noqa: ASYNC110 nobody calls us
        await asyncio.sleep(_LOOK_AGAIN_S)
    now("waiting for the gateway")
    await lab.changes.until(lambda: lab.gateway.ready or lab.gateway.trouble is not None)
    if (why := lab.gateway.trouble) is not None:
        raise BringUpError(why, _BAD_INPUT, lab.gateway.log)


async def _until_ready(lab: Lab, group: list[NodeHandle]) -> None:
    await lab.changes.until(lambda: all(one.ready or one.trouble for one in group))
    for handle in group:
        if (why := handle.trouble) is not None:
            log = tail(handle.log_of_trouble())
            raise BringUpError(why, _MACHINE_CANNOT if handle.ended else _ABORTED, log)


def _connectors(lab: Lab) -> list[tuple[str, str, int]]:
    """(site, program, connections) of every connector that can tell how it is."""
    found = []
    for site in lab.plan.world.sites:
        programs = {one.name: one for one in configs.agent_config(lab.plan, lab.run, site).programs}
        for name, (_, connections) in configs.connector_names(lab.plan, site).items():
            if programs[name].entry is not None:
                found.append((site, name, connections))
    return found


async def _connected(lab: Lab, site: str, name: str, connections: int) -> None:
    path = lab.run.node(site) / f"{name}.sock"
    while True:
        if (why := lab.nodes[site].trouble) is not None:
            raise BringUpError(why, _ABORTED, tail(lab.nodes[site].log_of_trouble()))
        try:
            answer = await adminhttp.request_async(path, "GET", "/ready")
            state: dict[str, Any] = msgspec.json.decode(answer.body)
            if state.get("readyConnections", 0) >= connections:
                return
        except (UnreachableError, msgspec.DecodeError):
            pass
        await asyncio.sleep(_LOOK_AGAIN_S)

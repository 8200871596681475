"""`popnet kill`, `vanish`, `start`, `pause`, `resume`, `drain`: what can befall a node.

kill     its programs die at once; the node's kernel lives on and answers RST
vanish   silence: no packet in or out, programs run on
pause    its programs stand still; the kernel goes on accepting, announcements stay
drain    its programs finish what they do, then stop taking more
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from lab.aftermath import Aftermath
from lab.cli.app import Code, NameOption, NodeArgument, app, put, say
from lab.connectors import connectors
from lab.driver import Lab, LabError
from lab.jsonlines import Connection
from lab.standing import standing

WaitOption = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait for what follows, and say how long it took.")
]
ProgramOption = Annotated[
    str | None,
    typer.Option("--program", help="One program of the node: pop, service, connector ..."),
]

_LOOK_S = 0.05
# What follows a death is over soon after the convergence time, or it will not happen by itself.
_PATIENCE_S = 30.0


class _Watch:
    """Follows what a node's death does to the rest, from just before it."""

    def __init__(self, lab: Lab, node: str) -> None:
        self._lab, self._node = lab, node
        self._wan: Connection = lab.wan_connection()
        self._wan.ask({"op": "subscribe"})
        is_pop = lab.plan.nodes[node].kind == "pop"
        self._aftermath = Aftermath(
            node, is_pop=is_pop, before=connectors(lab), now=time.monotonic()
        )

    def tell(self) -> str:
        """Returns when all is over, or nothing more will come by itself."""
        give_up = time.monotonic() + _PATIENCE_S + self._lab.plan.convergence_s
        while not self._aftermath.settled and time.monotonic() < give_up:
            event = self._wan.poll(_LOOK_S)
            now = time.monotonic()
            if event is None:
                self._aftermath.observe(connectors(self._lab), now)
            elif event.get("event") == "withdrawn" and event.get("node") == self._node:
                self._aftermath.withdrawn(now)
        self._wan.close()
        return str(self._aftermath)


def _act(
    lab: Lab, node: str, action: str, done: str, *, wait: bool, program: str | None = None
) -> None:
    watch = _Watch(lab, node) if wait else None
    answer = lab.supervisor("node", node=node, do=action, program=program)
    if not answer["changed"]:
        say(f"popnet: nothing to do: no program of {node} is running")
        raise typer.Exit(Code.OK)
    _report(node, done, watch)


def _report(node: str, done: str, watch: _Watch | None) -> None:
    what = watch.tell() if watch is not None else ""
    put(f"{node} {done}" + (f"; {what}" if what else ""))


@app.command()
def kill(
    node: NodeArgument,
    program: ProgramOption = None,
    wait: WaitOption = True,
    name: NameOption = None,
) -> None:
    """Kill the programs of a node (SIGKILL). Its kernel answers RST; `popnet start` brings it back.

    Nothing restarts a killed program by itself: what the rest of the world makes of it is what you want to see.
    """
    lab = Lab.open(name)
    _act(lab, lab.node(node), "kill", "killed", wait=wait, program=program)


@app.command()
def vanish(node: NodeArgument, wait: WaitOption = True, name: NameOption = None) -> None:
    """Cut a node off: no packet in or out, nobody is told. `popnet start` brings it back."""
    lab = Lab.open(name)
    node = lab.node(node)
    if _has_vanished(lab, node):
        say(f"popnet: nothing to do: {node} has vanished already")
        return
    watch = _Watch(lab, node) if wait else None
    lab.wan("vanish", node=node, on=True)
    _report(node, "vanished", watch)


@app.command()
def start(
    node: NodeArgument,
    program: ProgramOption = None,
    wait: WaitOption = True,
    name: NameOption = None,
) -> None:
    """Bring a node back that was killed, drained, paused or has vanished."""
    lab = Lab.open(name)
    node = lab.node(node)
    started = time.monotonic()
    before = _starts(lab, node)
    if not _bring_back(lab, node, program):
        say(f"popnet: nothing to do: {node} is {_state(lab, node)}")
        return
    if not wait:
        put(f"{node} started")
        return
    while not _is_ready(lab, node, before):
        if time.monotonic() - started > _PATIENCE_S:
            raise LabError(
                f"{node} is not ready after {_PATIENCE_S:.0f} s; see `popnet logs {node}`"
            )
        time.sleep(_LOOK_S)
    put(f"{node} ready in {time.monotonic() - started:.1f} s")


def _bring_back(lab: Lab, node: str, program: str | None) -> bool:
    """Whether there was anything to mend."""
    returned = _has_vanished(lab, node)
    lab.wan("vanish", node=node, on=False)
    _let_drained_programs_end(lab, node)
    resumed = False
    for one in _programs(lab, node):
        if one["state"] == "paused" and program in (None, one["name"]):
            lab.supervisor("node", node=node, do="resume", program=one["name"])
            resumed = True
    started = bool(lab.supervisor("node", node=node, do="start", program=program)["changed"])
    return returned or resumed or started


def _has_vanished(lab: Lab, node: str) -> bool:
    return any(one["node"] == node and one["vanished"] for one in lab.wan("status")["nodes"])


def _state(lab: Lab, node: str) -> str:
    return next(str(one["state"]) for one in standing(lab)["nodes"] if one["name"] == node)


def _let_drained_programs_end(lab: Lab, node: str) -> None:
    """A drained PoP stays for those it still serves, and takes nobody new: to serve again it starts anew."""
    leaving = [one["name"] for one in _programs(lab, node) if one["state"] == "stopping"]
    for program in leaving:
        lab.supervisor("node", node=node, do="stop", program=program)
    give_up = time.monotonic() + _PATIENCE_S
    while any(one["state"] == "stopping" for one in _programs(lab, node)):
        if time.monotonic() > give_up:
            raise LabError(f"{node} does not end; `popnet kill {node}` makes it")
        time.sleep(_LOOK_S)


def _programs(lab: Lab, node: str) -> list[dict[str, Any]]:
    state = next(one for one in lab.status()["nodes"] if one["name"] == node)
    return list(state["programs"])


def _starts(lab: Lab, node: str) -> dict[str, int]:
    return {one["name"]: one["starts"] for one in _programs(lab, node)}


def _is_ready(lab: Lab, node: str, before: dict[str, int]) -> bool:
    """`before`: how often each program had been started; what died then is not news."""
    state = next(one for one in lab.status()["nodes"] if one["name"] == node)
    for program in state["programs"]:
        if program["state"] == "dead" and program["starts"] > before.get(program["name"], 0):
            raise LabError(
                f"{node}: {program['name']} ended ({program['ended']}); see `popnet logs {node}`"
            )
    return bool(state["ready"]) and all(
        one["ready"] >= one["wanted"] for one in connectors(lab) if one["site"] == node
    )


@app.command()
def pause(node: NodeArgument, program: ProgramOption = None, name: NameOption = None) -> None:
    """Stop a node's programs where they are (SIGSTOP); announcements stay. `popnet resume` goes on."""
    lab = Lab.open(name)
    _act(lab, lab.node(node), "pause", "paused", wait=False, program=program)


@app.command()
def resume(node: NodeArgument, program: ProgramOption = None, name: NameOption = None) -> None:
    """Let a paused node go on (SIGCONT)."""
    lab = Lab.open(name)
    _act(lab, lab.node(node), "resume", "resumed", wait=False, program=program)


@app.command()
def drain(node: NodeArgument, name: NameOption = None) -> None:
    """Take a node out of service without losing a request: a PoP stops taking new ones, a site's connectors leave."""
    lab = Lab.open(name)
    node = lab.node(node)
    kind = lab.plan.nodes[node].kind
    if kind == "pop":
        answer = lab.admin(node, "POST", "/drain", b"")
        if answer.status >= 300:
            raise LabError(f"{node}: {answer.status} {answer.body[:200].decode(errors='replace')}")
    elif kind == "site":
        for one in connectors(lab):
            if one["site"] == node:
                lab.supervisor("node", node=node, do="stop", program=one["name"])
    else:
        raise LabError(f"{node} is a visitor: there is nothing to drain")
    put(f"{node} drains")

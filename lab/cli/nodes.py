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

from lab.cli.app import Code, NameOption, NodeArgument, app, put, say
from lab.connectors import connectors
from lab.driver import Lab, LabError
from lab.jsonlines import Connection

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


class _Aftermath:
    """Watches what a node's death does to the rest: the withdrawal, and connectors that come back."""

    def __init__(self, lab: Lab, node: str) -> None:
        self.lab, self.node = lab, node
        self._is_pop = lab.plan.nodes[node].kind == "pop"
        self._wan: Connection = lab.wan_connection()
        self._wan.ask({"op": "subscribe"})
        self._wanted = sum(one["wanted"] for one in self._connectors())
        self._was_up = self._up()
        self._started = time.monotonic()

    def _connectors(self) -> list[dict[str, Any]]:
        """Those that this node's death leaves alive."""
        return [one for one in connectors(self.lab) if one["site"] != self.node]

    def _up(self) -> int:
        return sum(one["ready"] for one in self._connectors())

    def tell(self) -> str:
        """Returns when all is over: `anycast withdrawn in 3.0 s; connector 2/4, then 4/4 in 4.8 s`."""
        withdrawn: float | None = None
        lowest, recovered = self._was_up, None
        unsettled = self._is_pop
        give_up = self._started + _PATIENCE_S + self.lab.plan.convergence_s
        while (now := time.monotonic()) < give_up:
            event = self._wan.poll(_LOOK_S)
            if event is not None:
                if event.get("event") == "withdrawn" and event.get("node") == self.node:
                    withdrawn = time.monotonic() - self._started
                    unsettled = False
                continue
            up = self._up()
            if up < lowest:
                lowest, recovered = up, None
            elif up >= self._was_up and lowest < self._was_up and recovered is None:
                recovered = now - self._started
            if not unsettled and (up >= self._was_up):
                break
        self._wan.close()
        return "; ".join(
            filter(None, [self._withdrawal(withdrawn), self._comeback(lowest, recovered)])
        )

    def _withdrawal(self, after: float | None) -> str:
        if not self._is_pop:
            return ""
        return (
            f"anycast withdrawn in {after:.1f} s" if after is not None else "anycast not withdrawn"
        )

    def _comeback(self, lowest: int, recovered: float | None) -> str:
        if lowest >= self._was_up:
            return ""
        text = f"connector {lowest}/{self._wanted}, then "
        if recovered is None:
            return text + f"{self._up()}/{self._wanted} after {_PATIENCE_S:.0f} s"
        return text + f"{self._was_up}/{self._wanted} in {recovered:.1f} s"


def _act(
    lab: Lab, node: str, action: str, done: str, *, wait: bool, program: str | None = None
) -> None:
    aftermath = _Aftermath(lab, node) if wait else None
    answer = lab.supervisor("node", node=node, do=action, program=program)
    if not answer["changed"]:
        say(f"popnet: nothing to do: no program of {node} is running")
        raise typer.Exit(Code.OK)
    _report(node, done, aftermath)


def _report(node: str, done: str, aftermath: _Aftermath | None) -> None:
    what = aftermath.tell() if aftermath is not None else ""
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
    aftermath = _Aftermath(lab, node) if wait else None
    lab.wan("vanish", node=node, on=True)
    _report(node, "vanished", aftermath)


@app.command()
def start(
    node: NodeArgument,
    program: ProgramOption = None,
    wait: WaitOption = True,
    name: NameOption = None,
) -> None:
    """Bring a node back that was killed, drained or has vanished."""
    lab = Lab.open(name)
    node = lab.node(node)
    started = time.monotonic()
    lab.wan("vanish", node=node, on=False)
    before = _starts(lab, node)
    lab.supervisor("node", node=node, do="start", program=program)
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

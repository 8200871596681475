"""How each node is, in one word: what the page shows and `popnet status` says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lab.driver import Lab, LabError
from lab.jsonlines import Message


def node_state(told: Message | None, attached: Message | None) -> str:
    """One word, the worst that is true. `told` is the supervisor's account, `attached` that of the wan process."""
    if told is None:
        return "unknown"
    # An agent in a container has no pid that is known outside.
    if told["ended"] is not None or (told["pid"] is None and not told["attached"]):
        return "gone"
    programs = [program["state"] for program in told["programs"]]
    for state in ("dead", "paused", "stopping", "starting"):
        if state in programs:
            return state
    if attached is not None and attached.get("vanished"):
        return "vanished"
    return "ready" if told["attached"] else "detached"


def with_states(status: Message, wan: Message) -> Message:
    """The supervisor's account with the state of every node, and `ready` and the summary by these."""
    attached = {one["node"]: one for one in wan.get("nodes", ())}
    nodes = []
    for node in status["nodes"]:
        state = node_state(node, attached.get(node["name"]))
        nodes.append({**node, "state": state, "ready": state == "ready" and node["ready"]})
    return {**status, "nodes": nodes, "summary": _summary(nodes)}


def standing(lab: Lab) -> Message:
    """How the lab is now. While the wan process is away nobody knows who has vanished."""
    status = lab.status()
    try:
        wan = lab.wan("status")
    except LabError:
        wan = {}
    return with_states(status, wan)


def _summary(nodes: Iterable[dict[str, Any]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for node in nodes:
        of_kind = found.setdefault(node["kind"], {"ready": 0, "all": 0})
        of_kind["all"] += 1
        of_kind["ready"] += node["ready"]
    return found

"""The same question to many PoPs at once: who is silent costs one wait in all, and is told apart from who answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from lab.adminhttp import Answer, request_async
from lab.driver import Lab, LabError
from lab.jsonlines import UnreachableError

# A PoP answers within milliseconds; one on a busy machine within a second. A paused one never does.
ANSWER_S = 3.0


@dataclass(frozen=True, slots=True)
class Told:
    """`answers` by PoP, in the order they were asked; `silent`: those that gave none in time."""

    answers: dict[str, Answer]
    silent: list[str]


def ask(
    lab: Lab,
    pops: Iterable[str],
    method: str,
    target: str,
    body: bytes = b"",
    within_s: float = 0.0,
) -> Told:
    """`within_s`: each has so long; 0: ANSWER_S."""
    asked = {pop: lab.admin_socket(pop) for pop in pops}

    async def one(pop: str) -> Answer | None:
        with contextlib.suppress(UnreachableError):
            return await request_async(asked[pop], method, target, body, within_s or ANSWER_S)
        return None

    async def everyone() -> list[Answer | None]:
        return await asyncio.gather(*(one(pop) for pop in asked))

    got = dict(zip(asked, asyncio.run(everyone()), strict=True))
    answers = {pop: answer for pop, answer in got.items() if answer is not None}
    return Told(answers, [pop for pop in asked if pop not in answers])


def serving(lab: Lab) -> list[str]:
    """The PoPs that run, in the order of the world file. LabError when none does."""
    ready = {one["name"] for one in lab.status()["nodes"] if one["ready"]}
    pops = [pop for pop in lab.plan.pops if pop in ready]
    if not pops:
        raise LabError("no PoP is running")
    return pops


def vanished(lab: Lab) -> set[str]:
    """Nodes that no packet reaches: their programs answer, and would tell nobody else."""
    with contextlib.suppress(LabError):
        nodes = lab.wan("status", timeout=ANSWER_S)["nodes"]
        return {one["node"] for one in nodes if one["vanished"]}
    return set()

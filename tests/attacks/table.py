"""All attacks, and how one is judged."""

from __future__ import annotations

import asyncio
import re

from tests.attacks import dns, http1, http2, peers, slow
from tests.attacks.case import Case
from tests.attacks.target import Target

CASES: list[Case] = [*http2.cases(), *http1.cases(), *slow.cases(), *peers.cases(), *dns.cases()]
ENGINES = ("ngh2", "h2")
DEADLINE = 20.0


async def judge_waits(target: Target, cases: list[Case]) -> list[tuple[str, str]]:
    """Attacks that are nothing but waiting, all at once."""
    async with asyncio.timeout(DEADLINE):
        happened = await asyncio.gather(*(case.play(target) for case in cases))
        await target.at_rest()
        status = await target.bystander()
    fell = "" if status == 200 else f"another visitor got {status}"
    return [
        (what, fell if re.fullmatch(case.expect, what) else f"not {case.expect}")
        for case, what in zip(cases, happened, strict=True)
    ]


async def judge(target: Target, case: Case) -> tuple[str, str]:
    """What happened, and what is wrong with that ("" when nothing is)."""
    async with asyncio.timeout(DEADLINE):
        assert await target.bystander() == 200, "the PoP is not well before the attack"
        before = target.requests
        happened = await case.play(target)
        reached = target.requests - before
        await target.at_rest()
        status = await target.bystander()
    if status != 200:
        return happened, f"another visitor got {status}"
    if re.fullmatch(case.expect, happened) is None:
        return happened, f"not {case.expect}"
    if case.reaches >= 0 and reached != case.reaches:
        return happened, f"{reached} requests reached the connector, not {case.reaches}"
    return happened, ""

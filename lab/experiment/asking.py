"""`python -m lab.experiment.asking`: one visitor of a comparison, inside its node.

Reads its task as one JSON object from the first line of stdin, opens its connections, answers "ready", begins at the
next line, and prints one line for each request. The requests of a pair follow each other at once, in the order that
the task gives, over the same connection: no two of them ever share the way at the same time.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from lab.load_client import Visitor
from lab.resolving import LabResolver

_CONNECTIONS = 2
# Which table of its PoP a request goes by (routing.beside).
ALGORITHM = "popnet-algorithm"


async def ask(task: dict[str, Any]) -> None:
    visitor = Visitor(
        LabResolver(),
        task["ca"],
        clock=time.monotonic,
        timeout_s=task["timeout_s"],
        keep=True,
    )
    for url in task["urls"]:
        await asyncio.gather(*(visitor.get(url) for _ in range(_CONNECTIONS)))
    _tell("ready")
    await asyncio.to_thread(sys.stdin.readline)
    begin = time.monotonic()

    async def pair(pair_id: int, url: str, order: list[str]) -> None:
        for place, algorithm in enumerate(order):
            headers = {ALGORITHM: algorithm, "x-request-id": str(pair_id)}
            visit = await visitor.get(url, headers=headers)
            told = {
                "pair_id": pair_id,
                "order": place,
                "algorithm": algorithm,
                "t_s": visit.started - begin,
                "warm": visit.warm,
                "phases": visit.phases,
                "status": visit.status,
                "path": visit.header("popnet-path"),
                "bytes": visit.bytes,
                "error": visit.error,
            }
            _tell(json.dumps(told))

    async with asyncio.TaskGroup() as tasks:
        for pair_id, at_s, url, order in task["asks"]:
            await asyncio.sleep(max(0.0, begin + at_s - time.monotonic()))
            tasks.create_task(pair(pair_id, url, order), name=f"pair {pair_id}")
    visitor.close()


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(ask(json.loads(sys.stdin.readline())))

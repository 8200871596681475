"""From a visitor's request to an origin's answer, over real sockets and TLS on loopback."""

from __future__ import annotations

import json
from typing import Any


def test_one_pop(edge: Any) -> None:
    async def scenario(world: Any) -> None:
        await world.start("A")
        await world.connector("A")
        visitor = await world.visitor("A")
        answer = await visitor.fetch("/x?y=1")
        assert answer.status == 200
        seen = dict(json.loads(answer.body)["headers"])
        assert seen[":path"] == "/x?y=1"

    edge(scenario)

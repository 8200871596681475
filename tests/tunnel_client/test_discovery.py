from __future__ import annotations

import asyncio
import random

import pytest

from runtime.errors import ResolveError
from tunnel_client.drivers import discovery
from wire.srv import SrvRecord


class Names:
    """A resolver of a few names."""

    def __init__(self, records: list[SrvRecord]) -> None:
        self.records = records
        self.asked: list[str] = []

    async def srv(self, name: str) -> list[SrvRecord]:
        self.asked.append(name)
        return self.records

    async def addresses(self, name: str) -> list[str]:
        self.asked.append(name)
        if name == "gone.example":
            raise ResolveError(name, "no such name", missing=True)
        return [f"addr1-of-{name}", f"addr2-of-{name}"]

    async def close(self) -> None:
        pass


def test_the_first_two_records_are_the_regions() -> None:
    names = Names(
        [
            SrvRecord(3, 1, 7846, "third.example"),
            SrvRecord(2, 1, 7845, "second.example"),
            SrvRecord(1, 1, 7844, "first.example"),
        ]
    )
    found = asyncio.run(discovery.regions(names, "us", random.Random(0)))
    assert found == [
        [("addr1-of-first.example", 7844), ("addr2-of-first.example", 7844)],
        [("addr1-of-second.example", 7845), ("addr2-of-second.example", 7845)],
    ]
    assert names.asked[0] == "_us-v2-origintunneld._tcp.argotunnel.com"


def test_half_an_answer_is_none() -> None:
    one = [SrvRecord(1, 1, 1, "first.example")]
    with pytest.raises(ResolveError, match="two regions are needed"):
        asyncio.run(discovery.regions(Names(one), "", random.Random(0)))
    broken = [*one, SrvRecord(2, 1, 1, "gone.example")]
    with pytest.raises(ResolveError, match="gone"):
        asyncio.run(discovery.regions(Names(broken), "", random.Random(0)))


def test_edges_by_hand_alternate_between_the_regions() -> None:
    edges = [("a", 1), ("b", 2), ("c", 3)]
    found = asyncio.run(discovery.static(Names([]), edges))
    assert found == [[("addr1-of-a", 1), ("addr1-of-c", 3)], [("addr1-of-b", 2)]]

"""Luck that can be told again: one stream of random numbers per flow and link.

One stream per link would not do: two stray packets of another flow would shift it, and every later packet
would meet another fate. The key therefore names the flow, by what a second run has in common with the first:
never an ephemeral port, but the how-manieth flow between these two addresses for this service it is.
"""

from __future__ import annotations

import hashlib
from random import Random
from typing import Protocol


class Dice:
    """The luck of one flow on one link: its random numbers, and what its jitter and its bursts remember."""

    __slots__ = ("bad", "gauss", "random", "z")

    def __init__(self, *key: object) -> None:
        # Not `Random(str)` or `hash()`: the seed must not depend on the version or the process.
        digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
        stream = Random(int.from_bytes(digest))
        self.random = stream.random
        self.gauss = stream.gauss
        self.z: float | None = None
        self.bad: bool | None = None


class Dealer(Protocol):
    """Whoever holds the dice of a flow. Links ask only when they need luck: dice are dear, flows many."""

    def dice(self, link: str) -> Dice: ...

"""Which requests an experiment makes: from seed, visitors and number alone, so that every algorithm meets the same.

Requests go in rounds: in each, every visitor asks once, in random order. So every city weighs the same in every
block, and the gain of a block does not depend on who happened to ask. A request falls anywhere within its slot
of time, which keeps requests from marching in step with the probes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lab.load import stream

# A block should be longer than what requests have in common by being close in time: queues, a probe's interval, and
# most of what damping holds back.
BLOCK_S = 10.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, to be made by each algorithm. `order`: in which order, where they share one world."""

    pair_id: int
    seed: int
    repeat: int
    at_s: float
    visitor: str
    url: str
    order: tuple[str, ...]


def design(
    *,
    seeds: Sequence[int],
    requests: int,
    visitors: Sequence[str],
    urls: Sequence[str],
    algorithms: Sequence[str],
    every_s: float,
    block_s: float = BLOCK_S,
) -> dict[int, tuple[Ask, ...]]:
    """Seed -> its requests in their order; `requests` in all, shared out evenly. URLs take turns.

    Seeds get whole rounds, but for the last, which gets the rest. Blocks are whole rounds, at least `block_s` long;
    what is left over at the end belongs to the last one.
    """
    found: dict[int, tuple[Ask, ...]] = {}
    first = 0
    rounds = requests // len(visitors)
    for number, seed in enumerate(seeds):
        mine = rounds // len(seeds) + (number < rounds % len(seeds))
        count = mine * len(visitors) if number < len(seeds) - 1 else requests - first
        found[seed] = tuple(_asks(seed, first, count, visitors, urls, algorithms, every_s, block_s))
        first += count
    return found


def _asks(
    seed: int,
    first: int,
    count: int,
    visitors: Sequence[str],
    urls: Sequence[str],
    algorithms: Sequence[str],
    every_s: float,
    block_s: float,
) -> list[Ask]:
    luck, turns = stream(seed, "experiment", "requests"), stream(seed, "experiment", "order")
    a_round = len(visitors)
    rounds_each = max(1, math.ceil(round(block_s / (a_round * every_s), 9)))
    blocks = max(1, count // (a_round * rounds_each))
    asks = []
    whose: list[str] = []
    for number in range(count):
        if not whose:
            whose = list(visitors)
            luck.shuffle(whose)
        order = list(algorithms)
        turns.shuffle(order)
        asks.append(
            Ask(
                pair_id=first + number,
                seed=seed,
                repeat=min(number // (a_round * rounds_each), blocks - 1),
                at_s=round((number + luck.random()) * every_s, 6),
                visitor=whose.pop(),
                url=urls[(number // a_round) % len(urls)],
                order=tuple(order),
            )
        )
    return asks

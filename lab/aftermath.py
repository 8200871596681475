"""What a node's death does to the rest of the world, told in one line; takes observations, makes none.

LHR killed; anycast withdrawn in 3.0 s; connector 2/4, then 4/4 in 4.8 s
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class Aftermath:
    """`before`: the connectors (see lab/connectors.py) at `now`, the time of the death.

    Those of the node itself do not count, nor does one that answers nobody: it will not come back by itself.
    """

    def __init__(
        self, node: str, *, is_pop: bool, before: Iterable[Mapping[str, Any]], now: float
    ) -> None:
        self._node = node
        self._is_pop = is_pop
        self._started = now
        counted = [one for one in before if one["site"] != node and one["answers"]]
        self._who = {(one["site"], one["name"]) for one in counted}
        self._wanted = sum(int(one["wanted"]) for one in counted)
        self._lowest = self._wanted
        self._up = sum(int(one["ready"]) for one in counted)
        self._withdrawn_s: float | None = None
        self._whole_s: float | None = None

    def withdrawn(self, now: float) -> None:
        self._withdrawn_s = now - self._started

    def observe(self, connectors: Iterable[Mapping[str, Any]], now: float) -> None:
        """How the connectors are now. Whole: as many connections as wanted, none of them at the dead node."""
        counted = [one for one in connectors if (one["site"], one["name"]) in self._who]
        # A connection to a dead PoP is up only until its connector finds out.
        self._up = sum(sum(pop != self._node for pop in one["pops"]) for one in counted)
        self._lowest = min(self._lowest, self._up)
        if self._up < self._wanted:
            self._whole_s = None
        elif self._whole_s is None:
            self._whole_s = now - self._started

    @property
    def settled(self) -> bool:
        return self._whole_s is not None and (self._withdrawn_s is not None or not self._is_pop)

    def __str__(self) -> str:
        parts = []
        if self._is_pop:
            after = self._withdrawn_s
            parts.append(
                "anycast not withdrawn" if after is None else f"anycast withdrawn in {after:.1f} s"
            )
        if self._lowest < self._wanted:
            told = f"connector {self._lowest}/{self._wanted}, then {self._up}/{self._wanted}"
            parts.append(told + (f" in {self._whole_s:.1f} s" if self._whole_s is not None else ""))
        return "; ".join(parts)

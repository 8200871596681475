"""What an attack is: a row of the table, and how it is carried out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from tests.attacks.target import Target

Port = Literal["visitors", "tunnel", "overlay", "dns"]
Play = Callable[[Target], Awaitable[str]]


@dataclass(frozen=True)
class Case:
    """`play` attacks and says what happened; `expect` is a pattern which that must match as a whole."""

    name: str
    port: Port
    sent: str
    must: str
    expect: str
    play: Play
    reaches: int = 0
    """Requests that get through to the connector."""
    impatient: bool = False
    """Against a PoP with short timeouts."""

    @property
    def key(self) -> str:
        return f"{self.port}: {self.name}"
